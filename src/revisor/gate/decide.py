"""Which fact a text asks for where it ends, told from the text alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, Protocol

from revisor.gate.answered import is_answered, object_pattern, was_given
from revisor.gate.behind import said_behind
from revisor.gate.choice import ANSWERED, FINAL, Candidate, Decision, chosen, rank
from revisor.gate.hops import HOPS, through_facts
from revisor.gate.own import OwnPrompt, own_prompts
from revisor.gate.scope import NORMAL, is_own, scope_of
from revisor.gate.when import Asked, Clock
from revisor.index.base import IndexedFact, Terms
from revisor.language.lexicon import lexicon
from revisor.language.longer import is_plainly_written
from revisor.language.names import Mention, Names
from revisor.language.words import words
from revisor.question.encoder import QuestionEncoder
from revisor.question.forms import hands_text
from revisor.question.kinds import (
    asks_otherwise,
    asks_yes_or_no,
    fits,
    looks_back,
    said_of_another,
    works_on_text,
)
from revisor.question.predicates import beside, plain
from revisor.question.reading import SLOT, Question, questions
from revisor.question.records import awaits_quote

WINDOW = 2400  # characters before a place that can matter to what is asked there
# Where a window may begin: behind a space, or at a character that is a word.
_BOUNDARY = re.compile(
    r"(?<=\s)\S|[\u0e01-\u0e30\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"
)
ANSWERS = 64  # facts about a name whose objects are looked for as answers
LONG = 240  # characters of running text
_AHEAD = 24  # characters ahead of a name


class Facts(Names, Protocol):
    """What names are looked up in, and what is known of the facts found."""

    def fact(self, handle: int) -> IndexedFact: ...

    def terms(self, handle: int) -> Terms: ...

    def now(self) -> datetime: ...


_ENDS = (":", "?", "\uff1a", "\uff1f")  # behind a name: what is asked has been said
_UNFINISHED = ("completion", "pronoun")
_ANOTHER_KIND = "the object is not of the kind that is asked for"
_TO_WORK_ON = "a text to work on, not a question"
_LEAD = " \n\t\"'*_`(\u201c\u2018\u201e\u00ab"
Compared = Literal["all", "final", "open"]


def candidates(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    compared: Compared = "all",
) -> list[Candidate]:
    """Every fact about a name in the text, with the reading that is nearest to it.

    Args:
        text: what stands before the place, at most its last `WINDOW` characters.
        compared: which candidates get a score, the others having 0: "all"; "open", those that no
            rule silences anyway; "final", also those that a rule of `FINAL` silences.
    """
    found: dict[int, Candidate] = {}
    names: dict[tuple[int, int], int] = {}  # in which order they were offered facts
    clock = Clock(text, mentions, facts)

    def offer(candidate: Candidate) -> None:
        names.setdefault((candidate.mention.start, candidate.mention.end), len(names))
        known = found.get(candidate.handle)
        if known is None or rank(candidate) > rank(known):
            found[candidate.handle] = candidate

    for own in own_prompts(text, mentions, facts):
        offer(_own(text, own, clock.of_own(own)))
    whole = [mention for mention in mentions if mention.within is None]
    read = list(_open_questions(text, questions(text, whole), facts, clock))
    for asked in read:
        put = tuple(map(clock.timeless, asked.question.restates))
        for handle in asked.question.mention.facts:
            fact = facts.fact(handle)
            candidate = _scored(text, asked, handle, fact, encoder, put, compared=compared)
            if candidate.silenced is None and was_given(
                text, asked.question, handle, facts, encoder
            ):
                candidate = replace(candidate, silenced=ANSWERED)
            if candidate.silenced is not None or not asked.is_answered:
                offer(candidate)
        for through in _through(text, asked, facts, encoder, clock, ()):
            offer(through)
    for mention in mentions:
        if mention.within is not None:
            for handle in mention.facts:
                if handle not in found:
                    offer(_longer(mention, handle, facts.fact(handle)))

    def order(one: Candidate) -> tuple[int, str, str]:
        return names[one.mention.start, one.mention.end], one.namespace, one.id

    # Of facts that are as near as one another the order is that of their names, namespaces, ids.
    return sorted(sorted(found.values(), key=order), key=rank, reverse=True)


def _through(
    text: str,
    asked: Asked,
    facts: Facts,
    encoder: QuestionEncoder,
    clock: Clock,
    before: tuple[int, ...],
) -> Iterator[Candidate]:
    """The facts about a subject that facts (`before`) describe: "Where was the CEO of ACME
    born?"."""
    for first, question in through_facts(asked, facts, encoder):
        via = (*before, first)
        for one in _open_questions(text, [question], facts, clock):
            for handle in question.mention.facts if not one.is_answered else ():
                found = _scored(text, one, handle, facts.fact(handle), encoder, (), compared="open")
                if handle not in via:
                    yield replace(found, via=tuple(facts.fact(known).id for known in via))
            if len(via) < HOPS:
                yield from _through(text, one, facts, encoder, clock, via)


