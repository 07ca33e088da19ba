"""The server's own tables, beside the ledger in the same database: API keys and proposals."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from revisor.errors import CannotWrite, UsageError
from revisor.facts.upkeep import Upkeep
from revisor.store import Store

VERSION = "1"

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


class Database(Upkeep):
    """The server's tables. Connections of its own: who looks a key up does not wait behind those
    that wait for the ledger's lock."""

    _is_there = True

    @classmethod
    def of(cls, store: Store) -> Database:
        """The tables in the store's database, made where they are missing and can be. Where they
        cannot they are read as empty.

        Raises:
            UsageError: they are of another version of revisor.
        """
        return cls._opened(store.settings.database or store.path / "ledger.sqlite")

    def _prepare(self, *, create: bool) -> None:
        with self._connection() as connection:
            there = set(sa.inspect(connection).get_table_names())
        if not there.issuperset(metadata.tables):
            try:
                with self.writing() as connection:
                    metadata.create_all(connection)
            except CannotWrite:
                self._is_there = False
                return
        here = memory.c.key == "version"
        rows = self.read(sa.select(memory.c.value).where(here))
        found = rows[0]["value"] if rows else None
        if found is None:
            with self.writing() as connection:
                connection.execute(memory.delete().where(here))
                connection.execute(memory.insert().values(key="version", value=VERSION))
        elif found != VERSION:
            raise UsageError(
                f"The server's tables have version {found}; this revisor has {VERSION}.",
                "Use the revisor that wrote them, or a newer one.",
            )

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """One transaction that holds the ledger's write lock."""
        return self._connection(writes=True)

    def read(self, wanted: sa.Select[Any]) -> list[dict[str, Any]]:
        """Rows as dicts."""
        if not self._is_there:
            return []
        with self._connection() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]
