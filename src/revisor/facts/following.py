"""What follows a ledger reads from it: whether it moved, its rows in bulk, what changed.

A row is a plain tuple in the order of `Row`, because a million `Fact` objects cost more than all
else. Rows are named by their `key`, which a revision keeps for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from revisor.facts.database import commits, database_key, told_plainly
from revisor.facts.policy import live_generation
from revisor.facts.queries import pinned
from revisor.facts.schema import LIVE_KINDS, PURGED, audit, generations, live_at, revisions

if TYPE_CHECKING:
    from revisor.facts.ledger import Ledger

PAGE = 20_000
_C = revisions.c


class Row(NamedTuple):
    """A revision of a fact; lists are JSON, as the database has them."""

    key: int
    fact_id: str
    subject: str
    object: str
    prompt: str
    paraphrases: str
    aliases: str
    valid_from: str | None
    valid_to: str | None
    namespace: str
    qualifier: str


_LAST_EVENT = sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_COLUMNS = tuple(_C[name] for name in Row._fields)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a ledger stands.

    Attributes:
        generation: the live one.
        event: number of the last event of the audit; 0 where there is none.
        chain: the hash of that event, which stands for the whole history before it.
    """

    generation: int
    event: int
    chain: str


@dataclass(frozen=True, kw_only=True)
class News:
    """What happened to a ledger since it stood somewhere.

    Attributes:
        standing: where it stands now.
        replaced: its history is another one; nothing else is told.
        purged: keys of all erased rows, if any were erased meanwhile.
        far: so much changed that it was not read: `begun` and `ended` are empty.
        begun, ended: rows that begin, and keys of rows that end.
    """

    standing: Standing
    replaced: bool = False
    purged: frozenset[int] = frozenset()
    far: bool = False
    begun: Sequence[Row] = ()
    ended: Sequence[int] = ()


class Follower:
    """Reads of one ledger for something that follows it. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._engine = ledger._engine
        self._key = database_key(self._engine)
        self._lock = threading.Lock()
        self._kept: Any = None  # a connection of its own, to see by it that others committed
        self._kept_by = 0
        self._version: object = None

    def close(self) -> None:
        """Let the kept connection go."""
        with self._lock:
            self._drop()

    @property
    def own_commits(self) -> int:
        """How many commits this process has made to the database; a dictionary look-up."""
        return commits(self._key)

    def has_moved(self) -> bool:
        """Whether anybody committed since the last call. The first call says yes.

        Some microseconds on SQLite, a small query on PostgreSQL.
        """
        with self._lock, told_plainly(self._ledger.name):
            try:
                version = self._read_version()
            except Exception:
                self._drop()
                raise
            moved = version != self._version
            self._version = version
            return moved

    def _read_version(self) -> object:
        if self._kept_by != os.getpid():
            # A connection must not be used on both sides of a fork.
            self._kept, self._kept_by = None, os.getpid()
        if self._engine.dialect.name != "sqlite":
            if self._kept is None:
                self._kept = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return self._kept.execute(_LAST_EVENT).first()
        if self._kept is None:
            taken = self._engine.raw_connection()
            self._kept = taken.driver_connection
            taken.detach()  # the pool forgets it: it is closed here
        # It changes when another connection commits; the number says nothing else.
        row = self._kept.execute("PRAGMA data_version").fetchone()
        return (id(self._kept), row[0])

    def _drop(self) -> None:
        if self._kept is not None and self._kept_by == os.getpid():
            self._kept.close()
        self._kept = self._version = None

    def standing(self) -> Standing:
        """Where the ledger stands now."""
        with self._ledger._connection() as connection:
            return _standing(connection)

    def news(self, before: Standing, *, limit: int) -> News:
        """What happened since the ledger stood there, in one consistent view of it.

        Args:
            limit: how many rows to read at most.
        """
        with self._ledger._connection() as connection:
            now = _standing(connection)
            if now == before:
                return News(standing=now)
            if _chain_at(connection, before.event) != before.chain:
                return News(standing=now, replaced=True)
            purged = _purged_since(connection, before.event)
            if _distance(connection, before.generation, now.generation) > limit:
                return News(standing=now, purged=purged, far=True)
            begun, ended = _changes(connection, before.generation, now.generation)
            return News(standing=now, purged=purged, begun=begun, ended=ended)

    def chain_at(self, event: int) -> str | None:
        """The hash of an event of the audit; "" for 0, None where there is no such event."""
        with self._ledger._connection() as connection:
            return _chain_at(connection, event)

    def purged_since(self, event: int) -> frozenset[int]:
        """Keys of all erased rows, if any were erased after this event; none otherwise."""
        with self._ledger._connection() as connection:
            return _purged_since(connection, event)

    def check(self, generation: int) -> int:
        """The generation. Raises NotFound where there is none of this number."""
        with self._ledger._connection() as connection:
            return pinned(connection, generation)

    def rows(self, generation: int) -> Iterator[Sequence[Any]]:
        """The rows of a generation's facts, by key. No transaction is open between pages."""
        wanted = sa.select(*_COLUMNS).where(live_at(generation)).order_by(_C.key).limit(PAGE)
        after = -1
        while True:
            with self._ledger._connection() as connection:
                page = connection.execute(wanted.where(_C.key > after)).all()
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].key

    def distance(self, start: int, end: int) -> int:
        """About how many rows `changes` would read."""
        with self._ledger._connection() as connection:
            return _distance(connection, start, end)

    def changes(self, start: int, end: int) -> tuple[list[Row], list[int]]:
        """What leads from one generation to another: rows that begin, keys of rows that end.

        Either may be the older. A row that was erased ends, too.
        """
        with self._ledger._connection() as connection:
            return _changes(connection, start, end)


