"""Which facts hold at the time at which a question asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol

from revisor.index.base import IndexedFact, Terms
from revisor.language.dates import Period
from revisor.language.lexicon import lexicon
from revisor.language.times import TimeTold
from revisor.language.words import words

ANOTHER_TIME = "about another time"
NOT_NOW = "does not hold now"
_LEAST = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class TimedFacts(Protocol):
    """What tells of facts when they hold."""

    def fact(self, handle: int) -> IndexedFact: ...

    def terms(self, handle: int) -> Terms: ...

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class When:
    """A question and the times at which it asks: those that it tells, or else those `carried` over
    from the question that it belongs to; `plain` is its text without the words of its times."""

    text: str
    plain: str
    told: tuple[TimeTold, ...] = ()
    carried: tuple[Period, ...] = ()

    def asked_of(self, template: str) -> str:
        """What is compared with a template: the whole question if the template has its time, too
        ("The winner of {} in 2022 is")."""
        return self.text if any(_tells(template, one) for one in self.told) else self.plain


def silent(
    when: When, handle: int, others: Sequence[int], facts: TimedFacts, now: datetime
) -> str | None:
    """Why a fact does not answer at the time at which a question asks; None if it does.

    A fact without validity holds now. For a period it answers only if it tells of an event, which
    is over once and for all ("{} was founded by"), or if its wordings have that time themselves.
    `others` are all facts about the name, with this one; `now` has a time zone.
    """
    terms = facts.terms(handle)
    if not when.told and not when.carried:
        return None if terms.hold_at(now) else NOT_NOW
    fact = facts.fact(handle)
    own = [one for one in when.told if any(_tells(text, one) for text in fact.templates)]
    periods = [one.period for one in when.told if one.period is not None and one not in own]
    periods += when.carried
    if periods:
        if terms.timed:
            answers = all(_holds(handle, one, others, facts) for one in periods)
        else:
            answers = _is_of_event(fact)
        return None if answers else ANOTHER_TIME
    if terms.hold_at(now):
        return None
    past = [one.period for one in own if one.period is not None]
    if past and all(_holds(handle, one, others, facts) for one in past):
        return None
    return NOT_NOW


def _tells(template: str, told: TimeTold) -> bool:
    """Whether a template has the words of a time."""
    return bool(told.words) and told.words <= _words_of(template)


@lru_cache(maxsize=1 << 14)
def _words_of(template: str) -> frozenset[str]:
    return frozenset(word.text for word in words(template))


def _is_of_event(fact: IndexedFact) -> bool:
    return any(
        not lexicon(template).happenings.isdisjoint(_words_of(template))
        for template in fact.templates
    )


def _holds(handle: int, period: Period, others: Sequence[int], facts: TimedFacts) -> bool:
    """Whether a timed fact is what holds in a period.

    It holds throughout; or, for a year or a shorter time, it holds at its beginning and end, or
    begins within it and holds at its end while nothing else is known to hold in it. Facts with one
    prompt and one object are as one ("elected twice"). For days and years gone by, one that ends on
    a day held on that day, too, unless another one did.
    """
    start, end = _moment(period.start), _moment(period.end)
    fact = facts.fact(handle)
    timed = (one for one in others if facts.terms(one).timed)
    alike = [one for one in timed if _has_prompt_of(facts.fact(one), fact)]
    same = [facts.terms(one) for one in alike if facts.fact(one).object == fact.object]
    beside = [facts.terms(one) for one in alike]
    same = [_with_last_day(one, beside) for one in same]
    if not _meets(_with_last_day(facts.terms(handle), beside), start, end):
        return False
    if _covered(same, start, end):
        return True
    if not period.is_open:
        return False

    def held(moment: datetime) -> bool:
        return any(terms.hold_at(moment) for terms in same)

    if not held(end - _LEAST):
        return False
    rivals = [facts.terms(one) for one in alike if facts.fact(one).object != fact.object]
    return held(start) or not any(_meets(terms, start, end) for terms in rivals)


def _with_last_day(terms: Terms, beside: Sequence[Terms]) -> Terms:
    """Terms that end at midnight, extended by the day that begins then unless others hold on it."""
    if terms.end is None or terms.end.astimezone(UTC).time() != time():
        return terms
    behind = terms.end + _DAY
    taken = any(_meets(one, terms.end, behind) for one in beside)
    return terms if taken else replace(terms, end=behind)


def _has_prompt_of(one: IndexedFact, other: IndexedFact) -> bool:
    return one.namespace == other.namespace and not {
        text.casefold() for text in one.templates
    }.isdisjoint(text.casefold() for text in other.templates)


def _meets(terms: Terms, start: datetime, end: datetime) -> bool:
    """Whether there is a moment between two at which a fact holds."""
    return (terms.start is None or terms.start < end) and (terms.end is None or start < terms.end)


def _covered(terms: Sequence[Terms], start: datetime, end: datetime) -> bool:
    """Whether at each moment between two one of some facts holds."""
    at = start
    while at < end:
        ends = [one.end for one in terms if one.hold_at(at)]
        if not ends:
            return False
        if None in ends:
            return True
        at = max(one for one in ends if one is not None)
    return True


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