def _own(text: str, own: OwnPrompt, asked: Asked) -> Candidate:
    """The candidate of a fact in whose own wording the text ends.

    It is silenced where its object already stands behind the name and the wording: "The sign of
    ACME is \u20ac", whose object has no words.
    """
    fact = own.fact
    tail = own.template.rpartition(SLOT)[2]
    said = fact.object not in tail and fact.object in text[own.mention.end :]
    return _of(
        own.handle,
        fact,
        question=own.template,
        template=own.template,
        score=1.0,
        mention=own.mention,
        is_due=own.is_due,
        rivals=asked.rivals,
        silenced=asked.silent[own.handle] or (ANSWERED if said else _handed_over(text, own)),
    )


def _handed_over(text: str, own: OwnPrompt) -> str | None:
    ahead = text[max(0, own.begin - LONG) : own.begin].rstrip(_LEAD).rpartition("\n")[2]
    return _TO_WORK_ON if ahead.endswith(":") and hands_text(ahead) else None


def _of(handle: int, fact: IndexedFact, **read: Any) -> Candidate:
    return Candidate(
        handle=handle,
        id=fact.id,
        subject=fact.subject,
        object=fact.object,
        namespace=fact.namespace,
        **read,
    )


def _scored(
    text: str,
    asked: Asked,
    handle: int,
    fact: IndexedFact,
    encoder: QuestionEncoder,
    restated: Sequence[str],
    *,
    compared: Compared,
) -> Candidate:
    """A fact about a question's name, with its nearest wording; `restated` questions limit the
    score."""
    put = [(template, asked.when.asked_of(template)) for template in fact.templates]
    found = _silenced_anyway(text, asked, handle, fact, put) if compared != "all" else None
    if found is not None and (compared == "open" or found.silenced not in FINAL):
        return found
    best, score, said = fact.templates[0], 0.0, asked.when.plain
    for template, one in put:
        value = scope_of(one, template, encoder)
        if restated and value > score:
            value = min(value, max(scope_of(told, template, encoder) for told in restated))
        if value > score:
            best, score, said = template, value, one
    found = _as_read(text, asked, handle, fact, template=best, score=score)
    return replace(found, silenced=_silenced(text, asked, found, said))


def _silenced_anyway(
    text: str, asked: Asked, handle: int, fact: IndexedFact, put: Sequence[tuple[str, str]]
) -> Candidate | None:
    """A fact that rules silence by whichever wording, so that the slow comparing is not needed;
    None if it may be asked for. `put` has each wording and the question as compared with it."""
    found = None
    for template, said in put:
        most = 1.0 if is_own(said, template) else 0.0  # rules bear on 1 less than on any other
        one = _as_read(text, asked, handle, fact, template=template, score=most)
        why = _silenced(text, asked, one, said)
        if why is None:
            return None
        found = found or replace(one, score=0.0, silenced=why)
    return found


def _as_read(
    text: str, asked: Asked, handle: int, fact: IndexedFact, *, template: str, score: float
) -> Candidate:
    question, mention = asked.question, asked.question.mention
    unfinished = score < 1.0 and question.kind in _UNFINISHED
    return _of(
        handle,
        fact,
        question=question.text,
        template=template,
        score=score,
        mention=mention,
        is_due=question.opens or (question.kind == "statement" and score == 1.0),
        order=question.order,
        rivals=asked.rivals,
        is_nameless=question.kind == "ellipsis",
        is_plain=score < 1.0 and _is_plain(text, mention, fact.subject, unfinished=unfinished),
        is_prose=unfinished and question.running > LONG,
    )


def _silenced(text: str, asked: Asked, found: Candidate, said: str) -> str | None:
    """The rule by which a fact is not what a question asks for, `said` as compared with its
    wording."""
    question, best, exact = asked.question, found.template, found.score == 1.0
    if not exact and (why := _not_asked(text, question, found)):
        return why
    if not exact and (why := _of_another_kind(question, best)):
        return why
    if not exact and looks_back(said, best):
        return "asks for the reverse"
    if _goes_on(question, plain(said), best):
        return "the question goes on behind the name"
    if not exact and question.kind == "completion" and said_of_another(said, best):
        return "said of somebody else"
    unfinished = question.kind in _UNFINISHED
    if not exact and (why := beside(said, best, unfinished=unfinished)):
        return why
    if asked.silent[found.handle] is not None:
        return asked.silent[found.handle]
    if is_answered(text, question, found.object, best):
        return ANSWERED
    return None


