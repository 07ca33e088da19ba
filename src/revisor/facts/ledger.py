"""The ledger: every value a fact ever had, who gave it, when and why.

Generations count 1, 2, 3 ...; 0 is the empty ledger before the first. Every reading is pinned
to a generation, so a long listing is exact while others write, and holds no lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import datetime
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from revisor.errors import CannotWrite, Conflict, NotFound
from revisor.facts.changes import Change, Difference, Generation, Put, Remove, Revision
from revisor.facts.fact import Fact, normal_form
from revisor.facts.migrations import READABLE, check_version, migrate, version_of
from revisor.facts.policy import publish
from revisor.facts.queries import (
    differing,
    explain_removed,
    history_of,
    last_generation,
    pinned,
    resolve,
    within,
)
from revisor.facts.schema import (
    FACT_COLUMNS,
    fact_from_row,
    generations,
    live_at,
    part,
    revisions,
)
from revisor.facts.upkeep import Upkeep
from revisor.facts.writing import CHUNK, chunks, write_generation

__all__ = ["Change", "Generation", "Ledger", "Put", "Remove", "Revision"]

_C = revisions.c


class Ledger(Upkeep):
    """A database of facts. Open it with `Ledger.open`; use it as a context manager or `close` it.

    It may be used from several threads and processes; SQLite lets one write at a time. A generation
    is a number or a tag; NotFound where there is none.
    """

    @classmethod
    def open(cls, path_or_url: str | Path, *, create: bool = False) -> Ledger:
        """The ledger in an SQLite file, or in any database that an SQLAlchemy URL names.

        Args:
            create: make the file (and its folder) and the tables where there are none.

        Raises:
            NotFound: no such file, and `create` is false.
            UsageError: the URL names no known database, or the schema is of a newer version.
            CannotWrite: it is of an old version and may only be read; of this one, it opens.
            StoreDamaged: the file is no ledger, or broken.
        """
        return cls._opened(path_or_url, create=create)

    def _prepare(self, *, create: bool) -> None:
        if create:
            with self._connection(writes=True) as connection:
                migrate(connection)
        with self._connection() as connection:
            current = check_version(connection, self.name)
        if not current:
            try:
                with self._connection(writes=True) as connection:
                    migrate(connection)
            except CannotWrite:
                # What came later is about writing, so it is read as it is.
                with self._connection() as connection:
                    if (version_of(connection) or 0) < READABLE:
                        raise

    @property
    def generation(self) -> int:
        """The number of the last generation; 0 while nothing was ever put in."""
        with self._connection() as connection:
            return last_generation(connection).number

    def count(self) -> int:
        """How many facts are live."""
        with self._connection() as connection:
            return last_generation(connection).live

    def apply(
        self,
        changes: Iterable[Change],
        *,
        actor: str,
        reason: str,
        expected_generation: int | None = None,
        now: datetime | None = None,
        approved_by: str | None = None,
    ) -> Generation:
        """Make the changes, all or none, as one new generation.

        Putting what already holds and removing what is already removed count as unchanged;
        where nothing changes, no generation is made and the answer has the last one's number.
        The reverses that facts declare are put and removed with them; white space around a text
        is left out.
        An exception out of `changes` leaves the ledger as it was. `changes` is consumed while
        the write lock is held.

        Args:
            expected_generation: the generation the changes were made for.
            now: the aware time to write down; the clock's by default.
            approved_by: who approved the changes, where a namespace asks for approval.

        Raises:
            Conflict: the last generation is not the expected one; another process wrote at the
                same time; or `changes` change one fact twice.
            NotFound: the id to remove was never in the ledger.
            UsageError: a reverse is put by itself.
            BadInput: a fact that may not be kept (rules.py), with all that is wrong with it.
            NeedsApproval: a namespace asks for approval, and nobody but the actor gave it.
        """
        with self._connection(writes=True) as connection:
            last = last_generation(connection).number
            if expected_generation not in (None, last):
                raise Conflict(
                    f"The ledger is at generation {last}, not {expected_generation}.",
                    "Somebody changed facts meanwhile. Look at them and run the command again.",
                )
            return write_generation(
                connection, changes, actor=actor, reason=reason, now=now, approved_by=approved_by
            )

    def rollback(
        self, to: int | str, *, actor: str, reason: str = "", approved_by: str | None = None
    ) -> Generation:
        """Make a new generation whose live facts are those of generation `to`, and publish it.

        Nothing is forgotten: the generations between stay readable. Where the newest facts are
        already those of `to`, no generation is made.

        Raises:
            NotFound: there is no generation `to`.
            NeedsApproval: a namespace asks for approval, and nobody but the actor gave it.
        """
        with self._connection(writes=True) as connection:
            start, end = pinned(connection, None), pinned(connection, to)
            change = Difference(pairs=list(differing(connection, start, end)))
            reason = reason or f"rollback to generation {to}"
            made = write_generation(
                connection,
                [*(Remove(fact.id) for fact in change.removed), *map(Put, change.put)],
                actor=actor,
                reason=reason,
                now=None,
                follow=False,
                approved_by=approved_by,
            )
            publish(connection, made.number, actor=actor, reason=reason)
        return made

    def facts(
        self,
        *,
        at: datetime | None = None,
        generation: int | str | None = None,
        namespaces: Collection[str] | None = None,
        subject: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Iterator[Fact]:
        """The live facts, in the order in which they were first added.

        Args:
            at: only facts that hold at this (aware) moment, by `valid_from` and `valid_to`.
            generation: as of this generation; the last one by default.
            namespaces: only facts of these.
            subject: only facts about this subject, in any spelling.
            search: only facts with this text in the subject, prompt or object, in any case.
            limit, offset: a part of the listing.
        """
        with self._connection() as connection:
            where = [live_at(pinned(connection, generation)), within(namespaces)]
        if subject is not None:
            where.append(_C.subject_normal == normal_form(subject))
        if search:
            texts = [column.icontains(search, autoescape=True) for column in (_C.prompt, _C.object)]
            name = _C.subject_normal.contains(normal_form(search), autoescape=True)
            # No text has a NUL, at which SQLite ends what it looks for.
            where.append(sa.false() if "\0" in search else sa.or_(name, *texts))
        if at is None:
            return self._pages(where, limit, offset)
        # Times are kept as they were written, zones and all, so the database cannot compare them.
        holding = (fact for fact in self._pages(where, None, 0) if fact.valid_at(at))
        return islice(holding, part(offset), part(None if limit is None else offset + limit))

    def _pages(
        self, where: Sequence[sa.ColumnElement[bool]], limit: int | None, offset: int
    ) -> Iterator[Fact]:
        """Facts page by page, so that no transaction stays open between two of them."""
        wanted = sa.select(*FACT_COLUMNS, _C.position).where(*where).order_by(_C.position)
        after = -1
        while limit is None or limit > 0:
            size = CHUNK if limit is None else min(limit, CHUNK)
            page = wanted.where(_C.position > after).limit(size).offset(part(offset))
            with self._connection() as connection:
                rows = connection.execute(page).all()
            yield from map(fact_from_row, rows)
            if len(rows) < size:
                return
            after, offset = rows[-1].position, 0
            limit = None if limit is None else limit - size

    def about(self, subjects: Iterable[str], *, generation: int | None = None) -> Iterator[Fact]:
        """The live facts whose subject has the normal form of one of `subjects`, now or at a
        generation."""
        wanted = iter(dict.fromkeys(map(normal_form, subjects)))
        for chunk in chunks(wanted):
            yield from self._chosen(generation, _C.subject_normal.in_(chunk))

    def aliased(self) -> Iterator[Fact]:
        """The live facts that declare aliases of their subject."""
        with self._connection() as connection:
            where = [live_at(pinned(connection, None)), _C.aliases != "[]"]
        return self._pages(where, None, 0)

    def get(self, fact_id: str, *, namespaces: Collection[str] | None = None) -> Fact:
        """The live fact with this id, or with the only live id that starts so (4 letters or more).

        Args:
            namespaces: facts of others are as if they were not there.

        Raises:
            NotFound: no such live fact, or several; says which ids are near, or that it was
                removed and when.
        """
        with self._connection() as connection:
            live = sa.and_(live_at(pinned(connection, None)), within(namespaces))
            try:
                found = resolve(connection, fact_id, live)
            except NotFound:
                explain_removed(connection, fact_id, namespaces)
                raise
            if found != fact_id:  # the whole id of a removed fact means no other one
                explain_removed(connection, fact_id, namespaces)
            row = connection.execute(sa.select(*FACT_COLUMNS).where(_C.fact_id == found, live))
            return fact_from_row(row.one())

    def history(
        self,
        fact_id: str,
        *,
        namespaces: Collection[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Revision]:
        """The revisions of a fact, the first one first; takes a unique prefix as `get` does.

        Args:
            namespaces: revisions of others are as if they were not there.
            limit, offset: a part of them.

        Raises:
            NotFound: the ledger never held such a fact, or several ids start so.
        """
        with self._connection() as connection:
            whole = resolve(connection, fact_id, within(namespaces))
            return history_of(connection, whole, namespaces, limit=limit, offset=offset)

    def log(self, limit: int | None = 20, *, offset: int = 0) -> list[Generation]:
        """The generations, the last one first."""
        wanted = sa.select(generations).order_by(generations.c.number.desc())
        wanted = wanted.limit(part(limit)).offset(part(offset))
        with self._connection() as connection:
            return [Generation(**row) for row in connection.execute(wanted).mappings()]

    def changed_since(
        self, generation: int | str, *, upto: int | str | None = None
    ) -> tuple[list[Fact], list[str]]:
        """What leads from one generation to another (the last by default): facts to put, ids to
        remove. It is the net change: what was changed and changed back is not in it."""
        change = self.diff(generation, upto)
        return list(change.put), [fact.id for fact in change.removed]

    def diff(
        self,
        start: int | str,
        end: int | str | None = None,
        *,
        namespaces: Collection[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Difference:
        """How the facts of one generation (number or tag) differ from those of another.

        Args:
            namespaces: only facts of these; one that came from another namespace is added.
            limit, offset: a part of those that differ.
        """
        with self._connection() as connection:
            low, high = pinned(connection, start), pinned(connection, end)
            with closing(differing(connection, low, high, namespaces)) as pairs:
                last = None if limit is None else offset + limit
                return Difference(pairs=list(islice(pairs, offset, last)))

    def known(self, fact_ids: Iterable[str], *, generation: int | None = None) -> dict[str, Fact]:
        """Those of these (whole) ids that are live at a generation (the last by default), with
        their facts."""
        parts = (self._chosen(generation, _C.fact_id.in_(chunk)) for chunk in chunks(fact_ids))
        return {fact.id: fact for part in parts for fact in part}

    def _chosen(self, generation: int | None, where: sa.ColumnElement[bool]) -> list[Fact]:
        """The facts of a generation (the last by default) of which this is so, in order."""
        with self._connection() as connection:
            live = live_at(pinned(connection, generation))
            wanted = sa.select(*FACT_COLUMNS).where(where, live).order_by(_C.position)
            return [fact_from_row(row) for row in connection.execute(wanted)]

    def _values(self, column: sa.ColumnElement[str], generation: int | None) -> list[str]:
        """The different values of a column in a generation's facts, in order."""
        with self._connection() as connection:
            live = live_at(pinned(connection, generation))
            wanted = sa.select(column).distinct().where(live).order_by(column)
            return list(connection.execute(wanted).scalars())

    def namespaces(self, *, generation: int | None = None) -> list[str]:
        """The namespaces of a generation's facts (the last by default), in order."""
        return self._values(_C.namespace, generation)

    def prompts(self, *, generation: int) -> list[str]:
        """The different prompts of a generation's facts."""
        return self._values(_C.prompt, generation)

    def naming(
        self, words: Iterable[str], prompts: Sequence[str], *, generation: int
    ) -> Iterator[Fact]:
        """The facts of a generation whose subject holds one of the words, all in normal form, or
        whose prompt is one of these."""
        held = [_C.subject_normal.contains(word, autoescape=True) for word in words]
        parts: list[sa.ColumnElement[bool]] = [sa.or_(sa.false(), *held)]
        parts += [_C.prompt.in_(some) for some in chunks(prompts)]
        for some in parts:
            yield from self._chosen(generation, some)

    def live_ids(self, generation: int) -> set[str]:
        """The ids of the facts that are live at a generation."""
        return set(self._values(_C.fact_id, generation))

    def timed(self, *, generation: int) -> list[Fact]:
        """The facts of a generation that hold for a part of time only."""
        bounded = sa.or_(_C.valid_from.is_not(None), _C.valid_to.is_not(None))
        return self._chosen(generation, bounded)

    @contextmanager
    def locked(self) -> Iterator[Locked]:
        """The ledger with its write lock held: all that is read and written by it in the block is
        one transaction, which an exception undoes. By the ledger itself nothing can be written
        meanwhile."""
        with self._connection(writes=True) as connection:
            yield Locked(self._engine, self.name, connection)


class Locked(Ledger):
    """A ledger within one transaction; see `Ledger.locked`.

    Attributes:
        connection: for other tables of the same database.
    """

    def __init__(self, engine: sa.Engine, name: str, connection: sa.Connection) -> None:
        super().__init__(engine, name)
        self.connection = connection

    def _connection(self, *, writes: bool = False) -> AbstractContextManager[sa.Connection]:
        return nullcontext(self.connection)
