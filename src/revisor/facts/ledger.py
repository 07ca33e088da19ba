"""The ledger: every value a fact ever had, who gave it, when and why.

What comes in: changes (`Put`, `Remove`), each batch one transaction and one new generation.
What goes out: the live facts now or at any earlier generation, and the history. What it does
not do: judge whether facts contradict one another (check.py), or know rows of a bank.

Generations count 1, 2, 3 ...; 0 is the empty ledger before the first. Every reading is pinned
to a generation, so a long listing is exact while others write, and holds no lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from revisor.errors import Conflict, NotFound, UsageError
from revisor.facts.changes import Change, Generation, Put, Remove, Revision
from revisor.facts.fact import Fact, normal_form
from revisor.facts.queries import (
    difference,
    explain_removed,
    history_of,
    last_generation,
    pinned,
    resolve,
)
from revisor.facts.schema import (
    FACT_COLUMNS,
    FIELDS,
    WRITES,
    check_version,
    create_tables,
    fact_from_row,
    generations,
    live_at,
    make_engine,
    revisions,
    row_from,
    told_plainly,
)

__all__ = ["Change", "Generation", "Ledger", "Put", "Remove", "Revision"]

_CHUNK = 1_000
_T = TypeVar("_T")
_C = revisions.c


class Ledger:
    """A database of facts. Open it with `Ledger.open`; use it as a context manager or `close` it.

    It may be used from several threads and processes; SQLite lets one write at a time.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    @classmethod
    def open(cls, path_or_url: str | Path, *, create: bool = False) -> Ledger:
        """The ledger in an SQLite file, or in any database that an SQLAlchemy URL names.

        Args:
            create: make the file (and its folder) and the tables where there are none.

        Raises:
            NotFound: no such file, and `create` is false.
            UsageError: the URL names no known database, or the schema is of another version.
            StoreDamaged: the file is no ledger, or broken.
        """
        text = str(path_or_url)
        try:
            url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
            engine = make_engine(url)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise UsageError(
                f"The ledger's URL cannot be used: {error}.",
                "Name an SQLite file, or install the driver of the database.",
            ) from error
        name = url.render_as_string(hide_password=True) if "://" in text else text
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            file = Path(str(url.database))
            if create:
                file.parent.mkdir(parents=True, exist_ok=True)
            elif not file.is_file():
                raise NotFound(f"There is no ledger {file}.", "`revisor init` makes a store.")
        with told_plainly(name):
            if create:
                create_tables(engine)
            check_version(engine, name)
        return cls(engine, name)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _connection(self, **options: bool) -> Iterator[sa.Connection]:
        with (
            told_plainly(self.name),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

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
    ) -> Generation:
        """Make the changes, all or none, as one new generation.

        Putting what already holds and removing what is already removed count as unchanged;
        where nothing changes, no generation is made and the answer has the last one's number.
        An exception out of `changes` leaves the ledger as it was. `changes` is consumed while
        the write lock is held.

        Args:
            expected_generation: the generation the changes were made for.
            now: the aware time to write down; the clock's by default.

        Raises:
            Conflict: the last generation is not the expected one; another process wrote at the
                same time; or `changes` change one fact twice.
            NotFound: the id to remove was never in the ledger.
        """
        with self._connection(**{WRITES: True}) as connection:
            last = last_generation(connection)
            if expected_generation not in (None, last.number):
                raise Conflict(
                    f"The ledger is at generation {last.number}, not {expected_generation}.",
                    "Somebody changed facts meanwhile. Look at them and run the command again.",
                )
            values: dict[str, Any] = {
                "number": last.number + 1,
                "parent": last.number,
                "at": (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds"),
                "actor": actor,
                "reason": reason,
                **dict.fromkeys(("added", "updated", "removed", "unchanged", "live"), 0),
            }
            try:
                connection.execute(generations.insert().values(values))
            except sa.exc.IntegrityError as error:
                raise Conflict(
                    f"Another process made generation {last.number + 1} at the same time.",
                    "Nothing was written. Run the command again.",
                ) from error
            values |= _write(connection, changes, last.number + 1)
            values["live"] = last.live + values["added"] - values["removed"]
            made = Generation(**values)
            here = generations.c.number == made.number
            if made.changed:
                connection.execute(generations.update().where(here).values(values))
                return made
            connection.execute(generations.delete().where(here))
            return Generation(**values | {"number": last.number, "parent": last.parent})

    def rollback(self, to: int, *, actor: str, reason: str = "") -> Generation:
        """Make a new generation whose live facts are those of generation `to`.

        Nothing is forgotten: the generations between stay readable. Where the live facts are
        already those of `to`, no generation is made.

        Raises:
            NotFound: there is no generation `to`.
            Conflict: somebody else wrote meanwhile.
        """
        with self._connection() as connection:
            now = pinned(connection, None)
            put, removed = difference(connection, now, pinned(connection, to))
        changes: list[Change] = [Remove(fact_id) for fact_id in removed]
        changes += [Put(fact) for fact in put]
        reason = reason or f"rollback to generation {to}"
        return self.apply(changes, actor=actor, reason=reason, expected_generation=now)

    def facts(
        self,
        *,
        at: datetime | None = None,
        generation: int | None = None,
        namespace: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Iterator[Fact]:
        """The live facts, in the order in which they were first added.

        Args:
            at: only facts that hold at this (aware) moment, by `valid_from` and `valid_to`.
            generation: as of this generation; the last one by default.
            namespace: only facts of this namespace.
            search: only facts with this text in the subject, prompt or object, in any case.
            limit, offset: a part of the listing.

        Raises:
            NotFound: there is no such generation.
        """
        with self._connection() as connection:
            where = [live_at(pinned(connection, generation))]
        if namespace is not None:
            where.append(_C.namespace == namespace)
        if search:
            texts = [column.icontains(search, autoescape=True) for column in (_C.prompt, _C.object)]
            subject = _C.subject_normal.contains(normal_form(search), autoescape=True)
            where.append(sa.or_(subject, *texts))
        if at is None:
            return self._pages(where, limit, offset)
        # Times are kept as they were written, zones and all, so the database cannot compare them.
        holding = (fact for fact in self._pages(where, None, 0) if fact.valid_at(at))
        return islice(holding, offset, None if limit is None else offset + limit)

    def _pages(
        self, where: Sequence[sa.ColumnElement[bool]], limit: int | None, offset: int
    ) -> Iterator[Fact]:
        """Facts page by page, so that no transaction stays open between two of them."""
        wanted = sa.select(*FACT_COLUMNS, _C.position).where(*where).order_by(_C.position)
        after = -1
        while limit is None or limit > 0:
            size = _CHUNK if limit is None else min(limit, _CHUNK)
            page = wanted.where(_C.position > after).limit(size).offset(offset)
            with self._connection() as connection:
                rows = connection.execute(page).all()
            yield from map(fact_from_row, rows)
            if len(rows) < size:
                return
            after, offset = rows[-1].position, 0
            limit = None if limit is None else limit - size

    def about(self, subjects: Iterable[str]) -> Iterator[Fact]:
        """The live facts whose subject has the normal form of one of `subjects`."""
        wanted = iter(dict.fromkeys(map(normal_form, subjects)))
        for chunk in _chunks(wanted):
            with self._connection() as connection:
                live = live_at(pinned(connection, None))
                rows = connection.execute(
                    sa.select(*FACT_COLUMNS)
                    .where(_C.subject_normal.in_(chunk), live)
                    .order_by(_C.position)
                ).all()
            yield from map(fact_from_row, rows)

    def get(self, fact_id: str) -> Fact:
        """The live fact with this id, or with the only live id that starts so (4 letters or more).

        Raises:
            NotFound: no such live fact, or several; says which ids are near, or that it was
                removed and when.
        """
        with self._connection() as connection:
            live = live_at(pinned(connection, None))
            try:
                found = resolve(connection, fact_id, live)
            except NotFound:
                explain_removed(connection, fact_id)
                raise
            row = connection.execute(sa.select(*FACT_COLUMNS).where(_C.fact_id == found, live))
            return fact_from_row(row.one())

    def history(self, fact_id: str) -> list[Revision]:
        """Every revision of a fact, the first one first; takes a unique prefix as `get` does.

        Raises:
            NotFound: the ledger never held such a fact, or several ids start so.
        """
        with self._connection() as connection:
            return history_of(connection, resolve(connection, fact_id, sa.true()))

    def log(self, limit: int | None = 20) -> list[Generation]:
        """The generations, the last one first."""
        wanted = sa.select(generations).order_by(generations.c.number.desc()).limit(limit)
        with self._connection() as connection:
            return [Generation(**row) for row in connection.execute(wanted).mappings()]

    def changed_since(
        self, generation: int, *, upto: int | None = None
    ) -> tuple[list[Fact], list[str]]:
        """What leads from one generation to another (the last by default): facts to put, ids to
        remove. It is the net change: what was changed and changed back is not in it.

        Raises:
            NotFound: there is no such generation.
        """
        with self._connection() as connection:
            start, end = pinned(connection, generation), pinned(connection, upto)
            return difference(connection, start, end)


def _write(connection: sa.Connection, changes: Iterable[Change], number: int) -> dict[str, int]:
    """Write the revisions of generation `number`; returns the counts of a `Generation`."""
    counts = {"added": 0, "updated": 0, "removed": 0, "unchanged": 0}
    counted = {"add": "added", "update": "updated", "remove": "removed"}
    position = connection.execute(sa.select(sa.func.max(_C.position))).scalar() or 0
    end = revisions.update().where(_C.key == sa.bindparam("ended")).values(until=number)
    for chunk in _chunks(changes):
        ids = [change.fact.id if isinstance(change, Put) else change.fact_id for change in chunk]
        standing = sa.select(revisions).where(_C.fact_id.in_(set(ids)), _C.until.is_(None))
        current = {row.fact_id: row._asdict() for row in connection.execute(standing)}
        made: list[dict[str, Any]] = []
        ended: list[dict[str, int]] = []
        for fact_id, change in zip(ids, chunk, strict=True):
            old = current.get(fact_id)
            step = _step(old, change)
            if step is None:
                counts["unchanged"] += 1
                continue
            kind, row = step
            if old is not None and old["generation"] == number:
                raise Conflict(
                    f"The fact {fact_id} ({row['subject']!r}) is changed twice in one import.",
                    "Keep one object for each fact. Nothing was written.",
                )
            if old is None:
                position += 1
            else:
                ended.append({"ended": old["key"]})
            row |= {
                "revision": old["revision"] + 1 if old else 1,
                "position": old["position"] if old else position,
                "generation": number,
                "kind": kind,
            }
            made.append(row)
            current[fact_id] = row
            counts[counted[kind]] += 1
        if ended:
            connection.execute(end, ended)
        if made:
            connection.execute(revisions.insert(), made)
    return counts


def _step(old: Mapping[str, Any] | None, change: Change) -> tuple[str, dict[str, Any]] | None:
    """The event that a change means and its new row, or None where it changes nothing.

    Raises:
        NotFound: the fact to remove was never there.
    """
    live = old is not None and old["kind"] != "remove"
    if isinstance(change, Put):
        row = row_from(change.fact)
        if old is None or not live:
            return "add", row
        same = all(old[name] == row[name] for name in FIELDS)
        return None if same else ("update", row)
    if old is None:
        raise NotFound(f"There is no fact {change.fact_id} to remove.", "`revisor ls` lists them.")
    kept = ("fact_id", "subject_normal", *FIELDS)
    return ("remove", {name: old[name] for name in kept}) if live else None


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    source = iter(items)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk
