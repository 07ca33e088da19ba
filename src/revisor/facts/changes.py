"""What goes into the ledger and what it tells: changes, generations, revisions.

Plain frozen data, without a database: a change is one wish, a generation is one batch of them
made in one transaction, a revision is one value of one fact. ledger.py does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from revisor.facts.fact import Fact


@dataclass(frozen=True)
class Put:
    """A fact that shall hold: added if its id is not live, else a new revision if it differs."""

    fact: Fact

    @property
    def fact_id(self) -> str:
        """The id of the fact."""
        return self.fact.id


@dataclass(frozen=True)
class Remove:
    """The fact with this (whole) id shall hold no longer; its history stays."""

    fact_id: str


Change = Put | Remove


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One batch of changes.

    Attributes:
        number, parent: its number and that of the generation it was made from (0: none).
        at: when, ISO 8601 in UTC.
        actor, reason: who made it, and why.
        added, updated, removed, unchanged: what became of the changes.
        live: how many facts are live in it.
    """

    number: int
    parent: int
    at: str
    actor: str
    reason: str
    added: int
    updated: int
    removed: int
    unchanged: int
    live: int

    @property
    def changed(self) -> bool:
        """Whether anything changed; if not, `number` is that of the generation before."""
        return self.added + self.updated + self.removed > 0


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One value of one fact, and the event that made it.

    Attributes:
        fact: the value; for a removal, the value that was removed.
        revision: 1 for the first, then counting up.
        generation: the generation that made it.
        until: the generation that ended it, None while it stands.
        kind: what was done.
        actor, reason, at: of the generation that made it.
    """

    fact: Fact
    revision: int
    generation: int
    until: int | None
    kind: Literal["add", "update", "remove"]
    actor: str
    reason: str
    at: str

    @property
    def state(self) -> Literal["live", "removed"]:
        """The state of the fact from this revision on."""
        return "removed" if self.kind == "remove" else "live"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What leads from the live facts of one generation to those of another.

    Attributes:
        pairs: what each fact that differs was and is, in the ledger's order; None where it is not
            live.
    """

    pairs: Sequence[tuple[Fact | None, Fact | None]]

    @property
    def added(self) -> tuple[Fact, ...]:
        """Facts that only the second has."""
        return tuple(after for before, after in self.pairs if after and not before)

    @property
    def updated(self) -> tuple[tuple[Fact, Fact], ...]:
        """Pairs of one fact's values, in the first and in the second."""
        return tuple((before, after) for before, after in self.pairs if before and after)

    @property
    def removed(self) -> tuple[Fact, ...]:
        """Facts that only the first has."""
        return tuple(before for before, after in self.pairs if before and not after)

    @property
    def put(self) -> tuple[Fact, ...]:
        """What is new or has another value in the second, in the ledger's order."""
        return tuple(after for _, after in self.pairs if after)


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What an erasure took out of the ledger.

    Attributes:
        ids: of the facts that are no more.
        revisions: how many values they had.
        generation: the last one; a new one if any of them was live.
    """

    ids: tuple[str, ...]
    revisions: int
    generation: int
