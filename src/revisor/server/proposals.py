"""Changes of facts: made at once, or kept as proposals where a namespace asks for approval.

Where approval is asked for, every change is a proposal, whoever makes it, and nobody approves a
proposal of their own. What is looked at before a change is written, and what is noted of it, is one
transaction with it: a server that is killed leaves all of it or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from revisor.errors import Conflict, Fault, NotFound, UsageError
from revisor.facts.changes import Change, Generation, Put, Remove
from revisor.facts.check import COMPUTED, LiveFacts, conflicts_between
from revisor.facts.fact import Fact, fact_id, with_reverses
from revisor.facts.ledger import Ledger, Locked
from revisor.facts.schema import now
from revisor.facts.writing import follows_another
from revisor.server.roles import Caller, Forbidden, Role
from revisor.server.tables import Database, memory
from revisor.server.tables import proposals as table

REASON_LIMIT = 2_000  # characters
_LAST = "last_proposal"  # the highest number that was given


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of changes.

    Attributes:
        generation: of those made at once; None where there were none.
        proposed: ids of the proposals for the others.
    """

    generation: Generation | None
    proposed: tuple[int, ...]


class ChangeDesk:
    """Takes changes in, and decides proposals.

    Args:
        database: with the server's tables.
        ledger: where facts are.
    """

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger

    # Changes

    def change(
        self,
        changes: Sequence[Change] | Callable[[Ledger], Sequence[Change]],
        caller: Caller,
        reason: str,
        *,
        expected_generation: int | None = None,
        propose_all: bool = False,
    ) -> Outcome:
        """Make changes, or propose them where their namespace asks for approval: all or none.

        Args:
            changes: themselves, or what makes them of the facts as they stand then.
            expected_generation: the generation that the changes were made for.
            propose_all: propose every change, whatever its namespace asks for.

        Raises:
            Forbidden: a fact of a namespace that is not the caller's.
            Conflict: facts that contradict one another or live ones, or another generation than
                the expected one; nothing was written.
            NotFound: a fact to remove that is not there.
            UsageError: a proposal to take a fact to another namespace.
        """
        caller.must_be(Role.propose)
        with self._ledger.locked() as ledger:
            changes = changes(ledger) if callable(changes) else changes
            ids = [change.fact_id for change in changes]
            standing = ledger.known(ids, generation=ledger.generation)
            _refuse_foreign(ledger, changes, standing, caller)
            direct: list[Change] = []
            proposed: list[Change] = []
            policies = {} if propose_all else ledger.policies()
            for change in changes:
                touched = _touched(change, standing.get(change.fact_id))
                waits = propose_all or any(policies.get(name, False) for name in touched)
                if waits and len(touched) > 1:
                    raise UsageError(
                        f"The fact {change.fact_id!r} would move to another namespace.",
                        "Propose to remove it there, and to add it here.",
                    )
                (proposed if waits else direct).append(change)
            _refuse_conflicts(ledger, changes, caller)
            made = ledger.apply(
                direct, actor=caller.name, reason=reason, expected_generation=expected_generation
            )
            numbers = [_propose(ledger, one, standing, caller, reason) for one in proposed]
        return Outcome(generation=made if direct else None, proposed=tuple(numbers))

    # Proposals

    def proposals(
        self, caller: Caller, *, state: str | None = "open", limit: int = 50, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Proposals in the caller's namespaces, the oldest first."""
        wanted = sa.select(table).order_by(table.c.id).limit(limit).offset(offset)
        if state is not None:
            wanted = wanted.where(table.c.state == state)
        if caller.namespaces is not None:
            wanted = wanted.where(table.c.namespace.in_(sorted(caller.namespaces)))
        return [_told(row) for row in self._database.read(wanted)]

    def approve(self, proposal_id: int, caller: Caller) -> Outcome:
        """Make a proposed change.

        Raises:
            Forbidden: below the role approve, another's namespace, or the caller's own proposal.
            Conflict: it is decided already, or the fact changed since it was proposed.
        """
        with self._ledger.locked() as ledger:
            row = _row(ledger.connection, proposal_id, caller)
            caller.must_be(Role.approve)
            if row["proposed_by"] == caller.name:
                raise Forbidden(
                    f"The proposal {proposal_id} is your own.", "Somebody else has to approve it."
                )
            _decide(ledger.connection, proposal_id, caller, "approved")
            put = row["kind"] == "put"
            change: Change = Put(Fact(**json.loads(row["fact"]))) if put else Remove(row["fact_id"])
            standing = ledger.known([row["fact_id"]], generation=ledger.generation)
            if _dump(standing.get(row["fact_id"])) != row["before"]:
                raise Conflict(
                    f"The fact {row['fact_id']} changed since it was proposed.",
                    "Reject the proposal, look at the fact and propose again.",
                )
            _refuse_conflicts(ledger, [change], caller)
            why = row["reason"] or "no reason given"
            made = ledger.apply(
                [change],
                actor=row["proposed_by"],
                reason=f"{why} (proposal {proposal_id}, approved by {caller.name})",
                approved_by=caller.name,
            )
            done = table.update().where(table.c.id == proposal_id).values(generation=made.number)
            ledger.connection.execute(done)
        return Outcome(generation=made, proposed=())

    def reject(self, proposal_id: int, caller: Caller) -> None:
        """Decide against a proposal; whoever made it may take it back so.

        Raises:
            Forbidden: below the role approve, and not the caller's own.
            Conflict: it is decided already.
        """
        with self._database.writing() as connection:
            row = _row(connection, proposal_id, caller)
            if row["proposed_by"] != caller.name:
                caller.must_be(Role.approve)
            _decide(connection, proposal_id, caller, "rejected")

    def erase(self, proposal_id: int, caller: Caller) -> None:
        """Leave nothing of a proposal, open or decided: one's own, or any for an admin of all. The
        audit tells that it was done.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
            Conflict: another process reads the database, which keeps old pages: `revisor gc`
                finishes it.
        """
        with self._ledger.locked() as ledger:
            row = _row(ledger.connection, proposal_id, caller)
            if row["proposed_by"] != caller.name:
                caller.must_be(Role.admin, everywhere=True)
            ledger.must_scrub()
            ledger.connection.execute(table.delete().where(table.c.id == proposal_id))
            told = {"proposal": proposal_id, "state": row["state"]}
            ledger.record("erase", actor=caller.name, **told)
        self._ledger.scrub()


def _refuse_foreign(
    ledger: Ledger, changes: Iterable[Change], standing: Mapping[str, Fact], caller: Caller
) -> None:
    """Refuse what touches facts that are not the caller's, and to change a reverse by itself.

    A key of some namespaces is told the same of an id that is a fact's of another namespace and of
    one that could be: which of them there are would tell what those facts are about.
    """
    ids = [change.fact_id for change in changes]
    owners = {} if caller.namespaces is None else ledger.namespaces_of(ids)
    for change in changes:
        old = standing.get(change.fact_id)
        if isinstance(change, Remove):
            if old is None or not caller.sees(old.namespace):
                raise NotFound(f"There is no fact {change.fact_id!r}.", "GET /facts lists them.")
            continue
        caller.must_see(change.fact.namespace)
        if old is not None and old.reverse_of is not None and caller.sees(old.namespace):
            raise follows_another(old.id, old.reverse_of)
        if caller.namespaces is None or _is_free(change.fact, old, owners, caller):
            continue
        raise Forbidden(
            f"The id {change.fact.id!r} is not free for the key '{caller.name}'.",
            "Leave the id out, or choose another one.",
        )


def _is_free(fact: Fact, old: Fact | None, owners: Mapping[str, set[str]], caller: Caller) -> bool:
    """Whether a key of some namespaces may give a fact the id that it has."""
    if old is not None:
        return caller.sees(old.namespace)
    if not all(map(caller.sees, owners.get(fact.id, ()))):
        return False
    computed = fact_id(fact.namespace, fact.subject, fact.relation or fact.prompt, fact.qualifier)
    return fact.id == computed or fact.id in owners or not COMPUTED.fullmatch(fact.id)


def _refuse_conflicts(ledger: LiveFacts, changes: Iterable[Change], caller: Caller) -> None:
    changes = list(changes)
    facts = [change.fact for change in changes if isinstance(change, Put)]
    places = {change.fact_id: place for place, change in enumerate(changes, start=1)}
    found = conflicts_between(with_reverses(facts), ledger)
    if found:
        mine = [one for one in found if caller.sees(one.other.namespace)]
        raise Conflict(
            f"{len(found)} fact(s) contradict one another; nothing was written.",
            "Correct them, or remove the fact that is wrong.",
            [
                Fault(str(one), line=places.get(one.fact.reverse_of or one.fact.id, 0))
                for one in mine
            ],
        )


def _propose(
    ledger: Locked, change: Change, standing: Mapping[str, Fact], caller: Caller, reason: str
) -> int:
    """Keep a change as a proposal; returns its number."""
    new, old = _new(change), standing.get(change.fact_id)
    about = new or old
    assert about is not None  # the removal of nothing was refused
    number = _next_number(ledger.connection)
    values = {
        "id": number,
        "namespace": about.namespace,
        "kind": "put" if new else "remove",
        "fact_id": change.fact_id,
        "fact": _dump(new),
        "before": _dump(old),
        "reason": reason,
        "proposed_by": caller.name,
        "proposed_at": now(),
        "state": "open",
    }
    ledger.connection.execute(table.insert().values(values))
    return number


def _next_number(connection: sa.Connection) -> int:
    """One that no proposal ever had, not even one that was erased: who approves a number approves
    what they saw under it."""
    here = memory.c.key == _LAST
    kept = connection.execute(sa.select(memory.c.value).where(here)).scalar()
    newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
    number = max(int(kept or 0), newest or 0) + 1
    connection.execute(memory.delete().where(here))
    connection.execute(memory.insert().values(key=_LAST, value=str(number)))
    return number


def _row(connection: sa.Connection, proposal_id: int, caller: Caller) -> dict[str, Any]:
    """A proposal that the caller may see."""
    wanted = sa.select(table).where(table.c.id == proposal_id)
    is_number = 0 < proposal_id < 2**31  # of a row
    row = connection.execute(wanted).mappings().first() if is_number else None
    if row is None or not caller.sees(row["namespace"]):
        raise NotFound(f"There is no proposal {proposal_id}.", "GET /proposals lists them.")
    return dict(row)


def _decide(connection: sa.Connection, proposal_id: int, caller: Caller, state: str) -> None:
    """Note what was decided about an open proposal."""
    open_one = sa.and_(table.c.id == proposal_id, table.c.state == "open")
    values = {"state": state, "decided_by": caller.name, "decided_at": now()}
    if not connection.execute(table.update().where(open_one).values(values)).rowcount:
        raise Conflict(f"The proposal {proposal_id} is decided already.")


def _new(change: Change) -> Fact | None:
    return change.fact if isinstance(change, Put) else None


def _touched(change: Change, old: Fact | None) -> set[str]:
    """The namespaces that a change is about."""
    return {fact.namespace for fact in (old, _new(change)) if fact is not None}


def _dump(fact: Fact | None) -> str | None:
    return None if fact is None else json.dumps(asdict(fact), sort_keys=True, ensure_ascii=False)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("fact", "before"):
        row[name] = json.loads(row[name]) if row[name] else None
    return row
