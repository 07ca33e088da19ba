"""Who may do what: API keys, their roles and their namespaces.

A token is `rv-ID-SECRET`. Of the secret only a SHA-256 is kept: enough for 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import sqlalchemy as sa

from revisor.errors import Conflict, NotFound, RevisorError, UsageError
from revisor.facts.audit import record
from revisor.facts.fact import normal_form
from revisor.facts.schema import now
from revisor.server.tables import Database
from revisor.server.tables import keys as table

PREFIX = "rv"


class Role(IntEnum):
    """What a key may do; each role may do what those before it may.

    read: ask the model, read facts and history. propose: add, change and remove facts, as proposals
    where the namespace asks for approval. approve: decide proposals, publish. admin: keys,
    namespaces, canaries, rollback.
    """

    read = 1
    propose = 2
    approve = 3
    admin = 4


class Unauthorized(RevisorError):
    """No key, or one that is not known or was revoked."""

    http_status = 401


class Forbidden(RevisorError):
    """A key that may not do this, or not in this namespace."""

    http_status = 403


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        name: of the key; it is the actor in the ledger.
        role: what it may do.
        namespaces: whose facts it sees and changes; None for all.
    """

    name: str
    role: Role
    namespaces: frozenset[str] | None = None

    @property
    def owner(self) -> str | None:
        """Whose share of the server its requests count for; None for nobody's."""
        return None if self is ANYBODY else self.name

    def sees(self, namespace: str) -> bool:
        """Whether facts of this namespace are for this caller."""
        return self.namespaces is None or namespace in self.namespaces

    def must_see(self, namespace: str) -> None:
        """Raises Forbidden where `sees` says no."""
        if not self.sees(namespace):
            raise Forbidden(
                f"The key '{self.name}' has no part in the namespace '{namespace}'.",
                "Use a key of that namespace.",
            )

    def must_be(self, role: Role, *, everywhere: bool = False) -> None:
        """Raises Forbidden below this role, or for a key of some namespaces only."""
        if self.role < role:
            raise Forbidden(
                f"The key '{self.name}' has the role {self.role.name}; this takes {role.name}.",
                "Use a key with that role.",
            )
        if everywhere and self.namespaces is not None:
            raise Forbidden(
                f"The key '{self.name}' is bound to namespaces; this reaches all of them.",
                "Use a key without namespaces.",
            )


ANYBODY = Caller(name="loopback", role=Role.admin)


def role_of(name: str) -> Role:
    """The role of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Role[name]
    except KeyError as error:
        known = ", ".join(role.name for role in Role)
        raise UsageError(f"There is no role '{name}'.", f"Choose one of: {known}.") from error


class KeyBook:
    """The API keys of a store.

    Args:
        database: with the server's tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = False

    def make(
        self, name: str, role: Role, namespaces: list[str] | None = None, *, actor: str = ""
    ) -> str:
        """A new key; its token is told once and never again. The audit tells who made it.

        Raises:
            Conflict: the name is taken.
            UsageError: the name is empty, long or has control characters, or a namespace's is
                empty.
        """
        name = name.strip()
        if namespaces is not None:
            namespaces = [one.strip() for one in namespaces]  # as those of facts are
            if not all(namespaces):
                raise UsageError("A namespace has no name.", "Leave it out for all namespaces.")
        if not name or len(name) > 100 or not name.isprintable():
            raise UsageError("A key needs a name of 1 to 100 printable characters.")
        key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
        values = {
            "id": key_id,
            "name": name,
            "hash": _hash(secret),
            "role": role.name,
            "namespaces": json.dumps(namespaces),
            "made_at": now(),
        }
        with self._database.writing() as connection:
            names = [ANYBODY.name, *connection.execute(sa.select(table.c.name)).scalars()]
            if normal_form(name) in map(normal_form, names):
                raise Conflict(f"There is a key named '{name}' already.", "Choose another name.")
            connection.execute(table.insert().values(values))
            told = {"name": name, "role": role.name, "namespaces": namespaces}
            record(connection, "key", actor=actor, details=told)
        return f"{PREFIX}-{key_id}-{secret}"

    def all(self, *, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """All keys without their secrets, the first made first; or a part of them."""
        columns = (column for column in table.c if column.name != "hash")
        wanted = sa.select(*columns).order_by(table.c.made_at, table.c.id)
        rows = self._database.read(wanted.limit(limit).offset(offset))
        return [row | {"namespaces": json.loads(row["namespaces"])} for row in rows]

    def must_stand(self, names: Iterable[str]) -> None:
        """Raises NotFound for the name of no key, or of one that was revoked."""
        of_keys = sa.select(table.c.name).where(table.c.revoked_at.is_(None))
        standing = {ANYBODY.name, *(row["name"] for row in self._database.read(of_keys))}
        for name in sorted(set(names) - standing):
            raise NotFound(f"There is no key named '{name}'.", "See: revisor keys ls")

    def any(self) -> bool:
        """Whether a key was ever made. Revoking the last one does not open the server again."""
        self._seen = self._seen or bool(self._database.read(sa.select(table.c.id).limit(1)))
        return self._seen

    def revoke(self, name: str, *, actor: str = "") -> None:
        """End a key; at once, for every request after this. The audit tells who ended it.

        Raises:
            NotFound: no key that stands has this name.
        """
        standing = sa.and_(table.c.name == name, table.c.revoked_at.is_(None))
        with self._database.writing() as connection:
            ended = table.update().where(standing).values(revoked_at=now())
            if not connection.execute(ended).rowcount:
                raise NotFound(f"There is no key named '{name}'.", "See: revisor keys ls")
            record(connection, "revoke", actor=actor, details={"name": name})

    def who(self, token: str) -> Caller:
        """Whose token this is.

        Raises:
            Unauthorized: nobody's, or a revoked one.
        """
        prefix, _, rest = token.partition("-")
        key_id, _, secret = rest.partition("-")
        wanted = sa.select(table).where(table.c.id == key_id, table.c.revoked_at.is_(None))
        rows = self._database.read(wanted) if prefix == PREFIX and secret else []
        # Compared also where there is no such key, so that both answers take as long.
        known = rows[0]["hash"] if rows else _hash("")
        if not hmac.compare_digest(known, _hash(secret)) or not rows:
            raise Unauthorized(
                "The API key is not known, or was revoked.", "Ask an admin for another one."
            )
        allowed = json.loads(rows[0]["namespaces"])
        return Caller(
            name=rows[0]["name"],
            role=Role[rows[0]["role"]],
            namespaces=None if allowed is None else frozenset(allowed),
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