def _standing(connection: sa.Connection) -> Standing:
    event = connection.execute(_LAST_EVENT).first()
    return Standing(
        generation=live_generation(connection),
        event=event.seq if event else 0,
        chain=event.hash if event else "",
    )


def _chain_at(connection: sa.Connection, event: int) -> str | None:
    if event == 0:
        return ""
    return connection.execute(sa.select(audit.c.hash).where(audit.c.seq == event)).scalar()


def _purged_since(connection: sa.Connection, event: int) -> frozenset[int]:
    later = sa.select(audit.c.seq).where(audit.c.seq > event, audit.c.kind == "purge").limit(1)
    if connection.execute(later).first() is None:
        return frozenset()
    # An erased row has an id of this form, which the index on ids finds.
    erased = sa.select(_C.key).where(
        _C.fact_id >= f"{PURGED}-", _C.fact_id < f"{PURGED}.", _C.kind == PURGED
    )
    return frozenset(connection.execute(erased).scalars())


def _distance(connection: sa.Connection, start: int, end: int) -> int:
    low, high = sorted((start, end))
    g = generations.c
    total = sa.select(sa.func.sum(g.added + 2 * g.updated + g.removed))
    return int(connection.execute(total.where(g.number > low, g.number <= high)).scalar() or 0)


def _changes(connection: sa.Connection, start: int, end: int) -> tuple[list[Row], list[int]]:
    if start == end:
        return [], []
    low, high = sorted((start, end))
    between = sa.or_(
        sa.and_(_C.generation > low, _C.generation <= high),
        sa.and_(_C.until > low, _C.until <= high),
    )
    wanted = sa.select(*_COLUMNS, _C.generation, _C.until, _C.kind).where(between)
    begun: list[Row] = []
    ended: list[int] = []
    for *row, since, until, kind in connection.execute(wanted.order_by(_C.key)):
        before, after = (since <= at and (until is None or until > at) for at in (start, end))
        if before and not after:
            ended.append(row[0])
        elif after and not before and kind in LIVE_KINDS:
            begun.append(Row(*row))
    return begun, ended
