"""How the tables of a ledger came to be: numbered migrations, each with a hash.

A migration that was published is never changed: every ledger keeps the hashes of those it went
through, and a ledger whose hashes are others is refused. To change the tables, add one below.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from revisor.errors import StoreDamaged, UsageError
from revisor.facts.audit import record
from revisor.facts.policy import set_policy
from revisor.facts.schema import (
    LATER,
    SALT_BYTES,
    generations,
    joint_digest,
    keep,
    kept,
    migrations,
    now,
    revisions,
    row_digest,
)

_TYPES = {"sqlite": {"id": "VARCHAR(128)", "blob": "BLOB"}}
# Prefixes of ids are found as ranges, which needs byte order; SQLite has it by default.
_TYPES["postgresql"] = {"id": 'VARCHAR(128) COLLATE "C"', "blob": "BYTEA"}


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step of the schema.

    Attributes:
        number: 1, 2, 3 ...
        name: what it brings.
        statements: SQL; `{id}` and `{blob}` stand for types that differ between databases.
        fill: what is computed for rows that are there already.
    """

    number: int
    name: str
    statements: tuple[str, ...]
    fill: Callable[[sa.Connection], None] | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of what it does: one that ran must not be changed."""
        text = "\n".join((str(self.number), self.name, *self.statements))
        return hashlib.sha256(text.encode()).hexdigest()


def _seal_old_rows(connection: sa.Connection) -> None:
    """Give every row of a ledger without seals its salt and digest, every generation an event."""
    seal = (
        revisions.update()
        .where(revisions.c.key == sa.bindparam("sealed"))
        .values(salt=sa.bindparam("salt_"), digest=sa.bindparam("digest_"))
    )
    made = connection.execute(sa.select(generations).order_by(generations.c.number)).mappings()
    for generation in [dict(row) for row in made]:
        here = revisions.c.generation == generation["number"]
        then = [column for column in revisions.c if column.name not in LATER]
        rows = connection.execute(sa.select(*then).where(here).order_by(revisions.c.key))
        sealed = []
        for row in rows.mappings():
            salt = os.urandom(SALT_BYTES)
            digest = row_digest(dict(row), salt)
            sealed.append({"sealed": row["key"], "salt_": salt, "digest_": digest})
        if sealed:
            connection.execute(seal, sealed)
        rows_hash = joint_digest(one["digest_"] for one in sealed)
        record(
            connection,
            "write",
            actor=generation["actor"],
            at=generation["at"],
            generation=generation["number"],
            details={**generation, "rows": rows_hash},
        )


_FIELDS_1 = (
    "subject, prompt, object, relation, paraphrases, aliases, object_before, source, "
    "valid_from, valid_to, namespace, qualifier"
)


def _show_reverses(connection: sa.Connection) -> None:
    """Two columns more at the end of the view of live facts, whatever depends on it."""
    replaces = connection.dialect.name == "postgresql"
    if not replaces:
        connection.exec_driver_sql("DROP VIEW facts")
    connection.exec_driver_sql(
        f"CREATE {'OR REPLACE ' if replaces else ''}VIEW facts AS SELECT fact_id AS id, "
        f"{_FIELDS_1}, revision, generation, reverse, reverse_of FROM revisions "
        "WHERE until IS NULL AND kind <> 'remove'"
    )


def _adopt_policies(connection: sa.Connection) -> None:
    """What a server that used this database asked of namespaces; it had a table of its own."""
    kept = sa.table("serve_namespaces", sa.column("name"), sa.column("needs_approval"))
    if not sa.inspect(connection).has_table(kept.name):
        return
    for row in connection.execute(sa.select(kept).order_by(kept.c.name)).all():
        set_policy(connection, row.name, needs_approval=bool(row.needs_approval), actor="revisor")


MIGRATIONS = (
    Migration(
        number=1,
        name="facts, revisions and generations",
        statements=(
            "CREATE TABLE meta (key VARCHAR(64) NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key))",
            "CREATE TABLE generations (number INTEGER NOT NULL, parent INTEGER NOT NULL, "
            "at VARCHAR(40) NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL, "
            "added INTEGER NOT NULL, updated INTEGER NOT NULL, removed INTEGER NOT NULL, "
            "unchanged INTEGER NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (number))",
            "CREATE TABLE revisions (key INTEGER NOT NULL, fact_id {id} NOT NULL, "
            "revision INTEGER NOT NULL, generation INTEGER NOT NULL, until INTEGER, "
            "kind VARCHAR(8) NOT NULL, position INTEGER NOT NULL, subject_normal TEXT NOT NULL, "
            "subject TEXT NOT NULL, prompt TEXT NOT NULL, object TEXT NOT NULL, relation TEXT, "
            "paraphrases TEXT, aliases TEXT, object_before TEXT, source TEXT, valid_from TEXT, "
            "valid_to TEXT, namespace TEXT, qualifier TEXT, PRIMARY KEY (key), "
            "FOREIGN KEY(generation) REFERENCES generations (number), "
            "FOREIGN KEY(until) REFERENCES generations (number))",
            "CREATE UNIQUE INDEX revisions_by_fact ON revisions (fact_id, revision)",
            "CREATE INDEX revisions_by_position ON revisions (position)",
            "CREATE INDEX revisions_by_subject ON revisions (subject_normal)",
            "CREATE INDEX revisions_by_generation ON revisions (generation)",
            f"CREATE VIEW facts AS SELECT fact_id AS id, {_FIELDS_1}, revision, generation "
            "FROM revisions WHERE until IS NULL AND kind <> 'remove'",
            "CREATE VIEW events AS SELECT r.key AS seq, r.generation, r.kind, r.fact_id, "
            "r.revision, g.at, g.actor, g.reason FROM revisions r "
            "JOIN generations g ON g.number = r.generation",
        ),
    ),
    Migration(
        number=2,
        name="sealed rows, the audit, tags, facts in time",
        statements=(
            "CREATE TABLE migrations (number INTEGER NOT NULL, name TEXT NOT NULL, "
            "hash VARCHAR(64) NOT NULL, at VARCHAR(40) NOT NULL, PRIMARY KEY (number))",
            "CREATE TABLE tags (name VARCHAR(64) NOT NULL, generation INTEGER NOT NULL, "
            "PRIMARY KEY (name), FOREIGN KEY(generation) REFERENCES generations (number))",
            "CREATE TABLE audit (seq INTEGER NOT NULL, at VARCHAR(40) NOT NULL, "
            "actor TEXT NOT NULL, kind VARCHAR(16) NOT NULL, generation INTEGER NOT NULL, "
            "details TEXT NOT NULL, hash VARCHAR(64) NOT NULL, PRIMARY KEY (seq))",
            "ALTER TABLE revisions ADD COLUMN salt {blob}",
            "ALTER TABLE revisions ADD COLUMN digest {blob}",
            "CREATE INDEX revisions_in_time ON revisions (generation) "
            "WHERE valid_from IS NOT NULL OR valid_to IS NOT NULL",
            "CREATE INDEX revisions_by_end ON revisions (until) WHERE until IS NOT NULL",
        ),
        fill=_seal_old_rows,
    ),
    Migration(
        number=3,
        name="reversed questions",
        statements=(
            "ALTER TABLE revisions ADD COLUMN reverse TEXT",
            "ALTER TABLE revisions ADD COLUMN reverse_of {id}",
            "CREATE INDEX revisions_by_reverse ON revisions (reverse_of) "
            "WHERE reverse_of IS NOT NULL",
        ),
        fill=_show_reverses,
    ),
    Migration(
        number=4,
        name="namespaces that need approval, the published generation",
        statements=(
            "CREATE TABLE policies (name VARCHAR(200) NOT NULL, needs_approval BOOLEAN NOT NULL, "
            "PRIMARY KEY (name))",
        ),
        fill=_adopt_policies,
    ),
)
VERSION = MIGRATIONS[-1].number
READABLE = 3
"""The first version whose facts this code reads without bringing the tables to `VERSION`."""


def migrate(connection: sa.Connection) -> None:
    """Bring the database to `VERSION`, from nothing or from any earlier version.

    The connection holds the write lock; where anything fails its transaction undoes all of it.
    """
    found = version_of(connection)
    if found is not None and found >= VERSION:
        return
    for migration in MIGRATIONS[found or 0 :]:
        for statement in migration.statements:
            # As text of the driver: SQLAlchemy would read a colon in it as a parameter.
            connection.exec_driver_sql(statement.format(**_TYPES[connection.dialect.name]))
        if migration.fill is not None:
            migration.fill(connection)
    known = set(connection.execute(sa.select(migrations.c.number)).scalars())
    new = [one for one in MIGRATIONS if one.number not in known]
    rows: list[dict[str, Any]] = [
        {"number": one.number, "name": one.name, "hash": one.hash, "at": now()} for one in new
    ]
    connection.execute(migrations.insert(), rows)
    keep(connection, "schema_version", VERSION)


def version_of(connection: sa.Connection) -> int | None:
    """The schema version of the database; None where it holds no ledger."""
    if not sa.inspect(connection).has_table("meta"):
        return None
    found = kept(connection, "schema_version")
    return int(found) if found is not None and found.isdigit() else None


def check_version(connection: sa.Connection, name: str) -> bool:
    """Whether the database is of this version; False where it is of an earlier one."""
    found = version_of(connection)
    if found is None:
        raise StoreDamaged(
            f"{name} is a database, but no ledger of facts.", "Name the store's own ledger file."
        )
    if found > VERSION:
        raise UsageError(
            f"{name} has schema version {found}; this revisor reads version {VERSION}.",
            "Use the revisor that wrote it, or a newer one.",
        )
    if found < VERSION:
        return False
    for fault in migration_faults(connection):
        raise StoreDamaged(f"{name}: {fault}", "Use the revisor that made this ledger.")
    return True


def migration_faults(connection: sa.Connection) -> list[str]:
    """Migrations that the database of its version did not go through, or in another form."""
    kept = sa.select(migrations.c.number, migrations.c.hash)
    hashes = {row.number: row.hash for row in connection.execute(kept)}
    return [
        f"migration {one.number} ({one.name}) is not the one that this revisor knows."
        for one in MIGRATIONS[: version_of(connection)]
        if hashes.get(one.number) != one.hash
    ]
