"""Which fact a text asks for where it ends, told from the text alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from revisor.index.base import IndexedFact
from revisor.language.names import Mention
from revisor.language.turns import turns
from revisor.language.words import words
from revisor.question.encoder import QuestionEncoder
from revisor.question.reading import SLOT, Question, questions

WINDOW = 2400  # characters before a place that can matter to what is asked there
NORMAL = 0.5  # the threshold of a calibrated score


class Facts(Protocol):
    """What names are looked up in, and what is known of the facts found."""

    @property
    def longest(self) -> int: ...

    def reach(self, word: str) -> int: ...

    def find(self, words: Sequence[str]) -> Sequence[int]: ...

    def spellings(self, handle: int) -> Sequence[str]: ...

    def fact(self, handle: int) -> IndexedFact: ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fact that may be asked for, and the reading of the text by which it is.

    Attributes:
        handle: of the fact, in the view.
        id, subject, object: of the fact.
        question: what was read, with `{}` for the name.
        template: the fact's wording that is nearest.
        score: how surely the one asks for the other, 0..1.
        mention: where the name stands.
        is_due: an answer is to begin here whatever the model's logits: the fact's own prompt ends
            here, or the turn of who answers opens.
        silenced: the rule by which it is not written, None if there is none.
    """

    handle: int
    id: str
    subject: str
    object: str
    question: str
    template: str
    score: float
    mention: Mention
    is_due: bool = False
    silenced: str | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The fact that is asked for where a text ends.

    Attributes:
        fact: the candidate that is nearest.
        threshold: what its score had to reach.
        runner_up: the nearest one of another fact, silenced or not.
    """

    fact: Candidate
    threshold: float
    runner_up: Candidate | None = None


def candidates(
    text: str, mentions: Sequence[Mention], facts: Facts, encoder: QuestionEncoder
) -> list[Candidate]:
    """Every fact about a name in the text, with the reading that is nearest to it.

    Args:
        text: what stands before the place, at most its last `WINDOW` characters.
        mentions: the names in it.
    """
    found: dict[int, Candidate] = {}

    def offer(candidate: Candidate) -> None:
        known = found.get(candidate.handle)
        if known is None or _rank(candidate) > _rank(known):
            found[candidate.handle] = candidate

    for candidate in _own_prompts(text, mentions, facts):
        offer(candidate)
    whole = [mention for mention in mentions if mention.within is None]
    read = questions(text, whole)
    if read:
        vectors_NW = encoder.encode([question.text for question in read])
    for place, question in enumerate(read):
        for handle in question.mention.facts:
            offer(_scored(text, question, vectors_NW[place], handle, facts.fact(handle), encoder))
    for mention in mentions:
        if mention.within is not None:
            for handle in mention.facts:
                if handle not in found:
                    found[handle] = _longer(text, mention, handle, facts.fact(handle))
    return sorted(found.values(), key=_rank, reverse=True)


def _rank(candidate: Candidate) -> tuple[bool, float, bool]:
    return candidate.silenced is None, candidate.score, candidate.is_due


def _scored(
    text: str,
    question: Question,
    vector_W: object,
    handle: int,
    fact: IndexedFact,
    encoder: QuestionEncoder,
) -> Candidate:
    best, score = fact.templates[0], -1.0
    asked = _plain(question.text)
    for template in fact.templates:
        if _plain(template) == asked:
            best, score = template, 1.0
            break
        value = encoder.scope(vector_W, entries(encoder, template))  # type: ignore[arg-type]
        if value > score:
            best, score = template, value
    answered = _says(text[question.answered_from :], fact.object)
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        question=question.text,
        template=best,
        score=score,
        mention=question.mention,
        is_due=question.opens,
        silenced="already answered" if answered else None,
    )


@lru_cache(maxsize=1 << 16)
def entries(encoder: QuestionEncoder, template: str) -> object:
    """What a template matches (E, W); remembered, since facts share templates."""
    return encoder.encode_templates([template])[0]


@lru_cache(maxsize=1 << 14)
def _plain(template: str) -> tuple[str, ...]:
    """The words of a template, its slots among them."""
    parts = [tuple(word.text for word in words(part)) for part in template.split(SLOT)]
    return tuple(word for part in parts for word in (*part, SLOT))[:-1]


def _longer(text: str, mention: Mention, handle: int, fact: IndexedFact) -> Candidate:
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        question="",
        template=fact.templates[0],
        score=0.0,
        mention=mention,
        silenced=f"within a longer name ({mention.within})",
    )


def _own_prompts(text: str, mentions: Sequence[Mention], facts: Facts) -> Iterator[Candidate]:
    """The facts of which the text ends with a wording, word for word from its beginning on."""
    if not mentions or _in_marked_question(text):
        return
    for mention in mentions[-3:]:
        name = text[mention.start : mention.end]
        for handle in mention.facts:
            fact = facts.fact(handle)
            for template in fact.templates:
                if SLOT in template and _ends_with(text, mention, name, template):
                    yield Candidate(
                        handle=handle,
                        id=fact.id,
                        subject=fact.subject,
                        object=fact.object,
                        question=template,
                        template=template,
                        score=1.0,
                        mention=mention,
                        is_due=True,
                    )
                    break


def _in_marked_question(text: str) -> bool:
    """The text ends in a turn of a chat that is not the model's."""
    last = turns(text)[-1:]
    return bool(last) and last[0].marked and last[0].role in ("asks", "other")


