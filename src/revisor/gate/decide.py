"""Which fact a text asks for where it ends, told from the text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Protocol

from revisor.gate.own import OwnPrompt, is_longer, own_prompts
from revisor.gate.validity import ANOTHER_TIME, NOT_NOW
from revisor.gate.when import Asked, Clock
from revisor.index.base import IndexedFact, Terms
from revisor.language.lexicon import lexicon
from revisor.language.names import Mention, Names
from revisor.language.words import any_between, words
from revisor.question.encoder import QuestionEncoder
from revisor.question.kinds import (
    asks_otherwise,
    asks_yes_or_no,
    fits,
    looks_back,
    said_of_another,
    works_on_text,
)
from revisor.question.predicates import BESIDE, beside, plain
from revisor.question.reading import SLOT, Question, questions

WINDOW = 2400  # characters before a place that can matter to what is asked there
# Where a window may begin: behind a space, or at a character that is a word.
_BOUNDARY = re.compile(
    r"(?<=\s)\S|[\u0e01-\u0e30\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"
)
ANSWERS = 64  # facts about a name whose objects are looked for as answers
SEVERAL = 2.0  # times as good as for one fact the odds of one of several have to be
NAMELESS = 4.0  # and of a question in which nothing stands for the name
THRESHOLDS = {"low": 0.25, "normal": 0.5, "high": 0.8}  # of a calibrated score, by strictness
NORMAL = THRESHOLDS["normal"]


class Facts(Names, Protocol):
    """What names are looked up in, and what is known of the facts found."""

    def fact(self, handle: int) -> IndexedFact: ...

    def terms(self, handle: int) -> Terms: ...

    def now(self) -> datetime: ...


_ENDS = (":", "?", "\uff1a", "\uff1f")  # behind a name: what is asked has been said
_UNFINISHED = ("completion", "pronoun")
_SET_OFF = re.compile(r"\s*[,)\uff0c\uff09]\s*")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fact that may be asked for, and the reading of the text by which it is.

    Attributes:
        handle: of the fact, in the view.
        id, subject, object, namespace: of the fact.
        question: what was read, with `{}` for the name.
        template: the fact's wording that is nearest.
        score: how surely the one asks for the other, 0..1.
        mention: where the name stands.
        is_due: an answer is to begin here whatever the model's logits: the fact's own prompt ends
            here, or the turn of who answers opens.
        order: of several questions that were put, which one it is.
        rivals: how many facts about the name hold at the time that is asked for.
        is_nameless: nothing in the question stands for the name: "Opening hours?" in a later turn.
        silenced: the rule by which it is not written, None if there is none.
    """

    handle: int
    id: str
    subject: str
    object: str
    namespace: str
    question: str
    template: str
    score: float
    mention: Mention
    is_due: bool = False
    order: int = 0
    rivals: int = 1
    is_nameless: bool = False
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
    names: dict[tuple[int, int], int] = {}  # in which order they were offered facts
    clock = Clock(text, mentions, facts)

    def offer(candidate: Candidate) -> None:
        names.setdefault((candidate.mention.start, candidate.mention.end), len(names))
        known = found.get(candidate.handle)
        if known is None or _rank(candidate) > _rank(known):
            found[candidate.handle] = candidate

    for own in own_prompts(text, mentions, facts):
        offer(_own(text, own, clock.of_own(own)))
    whole = [mention for mention in mentions if mention.within is None]
    read = list(_open_questions(text, questions(text, whole), facts, clock))
    for asked in read:
        put = tuple(map(clock.timeless, asked.question.restates))
        for handle in asked.question.mention.facts:
            candidate = _scored(text, asked, handle, facts.fact(handle), encoder, put)
            if candidate.silenced is not None or not asked.is_answered:
                offer(candidate)
    for mention in mentions:
        if mention.within is not None:
            for handle in mention.facts:
                if handle not in found:
                    offer(_longer(mention, handle, facts.fact(handle)))

    def order(one: Candidate) -> tuple[int, str, str]:
        return names[one.mention.start, one.mention.end], one.namespace, one.id

    # Of facts that are as near as one another the order is that of their names, namespaces, ids.
    return sorted(sorted(found.values(), key=order), key=_rank, reverse=True)


def needed(candidate: Candidate, threshold: float) -> float:
    """The score that a candidate has to reach.

    A name of several facts that hold then is asked about in several ways, and a wording has to tell
    which: the odds have to be `SEVERAL` times as good as for a name of one fact. A question that
    names nothing may be about anything: `NAMELESS` times.
    """
    times = (SEVERAL if candidate.rivals > 1 else 1.0) * (NAMELESS if candidate.is_nameless else 1)
    odds = times * threshold / max(1 - threshold, 1e-9)
    return odds / (1 + odds) if times > 1 else threshold


