"""Facts in time: which of them hold together, and which rows speak for those that hold.

Two facts of one subject that follow one another ("the CEO until May", "the CEO from May on") have
one and the same key in a model. So a row is made for what holds together, never for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from revisor.facts.fact import Fact, parse_time

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def bounds(facts: Iterable[Fact]) -> list[datetime]:
    """The moments at which one of the facts begins or ends to hold, in order."""
    texts = {text for fact in facts for text in (fact.valid_from, fact.valid_to) if text}
    return sorted({parse_time(text) for text in texts})


def epochs(facts: Sequence[Fact]) -> list[tuple[Fact, ...]]:
    """The different sets of facts that hold together at some moment, in the order of time."""
    found: dict[tuple[str, ...], tuple[Fact, ...]] = {}
    for moment in (_BEFORE_ALL, *bounds(facts)):
        holding = tuple(fact for fact in facts if fact.valid_at(moment))
        if holding:
            found.setdefault(tuple(fact.id for fact in holding), holding)
    return list(found.values())
