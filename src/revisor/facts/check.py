"""What is wrong or worth knowing about facts taken together: contradictions, same subjects, age.

What comes in: facts, and the live facts of a ledger to hold them against. What goes out:
plain lists and dicts. What it does not do: read files or databases (`LiveFacts` does, for it),
or decide what happens to a conflict.

A new object for a fact that the ledger holds (the same id) is an update, not a conflict. A
conflict is what cannot be both: two objects for one id among the new facts, or two objects
for one statement (namespace, subject and prompt in normal form) under two ids, as when only
one of the two declares a relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from revisor.facts.fact import Fact, normal_form, parse_time

_Statement = tuple[str, str, str]


class LiveFacts(Protocol):
    """What a check needs of a ledger."""

    def about(self, subjects: Iterable[str]) -> Iterator[Fact]:
        """The live facts about these subjects, compared in normal form."""
        ...


@dataclass(frozen=True, kw_only=True)
class ConflictFound:
    """Two facts that cannot both hold.

    Attributes:
        kind: `same id`, or `same statement` where the ids differ.
        fact: the new fact.
        other: what it contradicts: an earlier new fact, or a live one.
        in_ledger: whether `other` is a live fact of the ledger.
    """

    kind: Literal["same id", "same statement"]
    fact: Fact
    other: Fact
    in_ledger: bool

    def __str__(self) -> str:
        where = "in the ledger" if self.in_ledger else "in the same import"
        return (
            f"{self.fact.text!r} -> {self.fact.object!r} (id {self.fact.id}) contradicts "
            f"{self.other.object!r} (id {self.other.id}) {where}: {self.kind}"
        )


def conflicts_between(new: Iterable[Fact], ledger: LiveFacts | None = None) -> list[ConflictFound]:
    """The contradictions among `new` facts, then those against the live facts of `ledger`.

    Objects are compared in normal form; a fact is told with the first one that it contradicts.
    Two statements whose times of validity do not meet do not contradict one another under two
    ids; under one id they do, since a fact has one value at a time. A live fact whose id is
    among `new` is about to change, so it is not held against the rest of `new`.
    """
    first_of_id: dict[str, Fact] = {}
    by_statement: dict[_Statement, list[Fact]] = {}
    found: list[ConflictFound] = []
    for fact in new:
        earlier = first_of_id.setdefault(fact.id, fact)
        if _differ(fact, earlier):
            found.append(ConflictFound(kind="same id", fact=fact, other=earlier, in_ledger=False))
        elif earlier is fact:
            others = by_statement.setdefault(_statement(fact), [])
            found.extend(_contradictions(fact, others, in_ledger=False))
            others.append(fact)
    if ledger is None:
        return found
    for live in ledger.about({facts[0].subject for facts in by_statement.values()}):
        if live.id not in first_of_id:
            for fact in by_statement.get(_statement(live), []):
                found.extend(_contradictions(fact, [live], in_ledger=True))
    return found


def _contradictions(
    fact: Fact, others: Iterable[Fact], *, in_ledger: bool
) -> Iterator[ConflictFound]:
    """The first of `others` that says something else of the same statement, if any does."""
    for other in others:
        if _differ(fact, other) and _meet(fact, other):
            yield ConflictFound(kind="same statement", fact=fact, other=other, in_ledger=in_ledger)
            return


def same_subject(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """The facts by the normal form of their subject, both in the order given."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(normal_form(fact.subject), []).append(fact)
    return groups


def expired(facts: Iterable[Fact], now: datetime) -> list[Fact]:
    """The facts that no longer hold at `now` (an aware datetime)."""
    return [fact for fact in facts if fact.valid_to and parse_time(fact.valid_to) <= now]


def _statement(fact: Fact) -> _Statement:
    return fact.namespace, normal_form(fact.subject), normal_form(fact.prompt)


def _differ(one: Fact, other: Fact) -> bool:
    return normal_form(one.object) != normal_form(other.object)


def _meet(one: Fact, other: Fact) -> bool:
    """Whether there is a moment at which both hold."""
    return _starts_before_end(one, other) and _starts_before_end(other, one)


def _starts_before_end(one: Fact, other: Fact) -> bool:
    if not one.valid_from or not other.valid_to:
        return True
    return parse_time(one.valid_from) < parse_time(other.valid_to)
