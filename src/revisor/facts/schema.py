"""The tables of the ledger, and how a fact becomes a row and comes back.

A revision is one value of one fact from `generation` on, until another revision takes its
place in generation `until` (NULL: it still stands). So the facts at generation g are the rows
with `generation <= g < until`, for any g, with no replay. Rows are only ever added; `until` is
set once. Each row is also the event that made it, of the kind `add`, `update` or `remove`; a row
whose text was erased is of the kind `purged`.

Each row carries a random salt and the digest of salt and content. Erasing content and salt leaves
a digest from which nothing can be guessed, and by which the chain of audit.py still holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from revisor.facts.fact import FIELDS, Fact, normal_form

LISTS = ("paraphrases", "aliases")
LATER = ("reverse", "reverse_of")
"""Columns of facts that came after rows had been sealed."""
LIVE_KINDS = ("add", "update")
PURGED = "purged"
SALT_BYTES = 16
MOST = 2**63 - 1  # that a database counts to

metadata = sa.MetaData()
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
migrations = sa.Table(
    "migrations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
generations = sa.Table(
    "generations",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("parent", sa.Integer, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("added", sa.Integer, nullable=False),
    sa.Column("updated", sa.Integer, nullable=False),
    sa.Column("removed", sa.Integer, nullable=False),
    sa.Column("unchanged", sa.Integer, nullable=False),
    sa.Column("live", sa.Integer, nullable=False),
)
revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fact_id", sa.String(128), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("generation", sa.ForeignKey("generations.number"), nullable=False),
    sa.Column("until", sa.ForeignKey("generations.number")),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("subject_normal", sa.Text, nullable=False),
    *(
        sa.Column(name, sa.Text, nullable=name not in ("subject", "prompt", "object"))
        for name in FIELDS
    ),
    sa.Column("salt", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary),
)
tags = sa.Table(
    "tags",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("generation", sa.ForeignKey("generations.number"), nullable=False),
)
policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("needs_approval", sa.Boolean, nullable=False),
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

FACT_COLUMNS = (revisions.c.fact_id, *(revisions.c[name] for name in FIELDS))
SEALED = (
    *("fact_id", "revision", "generation", "kind", "position"),
    *(name for name in FIELDS if name not in LATER),
)
"""The columns whose content a row's digest covers, and with them those of `LATER` that are set."""


def now() -> str:
    """The time as the tables keep it: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def kept(connection: sa.Connection, key: str) -> str | None:
    """The value that `meta` has under a key."""
    found: str | None = connection.execute(
        sa.select(meta.c.value).where(meta.c.key == key)
    ).scalar()
    return found


def keep(connection: sa.Connection, key: str, value: str | int | None) -> None:
    """Have `meta` keep a value under a key, in the place of what it has; None for none."""
    connection.execute(meta.delete().where(meta.c.key == key))
    if value is not None:
        connection.execute(meta.insert().values(key=key, value=str(value)))


def row_from(fact: Fact) -> dict[str, Any]:
    """The columns of `revisions` that the fact itself fills."""
    row: dict[str, Any] = {name: getattr(fact, name) for name in FIELDS}
    for name in LISTS:
        row[name] = json.dumps(row[name], ensure_ascii=False) if row[name] else "[]"
    return {"fact_id": fact.id, "subject_normal": normal_form(fact.subject), **row}


def fact_from_row(row: Sequence[Any]) -> Fact:
    """The fact in a row that starts with `FACT_COLUMNS`."""
    fields = dict(zip(FIELDS, row[1:], strict=False))
    for name in LISTS:
        fields[name] = () if fields[name] == "[]" else tuple(json.loads(fields[name]))
    return Fact(id=row[0], **fields)


def row_digest(row: Mapping[str, Any], salt: bytes) -> bytes:
    """What seals a row: SHA-256 over its salt and the columns `SEALED`."""
    later = [[name, row[name]] for name in LATER if row.get(name) is not None]
    content = json.dumps([*(row[name] for name in SEALED), *later], separators=(",", ":"))
    return hashlib.sha256(salt + content.encode()).digest()


def joint_digest(digests: Iterable[bytes]) -> str:
    """What seals the rows of one generation, in the order of their keys."""
    joint = hashlib.sha256()
    for digest in digests:
        joint.update(digest)
    return joint.hexdigest()


def part(count: int | None) -> int | None:
    """How many rows to read, or to leave out, as a database can count them."""
    return None if count is None else min(count, MOST)


def live_at(generation: int) -> sa.ColumnElement[bool]:
    """The condition under which a revision is a live fact at that generation."""
    ended = revisions.c.until
    return sa.and_(
        revisions.c.generation <= generation,
        sa.or_(ended.is_(None), ended > generation),
        revisions.c.kind.in_(LIVE_KINDS),
    )
