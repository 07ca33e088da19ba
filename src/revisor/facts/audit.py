"""The audit: everything that was ever done to a store, in a table that is only appended to.

Each event is sealed by a hash over itself and the hash before. An event of a write names its
generation and the joint digest of that generation's rows, never a text of a fact.

Who can write to the database can replace the whole chain; the banks, which keep the hash that the
chain had when they were built, then no longer agree with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from revisor.facts.queries import last_generation
from revisor.facts.schema import audit, keep, kept, now, part

START = "0" * 64
HEAD = "audit_head"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that was done.

    Attributes:
        seq: 1, 2, 3 ...
        at: when, ISO 8601 in UTC.
        actor: who did it.
        kind: `write`, `tag`, `untag`, `purge`, `build`, `load`, `export`, `restore`, `gc` ...
        generation: the ledger's when it was done.
        details: what else is to be known; no text of a fact.
        hash: over all of it and the hash of the event before.
    """

    seq: int
    at: str
    actor: str
    kind: str
    generation: int
    details: Mapping[str, Any]
    hash: str


def record(
    connection: sa.Connection,
    kind: str,
    *,
    actor: str,
    details: Mapping[str, Any],
    generation: int | None = None,
    at: str | None = None,
) -> Event:
    """Append an event, of the last generation unless another is given. The connection holds the
    write lock."""
    head = sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    last = connection.execute(head).first()
    seq, before = (last.seq + 1, last.hash) if last else (1, START)
    row: dict[str, Any] = {
        "seq": seq,
        "at": at or now(),
        "actor": actor,
        "kind": kind,
        "generation": last_generation(connection).number if generation is None else generation,
        "details": json.dumps(details, sort_keys=True, ensure_ascii=False),
    }
    row["hash"] = _hash(row, before)
    connection.execute(audit.insert().values(row))
    set_head(connection, seq, row["hash"])
    return _event(row)


def set_head(connection: sa.Connection, seq: int, hash_: str) -> None:
    """Note beside the chain where it ends, so that a chain cut short is found."""
    keep(connection, HEAD, f"{seq}:{hash_}")


def events(
    connection: sa.Connection, limit: int | None = None, *, kinds: Collection[str] | None = None
) -> Iterator[Event]:
    """The events, or those of some kinds, the last one first."""
    wanted = sa.select(audit).order_by(audit.c.seq.desc()).limit(part(limit))
    if kinds is not None:
        wanted = wanted.where(audit.c.kind.in_(kinds))
    return (_event(dict(row)) for row in connection.execute(wanted).mappings())


def chain_faults(connection: sa.Connection) -> Iterator[str]:
    """Every event that is missing or not what its hash says."""
    before, expected = START, 1
    for row in connection.execute(sa.select(audit).order_by(audit.c.seq)).mappings():
        if row["seq"] != expected:
            yield f"audit: event {expected} is missing."
        elif _hash(dict(row), before) != row["hash"]:
            yield f"audit: event {row['seq']} ({row['kind']} at {row['at']}) was changed."
        before, expected = row["hash"], row["seq"] + 1
    if kept(connection, HEAD) != (f"{expected - 1}:{before}" if expected > 1 else None):
        yield f"audit: the chain ends at event {expected - 1}, which is not where it should."


def _hash(row: Mapping[str, Any], before: str) -> str:
    names = ("seq", "at", "actor", "kind", "generation", "details")
    content = json.dumps([before, *(row[name] for name in names)])
    return hashlib.sha256(content.encode()).hexdigest()


def _event(row: Mapping[str, Any]) -> Event:
    try:
        details = json.loads(row["details"])
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict):  # it was tampered with, which `chain_faults` tells
        details = {"unreadable": row["details"]}
    return Event(**{**row, "details": details})
