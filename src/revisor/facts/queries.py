"""The readings of the ledger that take more than one line, each over an open connection."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterable
from itertools import groupby

import sqlalchemy as sa

from revisor.errors import NotFound, UsageError
from revisor.facts.changes import Generation, Revision
from revisor.facts.fact import Fact
from revisor.facts.schema import (
    FACT_COLUMNS,
    MOST,
    PURGED,
    fact_from_row,
    generations,
    live_at,
    part,
    revisions,
    tags,
)

PREFIX_LENGTH = 4
_CHUNK = 1_000  # rows that are read ahead
_HIGHEST = "\U0010ffff"
_C = revisions.c
_NOTHING = dict.fromkeys(("added", "updated", "removed", "unchanged", "live"), 0)
NO_GENERATION = Generation(number=0, parent=0, at="", actor="", reason="", **_NOTHING)


def last_generation(connection: sa.Connection) -> Generation:
    """The generation that was committed last."""
    wanted = sa.select(generations).order_by(generations.c.number.desc()).limit(1)
    row = connection.execute(wanted).mappings().first()
    return Generation(**row) if row else NO_GENERATION


def pinned(connection: sa.Connection, generation: int | str | None) -> int:
    """The generation to read at, by number or tag. Raises NotFound where it does not exist."""
    last = last_generation(connection).number
    if generation is None:
        return last
    generation = named(connection, generation)
    if not 0 <= generation <= last:
        raise NotFound(
            f"There is no generation {generation}; the last is {last}.", "`revisor log` lists them."
        )
    return generation


def within(namespaces: Collection[str] | None) -> sa.ColumnElement[bool]:
    """The condition under which a revision is of one of these namespaces; None for all."""
    return sa.true() if namespaces is None else _C.namespace.in_(sorted(namespaces))


def differing(
    connection: sa.Connection, start: int, end: int, namespaces: Collection[str] | None = None
) -> Generator[tuple[Fact | None, Fact | None], None, None]:
    """What each fact was at `start` and is at `end`, in either direction, of those that differ, in
    the order in which they were first added; None where it is not live."""
    low, high = sorted((start, end))
    # A fact that differs has a revision that began or ended in between.
    began = sa.and_(_C.generation > low, _C.generation <= high)
    ended = sa.and_(_C.until > low, _C.until <= high)
    touched = sa.and_(sa.or_(began, ended), sa.or_(live_at(start), live_at(end)))
    wanted = sa.select(*FACT_COLUMNS, _C.position, live_at(start)).where(
        touched, within(namespaces)
    )
    wanted = wanted.order_by(_C.position)
    options = {"yield_per": _CHUNK}
    with connection.execute(wanted, execution_options=options) as rows:
        for _, revised in groupby(rows, key=lambda row: row.position):
            sides = {bool(was): fact_from_row(row) for *row, _, was in revised}
            before, after = sides.get(True), sides.get(False)
            if before != after:
                yield before, after


def history_of(
    connection: sa.Connection,
    fact_id: str,
    namespaces: Collection[str] | None = None,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> list[Revision]:
    """The revisions of a fact (whole id) that are of these namespaces, the first one first."""
    more = (_C.revision, _C.generation, _C.until, _C.kind)
    made = (generations.c.actor, generations.c.reason, generations.c.at)
    rows = connection.execute(
        sa.select(*FACT_COLUMNS, *more, *made)
        .join(generations, generations.c.number == _C.generation)
        .where(_C.fact_id == fact_id, within(namespaces))
        .order_by(_C.revision)
        .limit(part(limit))
        .offset(part(offset))
    )
    names = [column.name for column in (*more, *made)]
    return [
        Revision(fact=fact_from_row(row), **dict(zip(names, row[-len(names) :], strict=True)))
        for row in rows
    ]


def is_number(generation: str) -> bool:
    """Whether what names a generation is a number rather than a tag."""
    return re.fullmatch("-?[0-9]+", generation) is not None


def named(connection: sa.Connection, generation: int | str) -> int:
    """The number that a number, or a tag, means. Raises NotFound for an unknown tag."""
    if isinstance(generation, int):
        return generation
    if is_number(generation):
        # Python reads no number of thousands of digits, and no ledger comes to one of twenty.
        return int(generation) if len(generation) < 20 else MOST
    wanted = sa.select(tags.c.generation).where(tags.c.name == generation)
    found = connection.execute(wanted).scalar()
    if found is None:
        known = connection.execute(sa.select(tags.c.name).order_by(tags.c.name)).scalars().all()
        shown = f"Tags: {', '.join(known)}." if known else "`revisor log` lists the generations."
        raise NotFound(f"There is no generation {generation!r}.", shown)
    return int(found)


def _starting(
    connection: sa.Connection, prefix: str, condition: sa.ColumnElement[bool]
) -> list[str]:
    """Up to six ids that start with `prefix`."""
    wanted = sa.select(_C.fact_id).distinct().where(condition, _C.kind != PURGED)
    wanted = wanted.where(_C.fact_id >= prefix, _C.fact_id < prefix + _HIGHEST)
    wanted = wanted.order_by(_C.fact_id).limit(6)
    return list(connection.execute(wanted).scalars())


def refuse_one_text(fact_ids: Iterable[str]) -> None:
    """Raise UsageError for one id in the place of several, whose letters would be taken for ids."""
    if isinstance(fact_ids, str):
        raise UsageError(f"The ids are one text, {fact_ids!r}.", f"Write [{fact_ids!r}].")


def resolve(connection: sa.Connection, fact_id: str, condition: sa.ColumnElement[bool]) -> str:
    """The whole id meant by an id or a unique prefix. Raises NotFound, naming what is near."""
    found = _starting(connection, fact_id, condition) if fact_id else []
    if fact_id in found:
        return fact_id
    if len(found) == 1 and len(fact_id) >= PREFIX_LENGTH:
        return found[0]
    if len(found) > 1:
        shown = ", ".join(found[:5]) + (" ..." if len(found) > 5 else "")
        raise NotFound(
            f"Several facts have an id that starts with {fact_id}: {shown}.", "Say more."
        )
    if found and len(fact_id) < PREFIX_LENGTH:
        raise NotFound(
            f"'{fact_id}' is too short for an id: its first {PREFIX_LENGTH} letters are needed.",
            f"Did you mean {found[0]}?",
        )
    near = _starting(connection, fact_id[:PREFIX_LENGTH], condition) if fact_id else []
    hint = f"Did you mean {' or '.join(near[:5])}?" if near else "`revisor ls` lists the ids."
    raise NotFound(f"There is no fact {fact_id!r}.", hint)


def explain_removed(
    connection: sa.Connection, fact_id: str, namespaces: Collection[str] | None = None
) -> None:
    """Raise a better NotFound where the id is that of a removed fact."""
    try:
        whole = resolve(connection, fact_id, within(namespaces))
        last = history_of(connection, whole, namespaces)[-1]
    except NotFound:
        return
    if last.state == "removed":
        raise NotFound(
            f"The fact {last.fact.id} ({last.fact.subject!r}) was removed in generation "
            f"{last.generation} by {last.actor}.",
            f"`revisor rollback --to {last.generation - 1}` would bring it back.",
        )
