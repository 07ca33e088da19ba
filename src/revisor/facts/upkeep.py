"""What is done with a ledger as a whole: tags, decisions, the audit, erasure, moving, checks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Self

import sqlalchemy as sa

from revisor.errors import BadInput, CannotWrite, Conflict, NotFound, StoreDamaged, UsageError
from revisor.facts import audit, dump, policy
from revisor.facts.changes import Purged
from revisor.facts.database import make_engine, scrub, transaction
from revisor.facts.queries import is_number, pinned, refuse_one_text, resolve
from revisor.facts.rules import NAMESPACE_LIMIT
from revisor.facts.schema import keep, kept, revisions, tags
from revisor.facts.seals import ledger_faults
from revisor.facts.writing import chunks, erase

_log = logging.getLogger(__name__)
_R = revisions.c
_SCRUB = "unscrubbed"
# What a server keeps in the same database: changes that wait for approval hold facts, too.
_PROPOSALS = sa.table("serve_proposals", sa.column("fact_id"))
_OF_SERVERS = "serve_"
_KEPT = ("serve_keys", "serve_memory", _PROPOSALS.name)


class Upkeep:
    """A ledger's database, without its facts. Use it as a context manager or `close` it.

    Args:
        engine: of a database whose tables are there.
        name: the database's name for people.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    @classmethod
    def _opened(cls, place: str | Path, *, create: bool = False) -> Self:
        engine, name = make_engine(place, create=create)
        made = cls(engine, name)
        try:
            made._prepare(create=create)
        except BaseException:
            engine.dispose()
            raise
        return made

    def _prepare(self, *, create: bool) -> None:
        """Make or migrate the tables where that is needed."""

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self, *, writes: bool = False) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, self.name, writes=writes)

    def tag(
        self, name: str, generation: int | str | None = None, *, actor: str, move: bool = True
    ) -> int:
        """Give a generation (the last by default) a name.

        Args:
            move: a name that is there moves; without it, that is refused.

        Raises:
            UsageError: the name is empty, too long, or reads as a number.
            Conflict: another generation has the name, and it must not move.
            NotFound: there is no such generation.
        """
        if not name.strip() or len(name) > 64 or is_number(name) or not name.isprintable():
            raise UsageError(
                f"{name!r} is no name for a generation.",
                "Up to 64 letters, on one line, and not a number.",
            )
        with self._connection(writes=True) as connection:
            number = pinned(connection, generation)
            if number == 0:
                raise NotFound("There is no generation yet.", "Add facts first: revisor add FILE")
            has = sa.select(tags.c.generation).where(tags.c.name == name)
            before = connection.execute(has).scalar()
            if before not in (None, number) and not move:
                raise Conflict(
                    f"The tag '{name}' names generation {before}.",
                    "Choose another name, or move it: --force",
                )
            connection.execute(tags.delete().where(tags.c.name == name))
            connection.execute(tags.insert().values(name=name, generation=number))
            audit.record(connection, "tag", actor=actor, generation=number, details={"name": name})
        return number

    def untag(self, name: str, *, actor: str) -> None:
        """Take a tag away. Raises NotFound where there is none of this name."""
        if is_number(name):
            raise NotFound(f"There is no tag {name!r}.", "`revisor log` lists the tags.")
        with self._connection(writes=True) as connection:
            number = pinned(connection, name)
            connection.execute(tags.delete().where(tags.c.name == name))
            audit.record(
                connection, "untag", actor=actor, generation=number, details={"name": name}
            )

    def tags(self) -> dict[str, int]:
        """The tags and the generations they name, in the order of generations."""
        with self._connection() as connection:
            wanted = sa.select(tags).order_by(tags.c.generation, tags.c.name)
            return {row.name: row.generation for row in connection.execute(wanted)}

    def live_generation(self) -> int:
        """The generation that is live: the newest, unless an older one was published."""
        with self._connection() as connection:
            return policy.live_generation(connection)

    def pinned(self) -> int | None:
        """The older generation that was published; None while the newest is live."""
        with self._connection() as connection:
            return policy.published(connection)

    def publish(
        self, generation: int | str, *, actor: str, reason: str = "", approved_by: str | None = None
    ) -> int:
        """Make a generation (a number or a tag) live.

        Publishing the newest follows it from then on: what is committed is live. Publishing an
        older one keeps that one live, and what is committed waits until it is published.
        """
        with self._connection(writes=True) as connection:
            number = pinned(connection, generation)
            policy.publish(connection, number, actor=actor, reason=reason, approved_by=approved_by)
        return number

    def check_live(self, generation: int, *, actor: str) -> None:
        """Whether an actor may alone have a generation answer in the place of the newest."""
        with self._connection() as connection:
            policy.check_live(connection, pinned(connection, generation), actor=actor)

    def policies(self) -> dict[str, bool]:
        """Whether each namespace that was set up needs approval; others do not."""
        with self._connection() as connection:
            return policy.namespace_policies(connection)

    def set_policy(self, namespace: str, *, needs_approval: bool, actor: str) -> None:
        """Say whether changes of facts in a namespace need somebody else's approval."""
        namespace = namespace.strip()
        if not namespace or len(namespace) > NAMESPACE_LIMIT:
            told = f"1 to {NAMESPACE_LIMIT} letters."
            raise UsageError(f"{namespace!r} is no name for a namespace.", told)
        with self._connection(writes=True) as connection:
            policy.set_policy(connection, namespace, needs_approval=needs_approval, actor=actor)

    def record(
        self, kind: str, *, actor: str, generation: int | None = None, **details: Any
    ) -> audit.Event:
        """Append to the audit that something was done with the store, outside the ledger, at the
        last generation unless another is given."""
        with self._connection(writes=True) as connection:
            return audit.record(
                connection, kind, actor=actor, generation=generation, details=details
            )

    def record_if_writable(
        self, kind: str, *, actor: str, generation: int | None = None, **details: Any
    ) -> audit.Event | None:
        """`record`, for what only reads the store: one that may only be read still answers."""
        try:
            return self.record(kind, actor=actor, generation=generation, **details)
        except CannotWrite as error:
            _log.warning("The event %r was not recorded: %s", kind, error.message)
            return None

    def events(self, limit: int | None = None) -> list[audit.Event]:
        """What was done to the store, the last event first."""
        with self._connection() as connection:
            return list(audit.events(connection, limit))

    def ids_of(self, fact_ids: Iterable[str]) -> list[str]:
        """The whole ids meant by ids or unique prefixes, of facts that are or once were live, and
        by whole ids, of facts that were only ever proposed."""
        refuse_one_text(fact_ids)
        wanted = list(fact_ids)
        with self._connection() as connection:
            proposed: set[str] = set()
            if sa.inspect(connection).has_table(_PROPOSALS.name):
                for some in chunks(wanted):
                    found = sa.select(_PROPOSALS.c.fact_id).where(_PROPOSALS.c.fact_id.in_(some))
                    proposed |= set(connection.execute(found).scalars())
            return [
                fact_id if fact_id in proposed else resolve(connection, fact_id, sa.true())
                for fact_id in wanted
            ]

    def with_reverses(self, fact_ids: Iterable[str]) -> list[str]:
        """Whole ids, and those of all facts that ever were a reverse of one of these."""
        ids = set(fact_ids)
        with self._connection() as connection:
            for some in chunks(sorted(ids)):
                told = sa.select(_R.fact_id, _R.reverse_of).where(_R.fact_id.in_(some))
                for fact_id, first in connection.execute(told):
                    if first is not None and first not in ids:
                        raise UsageError(
                            f"The fact {fact_id} is the reverse of {first}.",
                            "Erase that one: its reverse goes with it.",
                        )
                reverses = sa.select(_R.fact_id).where(_R.reverse_of.in_(some))
                ids |= set(connection.execute(reverses).scalars())
        return sorted(ids)

    def need_approval(
        self, fact_ids: Collection[str], *, actor: str, approved_by: str | None
    ) -> None:
        """Refuse what is to be done to facts (whole ids) whose namespaces ask for approval."""
        if any(self.policies().values()):
            with self._connection() as connection:
                approval = policy.Approval.of(connection, actor=actor, approved_by=approved_by)
            for spaces in self.namespaces_of(fact_ids).values():
                approval.check(spaces)

    def namespaces_of(self, fact_ids: Iterable[str]) -> dict[str, set[str]]:
        """The namespaces in which facts of these (whole) ids are or once were."""
        found: dict[str, set[str]] = {}
        for chunk in chunks(fact_ids):
            with self._connection() as connection:
                wanted = sa.select(_R.fact_id, _R.namespace).distinct()
                for row in connection.execute(wanted.where(_R.fact_id.in_(chunk))):
                    found.setdefault(row.fact_id, set()).add(row.namespace)
        return found

    def purge(
        self,
        fact_ids: Collection[str],
        *,
        actor: str,
        reason: str = "",
        approved_by: str | None = None,
    ) -> Purged:
        """Erase facts (whole ids) and all they ever were or were proposed to be, approved or not;
        `scrub` must follow.

        Args:
            approved_by: who approved it, where a namespace asks for approval.
        """
        whole = self.ids_of(fact_ids)
        self.need_approval(whole, actor=actor, approved_by=approved_by)
        with self._connection(writes=True) as connection:
            keep(connection, _SCRUB, 1)
            there = sa.inspect(connection).get_table_names()
            if _PROPOSALS.name in there:
                for some in chunks(whole):
                    connection.execute(sa.delete(_PROPOSALS).where(_PROPOSALS.c.fact_id.in_(some)))
            for name in there:
                # A server of version 0.1 kept jobs, which tell of facts, and nothing reads them.
                if name.startswith(_OF_SERVERS) and name not in _KEPT:
                    sa.Table(name, sa.MetaData()).drop(connection)
            return erase(connection, set(whole), actor=actor, reason=reason)

    @property
    def unscrubbed(self) -> bool:
        """Whether facts were purged whose text may still be in the database's free pages."""
        with self._connection() as connection:
            return kept(connection, _SCRUB) is not None

    def must_scrub(self) -> None:
        """Note that something is being erased whose text stays in the pages until `scrub`."""
        with self._connection(writes=True) as connection:
            keep(connection, _SCRUB, 1)

    def scrub(self) -> None:
        """Write the database out anew, so that nothing erased is left in its pages or its log."""
        scrub(self._engine, self.name)
        with self._connection(writes=True) as connection:
            keep(connection, _SCRUB, None)

    def verify(self) -> list[str]:
        """Everything that is not as it was written: tables, rows, generations, tags, the audit."""
        try:
            with self._connection() as connection:
                faults = list(ledger_faults(connection, self.name))
        except StoreDamaged as error:
            return [error.message]
        if self.unscrubbed:
            faults.append(f"{self.name}: an erasure is not finished. Run: revisor gc")
        return faults

    @contextmanager
    def dumped(self, folder: Path) -> Iterator[dict[str, Path]]:
        """The tables as files of JSON lines, all of one moment, for the length of a block."""
        paths = {name: folder / f"{name}.jsonl" for name in dump.TABLES}
        with self._connection() as connection:
            for name, path in paths.items():
                with path.open("wb") as stream:
                    dump.write_table(connection, name, stream)
        yield paths
        for path in paths.values():
            path.unlink()

    def restore(self, tables: Mapping[str, IO[bytes]], *, actor: str, **details: Any) -> None:
        """Fill an empty ledger with tables that `dumped` wrote, in one transaction; note that."""
        try:
            with self._connection(writes=True) as connection:
                dump.read_tables(connection, tables)
                audit.record(connection, "restore", actor=actor, details=details)
        except StoreDamaged as error:
            raise BadInput(
                f"The tables do not fit together: {error.message}",
                "The archive was not written by `revisor export`.",
            ) from error
