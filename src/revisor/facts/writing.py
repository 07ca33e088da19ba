"""Writing one generation into the ledger's tables, and erasing facts from them.

The connection holds the write lock; who opened the transaction ends it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, TypeVar

import sqlalchemy as sa

from revisor.errors import Conflict, NotFound, UsageError
from revisor.facts.audit import record
from revisor.facts.changes import Change, Generation, Purged, Put, Remove
from revisor.facts.fact import ERASED, FIELDS, Fact, reversed_fact
from revisor.facts.policy import Approval
from revisor.facts.queries import NO_GENERATION, last_generation
from revisor.facts.rules import checked_all
from revisor.facts.schema import (
    FACT_COLUMNS,
    LIVE_KINDS,
    PURGED,
    SALT_BYTES,
    fact_from_row,
    generations,
    joint_digest,
    revisions,
    row_digest,
    row_from,
)

CHUNK = 1_000
_T = TypeVar("_T")
_C = revisions.c
_COUNTED = {"add": "added", "update": "updated", "remove": "removed"}


def write_generation(
    connection: sa.Connection,
    changes: Iterable[Change],
    *,
    actor: str,
    reason: str,
    now: datetime | None,
    follow: bool = True,
    approved_by: str | None = None,
) -> Generation:
    """Make the changes one new generation; where nothing changes, none is made.

    Args:
        follow: put and remove the reverses of facts with them; False where all are named.
        approved_by: who approved them, where a namespace asks for that.
    """
    approval = Approval.of(connection, actor=actor, approved_by=approved_by)
    last = last_generation(connection)
    made = _next(last, actor, reason, now)
    connection.execute(generations.insert().values(asdict(made)))
    here = generations.c.number == made.number
    digests: list[bytes] = []
    counts = _write(connection, changes, made.number, digests, approval, follow=follow)
    made = replace(made, **counts, live=last.live + counts["added"] - counts["removed"])
    if not made.changed:
        connection.execute(generations.delete().where(here))
        return replace(made, number=last.number, parent=last.parent)
    connection.execute(generations.update().where(here).values(asdict(made)))
    _record_write(connection, made, digests, approved_by)
    return made


def _next(last: Generation, actor: str, reason: str, now: datetime | None = None) -> Generation:
    """A generation behind the last one, in which nothing has changed yet."""
    at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    told: dict[str, Any] = {"at": at, "actor": actor, "reason": reason, "live": last.live}
    return replace(NO_GENERATION, number=last.number + 1, parent=last.number, **told)


def _record_write(
    connection: sa.Connection,
    made: Generation,
    digests: Iterable[bytes],
    approved_by: str | None = None,
) -> None:
    approved = {"approved_by": approved_by} if approved_by else {}
    record(
        connection,
        "write",
        actor=made.actor,
        at=made.at,
        generation=made.number,
        details={**asdict(made), "rows": joint_digest(digests), **approved},
    )


def erase(
    connection: sa.Connection, fact_ids: Collection[str], *, actor: str, reason: str
) -> Purged:
    """Erase every value that these facts had; of each row its place and its digest stay.

    Facts that are live end in a new generation. The event says how many were erased, not which.
    """
    last = last_generation(connection)
    ids = sorted(fact_ids)
    place = sa.select(_C.key, _C.until, _C.kind)
    rows = [
        row for some in chunks(ids) for row in connection.execute(place.where(_C.fact_id.in_(some)))
    ]
    live = sum(row.until is None and row.kind in LIVE_KINDS for row in rows)
    number = last.number
    if live:
        made = replace(_next(last, actor, reason or "purge"), removed=live, live=last.live - live)
        connection.execute(generations.insert().values(asdict(made)))
        _record_write(connection, made, [])
        number = made.number
    blank: dict[str, Any] = dict.fromkeys(FIELDS) | dict.fromkeys(
        ("subject", "prompt", "object", "subject_normal"), ""
    )
    erased = [{"erased": row.key, "fact_id": f"{ERASED}{row.key}"} for row in rows]
    change = revisions.update().where(_C.key == sa.bindparam("erased"))
    ended = sa.func.coalesce(_C.until, number)
    if erased:  # of a fact that was only ever proposed there are none
        change = change.values(
            kind=PURGED, salt=None, until=ended, fact_id=sa.bindparam("fact_id"), **blank
        )
        connection.execute(change, erased)
    record(
        connection,
        "purge",
        actor=actor,
        generation=number,
        details={"facts": len(ids), "revisions": len(rows), "reason": reason},
    )
    return Purged(ids=tuple(ids), revisions=len(rows), generation=number)


def _write(
    connection: sa.Connection,
    changes: Iterable[Change],
    number: int,
    digests: list[bytes],
    approval: Approval,
    *,
    follow: bool,
) -> dict[str, Any]:
    """Write the revisions of generation `number`, and fill `digests` with those of the rows, in the
    order of their keys; returns the counts of a `Generation`."""
    counts = {"added": 0, "updated": 0, "removed": 0, "unchanged": 0}
    named: set[str] = set()
    if follow:
        changes = list(changes)
        named = {change.fact_id for change in changes}
    place = _places(connection)
    end = revisions.update().where(_C.key == sa.bindparam("ended")).values(until=number)
    for chunk in chunks(changes):
        if follow:
            kept = iter(checked_all(one.fact for one in chunk if isinstance(one, Put)))
            chunk = [Put(next(kept)) if isinstance(one, Put) else one for one in chunk]
        current = _standing(connection, (change.fact_id for change in chunk))
        if follow:
            chunk = _followed(connection, chunk, current, named)
        made: list[dict[str, Any]] = []
        ended: list[dict[str, int]] = []
        for change in chunk:
            old = current.get(change.fact_id)
            step = _step(old, change)
            if step is None:
                counts["unchanged"] += 1
                continue
            kind, row = step
            approval.check(one["namespace"] for one in (old, row) if one is not None)
            if old is not None:
                _refuse_twice(old, number)
                ended.append({"ended": old["key"]})
            row |= {"generation": number, "kind": kind, "until": None} | place(old)
            made.append(row)
            current[row["fact_id"]] = row
            counts[_COUNTED[kind]] += 1
        if ended:
            connection.execute(end, ended)
        if made:
            _seal(made)
            digests += [row["digest"] for row in made]
            connection.execute(revisions.insert(), made)
    return counts


def _places(connection: sa.Connection) -> Callable[[Mapping[str, Any] | None], dict[str, int]]:
    """What tells the place of the next row: behind another revision of its fact, or a first one."""
    wanted = sa.select(sa.func.max(_C.key), sa.func.max(_C.position))
    keys, positions = (count((last or 0) + 1) for last in connection.execute(wanted).one())

    def place(old: Mapping[str, Any] | None) -> dict[str, int]:
        if old is None:
            return {"key": next(keys), "revision": 1, "position": next(positions)}
        return {"key": next(keys), "revision": old["revision"] + 1, "position": old["position"]}

    return place


def _refuse_twice(old: Mapping[str, Any], number: int) -> None:
    """Raise Conflict where a fact's last revision is of the generation that is being written."""
    if old["generation"] == number:
        raise Conflict(
            f"The fact {old['fact_id']} ({old['subject']!r}) is changed twice in one import.",
            "Keep one object for each fact. Nothing was written.",
        )