def _rank(candidate: Candidate) -> tuple[bool, float, bool]:
    return candidate.silenced is None, candidate.score, candidate.is_due


def _own(text: str, own: OwnPrompt, asked: Asked) -> Candidate:
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
        namespace=fact.namespace,
        question=own.template,
        template=own.template,
        score=1.0,
        mention=own.mention,
        is_due=own.is_due,
        rivals=asked.rivals,
        silenced=asked.silent[own.handle] or ("already answered" if said else None),
    )


def _scored(
    text: str,
    asked: Asked,
    handle: int,
    fact: IndexedFact,
    encoder: QuestionEncoder,
    restated: Sequence[str],
) -> Candidate:
    """A fact about the name of a question, with the wording of it that is nearest.

    Args:
        restated: questions that were put, which this one says again.
    """
    question = asked.question
    best, score, said = fact.templates[0], 0.0, asked.when.plain
    for template in fact.templates:
        put = asked.when.asked_of(template)
        value = _scope(put, template, encoder)
        if restated and value > score:
            value = min(value, max(_scope(one, template, encoder) for one in restated))
        if value > score:
            best, score, said = template, value, put
    silenced = None
    if question.kind == "statement" and score < 1.0:
        silenced = "told, not asked"
    elif score < 1.0 and (
        not fits(question.text, fact.object) or asks_otherwise(question.text, best)
    ):
        silenced = "the object is not of the kind that is asked for"
    elif score < 1.0 and works_on_text(question.text):
        silenced = "a text to work on, not a question"
    elif score < 1.0 and asks_yes_or_no(question.text) and not asks_yes_or_no(best):
        silenced = "a question that is answered by yes or no"
    elif score < 1.0 and looks_back(said, best):
        silenced = "asks for the reverse"
    elif _goes_on(question, plain(said), best):
        silenced = "the question goes on behind the name"
    elif score < 1.0 and question.kind == "completion" and said_of_another(said, best):
        silenced = "said of somebody else"
    elif score < 1.0 and (why := beside(said, best, unfinished=question.kind in _UNFINISHED)):
        silenced = why
    elif asked.silent[handle] is not None:
        silenced = asked.silent[handle]
    elif _is_answered(text, question, fact.object, best):
        silenced = "already answered"
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        namespace=fact.namespace,
        question=question.text,
        template=best,
        score=score,
        mention=question.mention,
        is_due=question.opens or (question.kind == "statement" and score == 1.0),
        order=question.order,
        rivals=asked.rivals,
        is_nameless=question.kind == "ellipsis",
        silenced=silenced,
    )


def _scope(question: str, template: str, encoder: QuestionEncoder) -> float:
    """How surely a question asks for what a template asks for, 0..1; 1 for its very words."""
    if not is_longer(template, question) and plain(template) == plain(question):
        return 1.0
    if _is_empty(question):
        return 0.0
    return encoder.scope(encoded(encoder, question), encoded(encoder, template))


def _open_questions(
    text: str, read: Sequence[Question], facts: Facts, clock: Clock
) -> Iterator[Asked]:
    """Questions with whether they were answered, and what is still asked behind the answer.

    "The CEO of ACME is Jane Roe, a former" asks for nothing more: that is said of Jane Roe. What
    is said of the name goes on behind a conjunction ("... Jane Roe and is based in"), and behind
    an answer in commas ("ACME, led by Jane Roe, is based in").
    """
    for question in read:
        asked = clock.of(question)
        begin = max(question.answered_from, question.mention.end)
        part = text[begin:]
        said = {
            handle: [match.span() for match in _said(facts.fact(handle).object).finditer(part)]
            for handle in question.mention.facts[:ANSWERS]
        }
        answered = any(said[handle] and asked.silent[handle] is None for handle in said)
        yield replace(asked, is_answered=answered)
        spans = [span for some in said.values() for span in some]
        if not spans:
            continue
        start, end = max(spans, key=lambda span: (span[1], -span[0]))
        tail = part[end:]
        set_off = part[:start].lstrip().startswith((",", "(")) and _SET_OFF.match(tail)
        going_on = set_off or _going_on(question.text).match(tail)
        if going_on and words(tail, going_on.end()):
            behind = f"{SLOT} {tail[going_on.end() :].strip()}"
            yield clock.of(replace(question, text=behind))


