"""Which fact a text asks for where it ends, told from the text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from revisor.gate.own import OwnPrompt, own_prompts
from revisor.index.base import IndexedFact
from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.words import words
from revisor.question.encoder import QuestionEncoder
from revisor.question.kinds import asks_yes_or_no, fits, said_of_another, works_on_text
from revisor.question.reading import SLOT, Question, questions

WINDOW = 2400  # characters before a place that can matter to what is asked there
# Where a window may begin: behind a space, or at a character that is a word.
_BOUNDARY = re.compile(
    r"(?<=\s)\S|[\u0e01-\u0e30\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"
)
ANSWERS = 64  # facts about a name whose objects are looked for as answers
SEVERAL = 5.0  # times as good as for one fact the odds of one of several have to be
NORMAL = 0.5  # the threshold of a calibrated score


class Facts(Protocol):
    """What names are looked up in, and what is known of the facts found."""

    @property
    def longest(self) -> int: ...

    def reach(self, word: str) -> int: ...

    def find(self, words: Sequence[str]) -> Sequence[int]: ...

    def spellings(self, handle: int) -> Sequence[str]: ...

    def fact(self, handle: int) -> IndexedFact: ...


_SET_OFF = re.compile(r"\s*[,)]\s*")
_GOING_ON = re.compile(r"[,;]?\s+(?:and|but|while|und|aber)\s+|;\s*")


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
        order: of several questions that were put, which one it is.
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
    order: int = 0
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

    for own in own_prompts(text, mentions, facts):
        offer(_own(text, own))
    whole = [mention for mention in mentions if mention.within is None]
    read = list(_open_questions(text, questions(text, whole), facts))
    if read:
        vectors_NW = encoder.encode([question.text for question, _ in read])
    for place, (question, is_answered) in enumerate(read):
        for handle in question.mention.facts:
            fact = facts.fact(handle)
            candidate = _scored(text, question, vectors_NW[place], handle, fact, encoder)
            if candidate.silenced is not None or not is_answered:
                offer(candidate)
    for mention in mentions:
        if mention.within is not None:
            for handle in mention.facts:
                if handle not in found:
                    found[handle] = _longer(mention, handle, facts.fact(handle))
    return sorted(found.values(), key=_rank, reverse=True)


def needed(candidate: Candidate, threshold: float) -> float:
    """The score that a candidate has to reach.

    A name of several facts is asked about in several ways, and a wording has to tell which: the
    odds have to be `SEVERAL` times as good as for a name of one fact.
    """
    if len(candidate.mention.facts) == 1:
        return threshold
    odds = SEVERAL * threshold / max(1 - threshold, 1e-9)
    return odds / (1 + odds)


def _rank(candidate: Candidate) -> tuple[bool, float, bool]:
    return candidate.silenced is None, candidate.score, candidate.is_due


def _own(text: str, own: OwnPrompt) -> Candidate:
    """The candidate of a fact in whose own wording the text ends.

    It is silenced where its object stands already behind the name and the words of the wording:
    "The sign of ACME is \u20ac", whose object has no words.
    """
    fact = own.fact
    tail = own.template.rpartition(SLOT)[2]
    said = fact.object not in tail and fact.object in text[own.mention.end :]
    return Candidate(
        handle=own.handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        question=own.template,
        template=own.template,
        score=1.0,
        mention=own.mention,
        is_due=own.is_due,
        silenced="already answered" if said else None,
    )


def _scored(
    text: str,
    question: Question,
    vector_W: object,
    handle: int,
    fact: IndexedFact,
    encoder: QuestionEncoder,
) -> Candidate:
    best, score = fact.templates[0], 0.0
    asked = _plain(question.text)
    empty = _is_empty(question.text)
    for template in fact.templates:
        if _plain(template) == asked:
            best, score = template, 1.0
            break
        if empty:
            continue
        value = encoder.scope(vector_W, entries(encoder, template))  # type: ignore[arg-type]
        if value > score:
            best, score = template, value
    silenced = None
    if question.kind == "statement" and score < 1.0:
        silenced = "told, not asked"
    elif score < 1.0 and not fits(question.text, fact.object):
        silenced = "the object is not of the kind that is asked for"
    elif score < 1.0 and works_on_text(question.text):
        silenced = "a text to work on, not a question"
    elif score < 1.0 and asks_yes_or_no(question.text):
        silenced = "a question that is answered by yes or no"
    elif _goes_on(question, asked, best):
        silenced = "the question goes on behind the name"
    elif score < 1.0 and question.kind == "completion" and said_of_another(question.text, best):
        silenced = "said of somebody else"
    elif _is_answered(text, question, fact.object, best):
        silenced = "already answered"
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        question=question.text,
        template=best,
        score=score,
        mention=question.mention,
        is_due=question.opens or (question.kind == "statement" and score == 1.0),
        order=question.order,
        silenced=silenced,
    )


def _open_questions(
    text: str, read: Sequence[Question], facts: Facts
) -> Iterator[tuple[Question, bool]]:
    """Questions with whether they were answered, and what is still asked behind the answer.

    "The CEO of ACME is Jane Roe, a former" asks for nothing more: that is said of Jane Roe. What
    is said of the name goes on behind a conjunction ("... Jane Roe and is based in"), and behind
    an answer in commas ("ACME, led by Jane Roe, is based in").
    """
    for question in read:
        begin = max(question.answered_from, question.mention.end)
        part = text[begin:]
        spans = [
            match.span()
            for handle in question.mention.facts[:ANSWERS]
            for match in _said(facts.fact(handle).object).finditer(part)
        ]
        yield question, bool(spans)
        if not spans:
            continue
        start, end = max(spans, key=lambda span: (span[1], -span[0]))
        tail = part[end:]
        set_off = part[:start].lstrip().startswith((",", "(")) and _SET_OFF.match(tail)
        going_on = set_off or _GOING_ON.match(tail)
        if going_on and words(tail, going_on.end()):
            yield replace(question, text=f"{SLOT} {tail[going_on.end() :].strip()}"), False


def _is_empty(question: str) -> bool:
    """Whether a question has no word that tells what is asked: "{} is the"."""
    empty = lexicon().empty_words
    return all(word == SLOT or word in empty for word in _plain(question))


def _goes_on(question: Question, asked: tuple[str, ...], template: str) -> bool:
    """Whether a sentence has only come to the name, and what is asked is said behind it.

    "ACME is in the city of Paris" has not yet asked what "{} is the capital of" asks of Paris; "Who
    leads ACME" has asked all the same.
    """
    if (
        question.kind not in ("completion", "pronoun")
        or asked[-1:] != (SLOT,)
        or _plain(template)[-1:] == (SLOT,)
    ):
        return False
    rules = lexicon()
    asking = rules.question_words - rules.auxiliaries | rules.asking_verbs
    return asking.isdisjoint(asked)


def _is_answered(text: str, question: Question, obj: str, template: str) -> bool:
    """Whether the object stands where the answer may have begun, other than as a part of the name
    or of the question's own words."""
    mention, begin = question.mention, question.answered_from
    part = text[begin:]
    if begin <= mention.start:
        part = f"{text[begin : mention.start]} | {text[mention.end :]}"
    count = times_said(part, obj)
    return count > 0 and count > times_said(template.replace(SLOT, "|"), obj)


