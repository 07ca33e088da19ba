"""The tables of the ledger, and how a fact becomes a row and comes back.

What comes in: a database URL. What goes out: an engine whose tables are there and of this
version. What it does not do: decide what to write (ledger.py).

A revision is one value of one fact from `generation` on, until another revision takes its
place in generation `until` (NULL: it still stands). So the facts at generation g are the rows
with `generation <= g < until`, for any g, with no replay. Rows are only ever added; `until` is
set once. Each row is also the event that made it, of the kind `add`, `update` or `remove`.
Two views are there for people with a database tool: `facts` (what is live now) and `events`.
Only portable types are used; SQLite gets what PostgreSQL does by itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from revisor.errors import Conflict, StoreDamaged, UsageError
from revisor.facts.fact import Fact, normal_form

SCHEMA_VERSION = 1
BUSY_SECONDS = 30
WRITES = "revisor_writes"
FIELDS = (
    "subject",
    "prompt",
    "object",
    "relation",
    "paraphrases",
    "aliases",
    "object_before",
    "source",
    "valid_from",
    "valid_to",
    "namespace",
    "qualifier",
)
_LISTS = ("paraphrases", "aliases")

# Prefixes of ids are found as ranges, which needs byte order; SQLite has it by default.
_Id = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")

metadata = sa.MetaData()
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
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
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("fact_id", _Id, nullable=False),
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
    sa.Index("revisions_by_fact", "fact_id", "revision", unique=True),
    sa.Index("revisions_by_position", "position"),
    sa.Index("revisions_by_subject", "subject_normal"),
    sa.Index("revisions_by_generation", "generation"),
)
_VIEWS = (
    f"CREATE VIEW facts AS SELECT fact_id AS id, {', '.join(FIELDS)}, revision, generation "
    "FROM revisions WHERE until IS NULL AND kind <> 'remove'",
    "CREATE VIEW events AS SELECT r.key AS seq, r.generation, r.kind, r.fact_id, r.revision, "
    "g.at, g.actor, g.reason FROM revisions r JOIN generations g ON g.number = r.generation",
)

FACT_COLUMNS = (revisions.c.fact_id, *(revisions.c[name] for name in FIELDS))


def row_from(fact: Fact) -> dict[str, Any]:
    """The columns of `revisions` that the fact itself fills."""
    row: dict[str, Any] = {name: getattr(fact, name) for name in FIELDS}
    for name in _LISTS:
        row[name] = json.dumps(row[name], ensure_ascii=False) if row[name] else "[]"
    return {"fact_id": fact.id, "subject_normal": normal_form(fact.subject), **row}


def fact_from_row(row: Sequence[Any]) -> Fact:
    """The fact in a row that starts with `FACT_COLUMNS`."""
    fields = dict(zip(FIELDS, row[1:], strict=False))
    for name in _LISTS:
        fields[name] = () if fields[name] == "[]" else tuple(json.loads(fields[name]))
    return Fact(id=row[0], **fields)


def live_at(generation: int) -> sa.ColumnElement[bool]:
    """The condition under which a revision is a live fact at that generation."""
    ended = revisions.c.until
    return sa.and_(
        revisions.c.generation <= generation,
        sa.or_(ended.is_(None), ended > generation),
        revisions.c.kind != "remove",
    )


def make_engine(url: sa.URL) -> sa.Engine:
    """An engine for the URL; on SQLite with WAL, foreign keys and real transactions.

    A connection with the execution option `WRITES` takes SQLite's write lock at once, so what
    it reads cannot be out of date when it writes.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transactions begin late, at the first write: SQLAlchemy begins them here.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "foreign_keys = ON",
        "cache_size = -65536",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def create_tables(engine: sa.Engine) -> None:
    """Make the tables and views of this schema version where the database has none."""
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        if sa.inspect(connection).has_table("meta"):
            return
        metadata.create_all(connection)
        for view in _VIEWS:
            connection.execute(sa.text(view))
        row = {"key": "schema_version", "value": str(SCHEMA_VERSION)}
        connection.execute(meta.insert().values(row))


def check_version(engine: sa.Engine, name: str) -> None:
    """Refuse a database that this code cannot read.

    Raises:
        StoreDamaged: it is no ledger.
        UsageError: its schema is of another version.
    """
    with engine.connect() as connection:
        found = None
        if sa.inspect(connection).has_table("meta"):
            wanted = sa.select(meta.c.value).where(meta.c.key == "schema_version")
            found = connection.execute(wanted).scalar()
    if found is None or not found.isdigit():
        raise StoreDamaged(
            f"{name} is a database, but no ledger of facts.", "Name the store's own ledger file."
        )
    if int(found) != SCHEMA_VERSION:
        raise UsageError(
            f"{name} has schema version {found}; this revisor reads version {SCHEMA_VERSION}.",
            "Use the revisor that wrote it, or a newer one.",
        )


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """Turn the driver's errors into those of revisor.

    Raises:
        Conflict: another process holds the write lock.
        StoreDamaged: the file is no database, a broken one, or cannot be written.
    """
    try:
        yield
    except sa.exc.DatabaseError as error:
        if "locked" in str(error.orig):
            raise Conflict(
                f"Another process has been writing to {name} for {BUSY_SECONDS} s.",
                "Wait until it is done and run the command again.",
            ) from error
        raise StoreDamaged(
            f"The database {name} cannot be used: {error.orig}.",
            "Check that the path is a ledger that you may write to, or restore it from a backup.",
        ) from error
