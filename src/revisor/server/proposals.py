"""Changes of facts: made at once, or kept as proposals where a namespace asks for approval.

Where approval is asked for, every change is a proposal, whoever makes it, and nobody approves a
proposal of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from revisor.errors import Conflict, Fault, NotFound
from revisor.facts.changes import Change, Generation, Put, Remove
from revisor.facts.check import conflicts_between
from revisor.facts.fact import Fact, with_reverses
from revisor.facts.ledger import Ledger
from revisor.facts.writing import follows_another
from revisor.server.roles import Caller, Forbidden, Role, now
from revisor.server.tables import Database
from revisor.server.tables import proposals as table


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

    # What namespaces ask for

    def policies(self) -> dict[str, bool]:
        """Whether each namespace that was set up needs approval; others do not."""
        return self._ledger.policies()

    def set_policy(self, namespace: str, caller: Caller, *, needs_approval: bool) -> None:
        """Say whether changes in a namespace need approval."""
        self._ledger.set_policy(namespace, needs_approval=needs_approval, actor=caller.name)

    # Changes

    def change(
        self,
        changes: Sequence[Change],
        caller: Caller,
        reason: str,
        *,
        expected_generation: int | None = None,
        propose_all: bool = False,
    ) -> Outcome:
        """Make changes, or propose them where their namespace asks for approval.

        Args:
            propose_all: propose every change, whatever its namespace asks for.

        Raises:
            Forbidden: a fact of a namespace that is not the caller's.
            Conflict: facts that contradict one another or live ones; nothing was written.
            NotFound: a fact to remove that is not there.
        """
        caller.must_be(Role.propose)
        standing = {self._id(change): self.standing(self._id(change)) for change in changes}
        direct: list[Change] = []
        proposed: list[Change] = []
        policies = self.policies()
        for change in changes:
            old = standing[self._id(change)]
            if old is not None and not caller.sees(old.namespace):
                if isinstance(change, Put):
                    raise Forbidden(
                        f"The id {old.id!r} is not free for the key '{caller.name}'.",
                        "Leave the id out, or choose another one.",
                    )
                old = None
            if isinstance(change, Remove) and old is None:
                raise NotFound(f"There is no fact {change.fact_id!r}.", "GET /facts lists them.")
            if old is not None and old.reverse_of is not None and not isinstance(change, Remove):
                raise follows_another(old.id, old.reverse_of)
            touched = {fact.namespace for fact in (old, _new(change)) if fact is not None}
            for namespace in touched:
                caller.must_see(namespace)
            wait = propose_all or any(policies.get(namespace, False) for namespace in touched)
            (proposed if wait else direct).append(change)
        self._refuse_conflicts(changes, caller)
        made = None
        if direct:
            made = self._ledger.apply(
                direct, actor=caller.name, reason=reason, expected_generation=expected_generation
            )
        ids = tuple(self._propose(c, standing[self._id(c)], caller, reason) for c in proposed)
        return Outcome(generation=made, proposed=ids)

    def standing(self, fact_id: str) -> Fact | None:
        """The live fact of exactly this id, whoever may see it."""
        try:
            found = self._ledger.get(fact_id)
        except NotFound:
            return None
        return found if found.id == fact_id else None

    def _refuse_conflicts(self, changes: Iterable[Change], caller: Caller) -> None:
        facts = [change.fact for change in changes if isinstance(change, Put)]
        found = conflicts_between(with_reverses(facts), self._ledger)
        if found:
            mine = [one for one in found if caller.sees(one.other.namespace)]
            raise Conflict(
                f"{len(found)} fact(s) contradict one another; nothing was written.",
                "Correct them, or remove the fact that is wrong.",
                [Fault(line=0, fault=str(one)) for one in mine],
            )

    def _propose(self, change: Change, old: Fact | None, caller: Caller, reason: str) -> int:
        new = _new(change)
        about = new or old
        assert about is not None  # `change` raised for the removal of nothing
        values = {
            "namespace": about.namespace,
            "kind": "put" if new else "remove",
            "fact_id": self._id(change),
            "fact": _dump(new),
            "before": _dump(old),
            "reason": reason,
            "proposed_by": caller.name,
            "proposed_at": now(),
            "state": "open",
        }
        self._database.write(table.insert().values(values))
        mine = sa.select(sa.func.max(table.c.id).label("id")).where(
            table.c.fact_id == values["fact_id"], table.c.proposed_by == caller.name
        )
        return int(self._database.read(mine)[0]["id"])

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
        row = self._open_one(proposal_id, caller)
        if row["proposed_by"] == caller.name:
            raise Forbidden(
                f"The proposal {proposal_id} is your own.", "Somebody else has to approve it."
            )
        change: Change = Put(_load(row["fact"])) if row["kind"] == "put" else Remove(row["fact_id"])
        if _dump(self.standing(row["fact_id"])) != row["before"]:
            raise Conflict(
                f"The fact {row['fact_id']} changed since it was proposed.",
                "Reject the proposal, look at the fact and propose again.",
            )
        self._refuse_conflicts([change], caller)
        self._claim(proposal_id, caller, "approving")
        try:
            made = self._ledger.apply(
                [change],
                actor=row["proposed_by"],
                reason=f"{row['reason'] or 'no reason given'} {_mark(proposal_id, caller.name)}",
                approved_by=caller.name,
            )
        except BaseException:
            self._reopen(proposal_id)
            raise
        self._done(proposal_id, made.number)
        return Outcome(generation=made, proposed=())

    def reject(self, proposal_id: int, caller: Caller) -> None:
        """Decide against a proposal; whoever made it may take it back so."""
        self._open_one(proposal_id, caller, own=True)
        self._claim(proposal_id, caller, "rejected")

    def erase(self, proposal_id: int, caller: Caller) -> None:
        """Leave nothing of a proposal, open or decided: one's own, or any for an admin of all.

        Raises:
            NotFound: there is none, or it is not the caller's to see.
            Conflict: another process reads the database, which keeps old pages: `revisor gc`
                finishes it.
        """
        row = self._row(proposal_id, caller)
        if row["proposed_by"] != caller.name:
            caller.must_be(Role.admin, everywhere=True)
        self._ledger.must_scrub()
        self._database.write(table.delete().where(table.c.id == proposal_id))
        self._ledger.scrub()

    def recover(self) -> None:
        """Settle what was being approved when a server was killed: made it was, or it was not."""
        for row in self._database.read(sa.select(table).where(table.c.state == "approving")):
            mark = _mark(row["id"], row["decided_by"])
            made = (one for one in self._ledger.log(None) if one.reason.endswith(mark))
            found = next((one for one in made if one.actor == row["proposed_by"]), None)
            if found is None:
                self._reopen(row["id"])
            else:
                self._done(row["id"], found.number)

    def _done(self, proposal_id: int, generation: int) -> None:
        done = {"state": "approved", "generation": generation}
        self._database.write(table.update().where(table.c.id == proposal_id).values(done))

    def _reopen(self, proposal_id: int) -> None:
        undecided = {"state": "open", "decided_by": None, "decided_at": None}
        self._database.write(table.update().where(table.c.id == proposal_id).values(undecided))

    def _row(self, proposal_id: int, caller: Caller) -> dict[str, Any]:
        rows = self._database.read(sa.select(table).where(table.c.id == proposal_id))
        if not rows or not caller.sees(rows[0]["namespace"]):
            raise NotFound(f"There is no proposal {proposal_id}.", "GET /proposals lists them.")
        return rows[0]

    def _open_one(self, proposal_id: int, caller: Caller, *, own: bool = False) -> dict[str, Any]:
        row = self._row(proposal_id, caller)
        if not (own and row["proposed_by"] == caller.name):
            caller.must_be(Role.approve)
        return row

    def _claim(self, proposal_id: int, caller: Caller, state: str) -> None:
        """Decide it, if nobody did at the same time."""
        mine = sa.and_(table.c.id == proposal_id, table.c.state == "open")
        values = {"state": state, "decided_by": caller.name, "decided_at": now()}
        if not self._database.write(table.update().where(mine).values(values)):
            raise Conflict(f"The proposal {proposal_id} is decided already.")

    @staticmethod
    def _id(change: Change) -> str:
        return change.fact.id if isinstance(change, Put) else change.fact_id


def _mark(proposal_id: int, approver: str) -> str:
    """How the reason of a generation ends that an approval made."""
    return f"(proposal {proposal_id}, approved by {approver})"


def _new(change: Change) -> Fact | None:
    return change.fact if isinstance(change, Put) else None


def _dump(fact: Fact | None) -> str | None:
    return None if fact is None else json.dumps(asdict(fact), sort_keys=True, ensure_ascii=False)


def _load(text: str) -> Fact:
    fields = json.loads(text)
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    return Fact(**fields)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("fact", "before"):
        row[name] = json.loads(row[name]) if row[name] else None
    return row