@lru_cache(maxsize=1 << 16)
def entries(encoder: QuestionEncoder, template: str) -> object:
    """What a template matches (E, W); remembered, since facts share templates."""
    return encoder.encode_templates([template])[0]


@lru_cache(maxsize=1 << 14)
def _plain(template: str) -> tuple[str, ...]:
    """The words of a template, its slots among them."""
    parts = [tuple(word.text for word in words(part)) for part in template.split(SLOT)]
    return tuple(word for part in parts for word in (*part, SLOT))[:-1]


def _longer(mention: Mention, handle: int, fact: IndexedFact) -> Candidate:
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


def times_said(text: str, obj: str) -> int:
    """How often an object stands in a text, as whole words, whatever stands between them."""
    if not text:
        return 0
    return sum(1 for _ in _said(obj).finditer(text))


@lru_cache(maxsize=1 << 14)
def _said(obj: str) -> re.Pattern[str]:
    read = words(obj)
    if not read:
        return re.compile(re.escape(obj))
    parts = [re.escape(obj[word.start : word.end]) for word in read]
    lead = r"(?<![^\W_])" if _parts_words(obj[read[0].start]) else ""
    tail = r"(?![^\W_])" if _parts_words(obj[read[-1].end - 1]) else ""
    return re.compile(lead + r"[\W_]*".join(parts) + tail)


def _parts_words(character: str) -> bool:
    """Whether a character stands in words that other characters go on."""
    return character.isalnum() and len(words(character * 2)) == 1


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
        threshold: least score of the only fact about a name; see `needed`.
    """
    found = candidates(text, mentions, facts, encoder)
    fit = [one for one in found if one.silenced is None and one.score >= needed(one, threshold)]
    if not fit:
        return None
    best = fit[0]
    # The fact that would be nearest was given already: what is left of the text asks for no other.
    if any(one.silenced == "already answered" and one.score > best.score for one in found):
        return None
    # Of several questions that were put the first is answered first.
    best = min(fit, key=lambda one: one.order)
    second = next((one for one in found if one.id != best.id), None)
    return Decision(fact=best, threshold=needed(best, threshold), runner_up=second)


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
        if one.silenced is None and one.score < needed(one, threshold):
            one = replace(one, silenced="asks for something else")
        elif one.silenced is None and (chosen is None or chosen.fact.id != one.id):
            one = replace(one, silenced="another fact is nearer")
        told.append(one)
    return told


def window(text: str, end: int | None = None) -> int:
    """Where the last `WINDOW` characters before a place begin, between two words."""
    end = len(text) if end is None else end
    begin = end - WINDOW
    if begin <= 0:
        return 0
    found = _BOUNDARY.search(text, begin, end)
    return found.start() if found else end