def _going_on(question: str) -> re.Pattern[str]:
    """What stands between what was said of a name and what more is said of it: " and "."""
    rules = lexicon(question)
    return _joint(rules.conjunctions & rules.joining)


@cache
def _joint(conjunctions: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"[,;\uff0c\uff1b]?(?:{any_between(conjunctions)})|[;\uff1b]\s*")


def _is_empty(question: str) -> bool:
    """Whether a question has no word that tells what is asked: "{} is the"."""
    empty = lexicon(question).empty_words
    return all(word == SLOT or word in empty for word in plain(question))


def _goes_on(question: Question, asked: tuple[str, ...], template: str) -> bool:
    """Whether a sentence has only come to the name, and what is asked is said behind it.

    "ACME is in the city of Paris" has not yet asked what "{} is the capital of" asks of Paris; "Who
    leads ACME" and "Population of Paris:" have asked all the same.
    """
    if (
        question.kind not in _UNFINISHED
        or question.text.rstrip().endswith(_ENDS)
        or asked[-1:] != (SLOT,)
        or plain(template)[-1:] == (SLOT,)
    ):
        return False
    rules = lexicon(question.text)
    asking = rules.question_words - rules.auxiliaries | rules.asking_verbs
    return asking.isdisjoint(word.text for word in rules.terms(question.text))


def _is_answered(text: str, question: Question, obj: str, template: str) -> bool:
    """Whether the object stands where the answer may have begun, other than as a part of the name
    or of the question's own words."""
    mention, begin = question.mention, question.answered_from
    part = text[begin:]
    if begin <= mention.start:
        part = f"{text[begin : mention.start]} | {text[mention.end :]}"
    count = times_said(part, obj)
    return count > 0 and count > times_said(template.replace(SLOT, "|"), obj)


@lru_cache(maxsize=1 << 13)
def encoded(encoder: QuestionEncoder, text: str) -> Any:
    """A template or a question as the encoder compares it; remembered, since facts share
    templates, and a text is asked token by token."""
    return encoder.encode([text])[0]


def _longer(mention: Mention, handle: int, fact: IndexedFact) -> Candidate:
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        namespace=fact.namespace,
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
    return chosen(candidates(text, mentions, facts, encoder), threshold)


def chosen(found: Sequence[Candidate], threshold: float) -> Decision | None:
    """What is decided of `candidates` at a threshold."""
    fit = [one for one in found if one.silenced is None and one.score >= needed(one, threshold)]
    if not fit:
        return None
    best = fit[0]
    # The fact that would be nearest was given already: what is left of the text asks for no other.
    if any(one.silenced == "already answered" and one.score > best.score for one in found):
        return None
    # Of several questions that were put the first is answered first.
    best = min(fit, key=lambda one: one.order)
    second = next((one for one in found if one.handle != best.handle), None)
    return Decision(fact=best, threshold=needed(best, threshold), runner_up=second)


def explained(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    threshold: float = NORMAL,
) -> list[Candidate]:
    """Every candidate with the rule that silences it, the nearest first: the one that is written,
    those whose words the question has, and others by their scores."""
    found = candidates(text, mentions, facts, encoder)
    decision = chosen(found, threshold)
    told = []
    for one in found:
        timely = one.silenced in (None, ANOTHER_TIME, NOT_NOW)
        if timely and one.score < needed(one, threshold):
            one = replace(one, silenced="asks for something else")
        elif one.silenced is None and (decision is None or decision.fact.handle != one.handle):
            one = replace(one, silenced=_beaten(one, decision))
        told.append(one)

    def near(one: Candidate) -> tuple[bool, bool, float]:
        return one.silenced is None, one.silenced in BESIDE, one.score

    return sorted(told, key=near, reverse=True)


def _beaten(one: Candidate, chosen: Decision | None) -> str:
    """Why a fact that may be asked for is not written."""
    if chosen is not None and (one.score, one.order) == (chosen.fact.score, chosen.fact.order):
        if one.namespace != chosen.fact.namespace:
            return f"the namespace {chosen.fact.namespace!r} answers, too"
        return f"the fact {chosen.fact.id} answers, too"
    return "another fact is nearer"


def window(text: str, end: int | None = None) -> int:
    """Where the last `WINDOW` characters before a place begin, between two words."""
    end = len(text) if end is None else end
    begin = end - WINDOW
    if begin <= 0:
        return 0
    found = _BOUNDARY.search(text, begin, end)
    return found.start() if found else end