def _standing(connection: sa.Connection, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The last revisions of some facts, by their ids."""
    wanted = sa.select(revisions).where(_C.fact_id.in_(set(ids)), _C.until.is_(None))
    return {row["fact_id"]: dict(row) for row in connection.execute(wanted).mappings()}


def _followed(
    connection: sa.Connection,
    chunk: Sequence[Change],
    current: dict[str, dict[str, Any]],
    named: Collection[str],
) -> list[Change]:
    """The changes, and those of the reverses of the facts that they change.

    A reverse that is removed by itself is one that its fact no longer declares.

    Args:
        current: the last revisions of the facts that are changed; those of others are added.
        named: the ids of all facts that are changed. What becomes of their reverses is theirs.
    """
    turned = _reverses(connection, (change.fact_id for change in chunk))
    owners = {row["reverse_of"] for row in current.values()} - {None}
    current |= _standing(connection, owners - current.keys())
    found: list[Change] = []
    for change in chunk:
        old = _live_fact(current.get(change.fact_id))
        owner = old.reverse_of if old else None
        if isinstance(change, Put):
            if change.fact.reverse_of or owner:
                raise follows_another(change.fact.id, change.fact.reverse_of or owner)
            after = reversed_fact(change.fact)
            found.append(change)
            ended = turned.get(change.fact.id)
            if ended is not None and (after is None or after.id != ended):
                found.append(Remove(ended))
            found += [] if after is None else [Put(after)]
        elif owner is None:
            found.append(change)
            found += [Remove(turned[change.fact_id])] if change.fact_id in turned else []
        elif owner not in named:
            found.append(change)
            declaring = _live_fact(current.get(owner))
            found += [] if declaring is None else [Put(replace(declaring, reverse=None))]
    current |= _standing(connection, {change.fact_id for change in found} - current.keys())
    return found


def follows_another(fact_id: str, first: str | None) -> UsageError:
    """The refusal to change a reverse by itself."""
    return UsageError(
        f"The fact {fact_id} is the reverse of {first}.", "Change that one: its reverse follows it."
    )


def _reverses(connection: sa.Connection, ids: Iterable[str]) -> dict[str, str]:
    """The live reverses of some facts, by the facts' ids."""
    standing = sa.and_(_C.until.is_(None), _C.kind.in_(LIVE_KINDS))
    wanted = sa.select(_C.reverse_of, _C.fact_id).where(_C.reverse_of.in_(set(ids)), standing)
    return {row.reverse_of: row.fact_id for row in connection.execute(wanted)}


def _live_fact(row: Mapping[str, Any] | None) -> Fact | None:
    if row is None or row["kind"] not in LIVE_KINDS:
        return None
    return fact_from_row([row[column.name] for column in FACT_COLUMNS])


def _seal(rows: list[dict[str, Any]]) -> None:
    """Give each row a salt and its digest."""
    salts = os.urandom(SALT_BYTES * len(rows))
    for index, row in enumerate(rows):
        salt = salts[index * SALT_BYTES : (index + 1) * SALT_BYTES]
        row["salt"], row["digest"] = salt, row_digest(row, salt)


def _step(old: Mapping[str, Any] | None, change: Change) -> tuple[str, dict[str, Any]] | None:
    """The event that a change means and its new row, or None where it changes nothing."""
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


def chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    """The items in lists of up to `CHUNK`."""
    source = iter(items)
    while chunk := list(islice(source, CHUNK)):
        yield chunk