def _not_asked(text: str, question: Question, found: Candidate) -> str | None:
    """The rule by which a text that is not a fact's own wording asks for nothing."""
    if (question.kind in _UNFINISHED and _is_word(text, found)) or _is_any(text, found):
        return "a word, not a name"
    if question.kind == "statement":
        return "told, not asked"
    if not fits(question.text, found.object):
        return _ANOTHER_KIND
    if question.kind == "record" and awaits_quote(text, question.answered_from, found.object):
        return "a quotation mark comes first"
    if works_on_text(question.text):
        return _TO_WORK_ON
    return None


def _of_another_kind(question: Question, template: str) -> str | None:
    """The rule by which a question does not ask for what a wording tells."""
    if asks_otherwise(question.text, template):
        return _ANOTHER_KIND
    if asks_yes_or_no(question.text) and not asks_yes_or_no(template):
        return "a question that is answered by yes or no"
    return None


def _is_plain(text: str, mention: Mention, subject: str, *, unfinished: bool) -> bool:
    """Whether a name is written as a plain word among names that are not; an unfinished sentence
    needs no other names if the fact writes the name with capitals."""
    alone = unfinished and subject != subject.lower()
    return is_plainly_written(text, mention.start, mention.end, among_names=not alone)


def _is_word(text: str, found: Candidate) -> bool:
    """Whether a name is only a word of an unfinished sentence: one in small letters; in a long text
    also several words, or a single letter."""
    start, end = found.mention.start, found.mention.end
    if found.is_prose:
        letter = end - start == 1 and text[start].isascii()
        return letter or is_plainly_written(text, start, end, among_names=False)
    return " " not in text[start:end] and is_plainly_written(text, start, end)


def _is_any(text: str, found: Candidate) -> bool:
    """Whether a text asks of any thing called so, where the fact's has a name: "an apple"."""
    start, end = found.mention.start, found.mention.end
    ahead = words(text[max(0, start - _AHEAD) : start])
    return (
        found.subject != found.subject.lower()
        and bool(ahead)
        and ahead[-1].text in lexicon(found.question).determiners
        and is_plainly_written(text, start, end, among_names=False)
    )


def _open_questions(
    text: str, read: Sequence[Question], facts: Facts, clock: Clock
) -> Iterator[Asked]:
    """Questions with whether they were answered, and what is still asked behind the answer."""
    for question in read:
        asked = clock.of(question)
        begin = max(question.answered_from, question.mention.end)
        part = text[begin:]
        said = {
            handle: [
                match.span() for match in object_pattern(facts.fact(handle).object).finditer(part)
            ]
            for handle in question.mention.facts[:ANSWERS]
        }
        answered = any(said[handle] and asked.silent[handle] is None for handle in said)
        yield replace(asked, is_answered=answered)
        spans = [span for some in said.values() for span in some]
        if not spans:
            continue
        start, end = max(spans, key=lambda span: (span[1], -span[0]))
        behind = said_behind(question.text, part[:start], part[end:])
        if behind is not None:
            yield clock.of(replace(question, text=behind))


def _goes_on(question: Question, asked: tuple[str, ...], template: str) -> bool:
    """Whether a sentence has only come to the name, and the question follows behind it.

    "ACME is in the city of Paris" has not yet asked what "{} is the capital of" asks; "Who leads
    ACME" and "Population of Paris:" have.
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


def _longer(mention: Mention, handle: int, fact: IndexedFact) -> Candidate:
    return _of(
        handle,
        fact,
        question="",
        template=fact.templates[0],
        score=0.0,
        mention=mention,
        silenced=f"within a longer name ({mention.within})",
    )


def decide(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    threshold: float = NORMAL,
) -> Decision | None:
    """The fact that a text asks for where it ends, or None; a pure function.

    Args:
        text: at most its last `WINDOW` characters.
        mentions: the names in it.
        threshold: the least score, 0..1, of the only fact about a name; see `needed`.
    """
    found = candidates(text, mentions, facts, encoder, compared="open")
    decided = chosen(found, threshold)
    if decided is None or not any(one.silenced in FINAL for one in found):
        return decided  # most often, and comparing takes longest
    return chosen(candidates(text, mentions, facts, encoder, compared="final"), threshold)


def window(text: str, end: int | None = None) -> int:
    """Where the last `WINDOW` characters before a place begin, between two words."""
    end = len(text) if end is None else end
    begin = end - WINDOW
    if begin <= 0:
        return 0
    found = _BOUNDARY.search(text, begin, end)
    return found.start() if found else end
