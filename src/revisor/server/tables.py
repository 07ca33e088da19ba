"""The server's own tables, beside the ledger in the same database: API keys and proposals."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from revisor.errors import CannotWrite, UsageError
from revisor.facts.database import make_engine, transaction
from revisor.store import Store

VERSION = 1

metadata = sa.MetaData()
keys = sa.Table(
    "serve_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("namespaces", sa.Text, nullable=False),  # a JSON list; null for all
    sa.Column("made_at", sa.String(40), nullable=False),
    sa.Column("revoked_at", sa.String(40)),
)
proposals = sa.Table(
    "serve_proposals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("namespace", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),  # put or remove
    sa.Column("fact_id", sa.String(128), nullable=False),
    sa.Column("fact", sa.Text),  # JSON; null for a removal
    sa.Column("before", sa.Text),  # JSON of the live fact when it was proposed; null for none
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proposed_by", sa.String(100), nullable=False),
    sa.Column("proposed_at", sa.String(40), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # open, approved, rejected
    sa.Column("decided_by", sa.String(100)),
    sa.Column("decided_at", sa.String(40)),
    sa.Column("generation", sa.Integer),
    sa.Index("serve_proposals_by_state", "state"),
)
memory = sa.Table(
    "serve_memory",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


class Database:
    """Connections to the server's tables.

    Args:
        engine: of the ledger's database.
        name: for messages.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._is_there = True

    @classmethod
    def of(cls, store: Store) -> Database:
        """The tables in the store's database, made where they are missing and can be. Where they
        cannot they are read as empty.

        Raises:
            UsageError: they are of another version of revisor.
        """
        place = store.settings.database or store.path / "ledger.sqlite"
        database = cls(*make_engine(place, create=False))
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self) -> None:
        with self._transaction(writes=False) as connection:
            there = set(sa.inspect(connection).get_table_names())
        if not there.issuperset(metadata.tables):
            try:
                with self.writing() as connection:
                    metadata.create_all(connection)
            except CannotWrite:
                self._is_there = False
                return
        found = self._recall("version")
        if found is None:
            self._remember("version", VERSION)
        elif found != VERSION:
            raise UsageError(
                f"The server's tables have version {found}; this revisor has {VERSION}.",
                "Use the revisor that wrote them, or a newer one.",
            )

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """One transaction that holds the ledger's write lock."""
        return self._transaction(writes=True)

    def _transaction(self, *, writes: bool) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, self._name, writes=writes)

    def read(self, wanted: sa.Select[Any]) -> list[dict[str, Any]]:
        """Rows as dicts."""
        if not self._is_there:
            return []
        with self._transaction(writes=False) as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def write(self, *statements: sa.Executable) -> int:
        """Run statements in one transaction; rows touched by the last one."""
        touched = 0
        with self.writing() as connection:
            for statement in statements:
                touched = connection.execute(statement).rowcount
        return int(touched)

    def _recall(self, key: str) -> Any:
        """What was remembered, or None."""
        rows = self.read(sa.select(memory.c.value).where(memory.c.key == key))
        return json.loads(rows[0]["value"]) if rows else None

    def _remember(self, key: str, value: Any) -> None:
        """Keep a JSON value over restarts."""
        self.write(
            memory.delete().where(memory.c.key == key),
            memory.insert().values(key=key, value=json.dumps(value)),
        )