def _ends_with(text: str, mention: Mention, name: str, template: str) -> bool:
    before, behind = _around(template, name)
    if [word.text for word in words(text, mention.end)] != list(behind):
        return False
    ahead = words(text[: mention.start][-len(template) * 2 - 2 * len(name) - 40 :])
    if (
        len(ahead) < len(before)
        or tuple(w.text for w in ahead[len(ahead) - len(before) :]) != before
    ):
        return False
    offset = mention.start - len(text[: mention.start][-len(template) * 2 - 2 * len(name) - 40 :])
    begin = offset + ahead[len(ahead) - len(before)].start if before else mention.start
    lead = text[:begin].rstrip(" \t\"'*_`([\u201c\u2018")
    return not lead or lead[-1] in "\n.!?:;>|]}\u3002\uff01\uff1f\u2026)" or lead[-1] == '"'


@lru_cache(maxsize=1 << 14)
def _around(template: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a template before its last slot, names filled in, and behind it."""
    parts = template.split(SLOT)
    before = tuple(word.text for word in words(name.join(parts[:-1])))
    return before, tuple(word.text for word in words(parts[-1]))


def _says(text: str, obj: str) -> bool:
    """Whether a text has an object in it, as whole words."""
    return ends_of(text, obj) != ()


def ends_of(text: str, obj: str) -> tuple[int, ...]:
    """Where an object ends in a text, as whole words."""
    found = []
    at = text.find(obj)
    while at >= 0:
        end = at + len(obj)
        ahead = not (at and text[at - 1].isalnum() and obj[0].isalnum())
        if ahead and not (text[end : end + 1].isalnum() and obj[-1].isalnum()):
            found.append(end)
        at = text.find(obj, at + 1)
    return tuple(found)


def decide(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    threshold: float = NORMAL,
) -> Decision | None:
    """The fact that a text asks for where it ends, if it asks for one.

    Args:
        text, mentions: see `candidates`.
        threshold: least score.
    """
    found = candidates(text, mentions, facts, encoder)
    if not found or found[0].silenced is not None or found[0].score < threshold:
        return None
    best = found[0]
    # The fact that would be nearest was given already: what is left of the text asks for no other.
    if any(one.silenced == "already answered" and one.score > best.score for one in found):
        return None
    second = next((one for one in found[1:] if one.id != best.id), None)
    return Decision(fact=best, threshold=threshold, runner_up=second)


def explained(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    threshold: float = NORMAL,
) -> list[Candidate]:
    """Every candidate with the rule that silences it, the nearest first."""
    found = candidates(text, mentions, facts, encoder)
    chosen = decide(text, mentions, facts, encoder, threshold=threshold)
    told = []
    for one in found:
        if one.silenced is None and one.score < threshold:
            one = replace(one, silenced="asks for something else")
        elif one.silenced is None and (chosen is None or chosen.fact.id != one.id):
            one = replace(one, silenced="another fact is nearer")
        told.append(one)
    return told


def window(text: str, end: int | None = None) -> int:
    """Where the last `WINDOW` characters before a place begin, at a space."""
    end = len(text) if end is None else end
    begin = end - WINDOW
    if begin <= 0:
        return 0
    space = text.find(" ", begin, begin + 200)
    return begin if space < 0 else space + 1
