"""Everything in a ledger that is not as it was written, over a connection that sees one moment.

What is held against what: a row against its own digest; the digests of a generation's rows, and
the generation's own columns, against its event in the audit; the ends of revisions against the
revisions that follow; tags, decisions and erased rows against their events; the audit against its
own chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from revisor.facts.audit import chain_faults, events
from revisor.facts.fact import normal_form
from revisor.facts.migrations import migration_faults
from revisor.facts.policy import policy_faults
from revisor.facts.schema import (
    LIVE_KINDS,
    PURGED,
    generations,
    joint_digest,
    revisions,
    row_digest,
    tags,
)

_C = revisions.c
_BESIDE = ("rows", "approved_by")  # what the event of a write tells beside the generation's row


def ledger_faults(connection: sa.Connection, name: str) -> Iterator[str]:
    """Every fault, as a sentence."""
    if connection.dialect.name == "sqlite":
        for (told,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if told != "ok":
                yield f"{name} is damaged: {told}."
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"{name}: row {row[1]} of {row[0]} names a generation that is not there."
    for fault in (*migration_faults(connection), *chain_faults(connection)):
        yield f"{name}: {fault}"
    told = list(reversed(list(events(connection))))
    written = {one.generation: one.details for one in told if one.kind == "write"}
    erased = sum(_count(one.details.get("revisions")) for one in told if one.kind == "purge")
    for fault in (
        *_generation_faults(connection, written),
        *_row_faults(connection, written, erased),
        *_end_faults(connection),
    ):
        yield f"{name}: {fault}"
    named: dict[str, int] = {}
    for one in told:
        if one.kind == "tag":
            named[str(one.details.get("name"))] = one.generation
        elif one.kind == "untag":
            named.pop(str(one.details.get("name")), None)
    if {row.name: row.generation for row in connection.execute(sa.select(tags))} != named:
        yield f"{name}: the tags are not those that were set."
    for fault in policy_faults(connection):
        yield f"{name}: {fault}"


def _generation_faults(connection: sa.Connection, written: dict[int, Any]) -> Iterator[str]:
    found = connection.execute(sa.select(generations).order_by(generations.c.number)).mappings()
    numbers = []
    for row in found:
        numbers.append(row["number"])
        told = written.get(row["number"], {})
        if {key: told[key] for key in told if key not in _BESIDE} != dict(row):
            yield f"generation {row['number']} is not what the audit says of it."
    if lost := sorted(written.keys() - set(numbers)):
        yield f"generation {lost[0]} is missing."


def _row_faults(connection: sa.Connection, written: dict[int, Any], erased: int) -> Iterator[str]:
    """Rows against their digests, and those against their generation's event."""
    wanted = sa.select(revisions).order_by(_C.generation, _C.key)
    stream = connection.execution_options(yield_per=1_000).execute(wanted).mappings()
    blank, unread = 0, set(written)
    for number, rows in groupby(stream, key=lambda row: row["generation"]):
        digests = []
        for row in rows:
            digests.append(row["digest"] or b"")
            if row["kind"] == PURGED and row["salt"] is None:
                blank += 1
            elif not _whole(dict(row)):
                yield (
                    f"revision {row['revision']} of fact {row['fact_id']} (row {row['key']}, "
                    f"generation {number}) was changed after it was written."
                )
        unread.discard(number)
        if joint_digest(digests) != written.get(number, {}).get("rows"):
            yield f"the revisions of generation {number} are not those that were written."
    empty = joint_digest([])
    for number in sorted(unread):
        if written[number].get("rows") != empty:
            yield f"the revisions of generation {number} are missing."
    if blank != erased:
        yield f"{blank} revisions are erased; by the audit it should be {erased}."


def _count(told: object) -> int:
    """A number that an event tells; somebody may have tampered with it."""
    return told if isinstance(told, int) else 0


def _whole(row: dict[str, Any]) -> bool:
    if row["salt"] is None or normal_form(row["subject"]) != row["subject_normal"]:
        return False
    return bool(row_digest(row, row["salt"]) == row["digest"])


def _end_faults(connection: sa.Connection) -> Iterator[str]:
    """Ends that are not the beginning of the next revision, and a wrong count of live facts."""
    following = (
        sa.func.lead(_C.generation)
        .over(partition_by=_C.fact_id, order_by=_C.revision)
        .label("next")
    )
    rows = sa.select(_C.fact_id, _C.revision, _C.until, _C.kind, following).subquery()
    wrong = sa.select(rows.c.fact_id, rows.c.revision).where(
        rows.c.kind != PURGED, rows.c.until.is_distinct_from(rows.c.next)
    )
    for row in connection.execute(wrong):
        yield f"revision {row.revision} of fact {row.fact_id} does not end where the next begins."
    live = sa.select(sa.func.count()).where(_C.until.is_(None), _C.kind.in_(LIVE_KINDS))
    last = sa.select(generations.c.live).order_by(generations.c.number.desc()).limit(1)
    count, told = connection.execute(live).scalar_one(), connection.execute(last).scalar() or 0
    if count != told:
        yield f"{count} facts are live; by the last generation it should be {told}."
