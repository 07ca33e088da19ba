"""What is decided about a ledger: which generation is live, which namespaces need approval.

Each decision is an event of the audit; the tables keep what the events add up to, so an archive
needs the audit only, and a table that was changed by hand is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from revisor.errors import BadInput, NeedsApproval
from revisor.facts.audit import events, record
from revisor.facts.fact import normal_form
from revisor.facts.queries import differing, last_generation
from revisor.facts.schema import generations, keep, kept, meta, policies

PUBLISHED = "published"
PUBLISH = "publish"
POLICY = "policy"


def published(connection: sa.Connection) -> int | None:
    """The older generation that was published; None while the newest is live."""
    found = kept(connection, PUBLISHED)
    return None if found is None else int(found)


def live_generation(connection: sa.Connection) -> int:
    """The generation that is live, in one query: it is asked often."""
    pin = sa.select(meta.c.value).where(meta.c.key == PUBLISHED).scalar_subquery()
    newest = sa.select(sa.func.max(generations.c.number)).scalar_subquery()
    found = connection.execute(sa.select(pin.label("pin"), newest.label("newest"))).one()
    return int(found.pin) if found.pin is not None else int(found.newest or 0)


def publish(
    connection: sa.Connection,
    generation: int,
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> None:
    """Make a generation live; the newest is followed from then on, an older one stays. Where that
    changes nothing there is no event."""
    pin = None if generation == last_generation(connection).number else generation
    if pin == published(connection):
        return
    check_live(connection, generation, actor=actor, approved_by=approved_by)
    keep(connection, PUBLISHED, pin)
    details = {"pinned": pin is not None, "reason": reason}
    details |= {"approved_by": approved_by} if approved_by else {}
    record(connection, PUBLISH, actor=actor, generation=generation, details=details)


def check_live(
    connection: sa.Connection, generation: int, *, actor: str, approved_by: str | None = None
) -> None:
    """Whether a generation may answer, with the policies as they are: an older one takes the
    approval that a rollback to it would; what the newest has was approved when it was written.

    Raises:
        NeedsApproval: facts of a protected namespace differ, and nobody but the actor approved it.
    """
    newest = last_generation(connection).number
    approval = Approval.of(connection, actor=actor, approved_by=approved_by)
    if generation == newest or not approval.protected:
        return
    pairs = differing(connection, newest, generation, approval.protected)
    approval.check({fact.namespace for pair in pairs for fact in pair if fact is not None})


def namespace_policies(connection: sa.Connection) -> dict[str, bool]:
    """Whether each namespace that was set up needs approval; others do not."""
    if not sa.inspect(connection).has_table(policies.name):
        return {}  # of an older version, in a place that may only be read
    return _policies(connection)


def _policies(connection: sa.Connection) -> dict[str, bool]:
    rows = connection.execute(sa.select(policies).order_by(policies.c.name))
    return {row.name: bool(row.needs_approval) for row in rows}


def set_policy(connection: sa.Connection, name: str, *, needs_approval: bool, actor: str) -> None:
    """Say whether changes in a namespace need approval."""
    if _policies(connection).get(name) == needs_approval:
        return
    _keep_policies(connection, {name: needs_approval})
    details = {"name": name, "needs_approval": needs_approval}
    record(connection, POLICY, actor=actor, details=details)


def _keep_policies(connection: sa.Connection, found: Mapping[str, bool]) -> None:
    for name, needs_approval in found.items():
        connection.execute(policies.delete().where(policies.c.name == name))
        connection.execute(policies.insert().values(name=name, needs_approval=needs_approval))


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Whether changes may be made: in some namespaces only with somebody else's approval.

    Attributes:
        protected: the namespaces that need approval.
        actor: who wants the changes.
        approved_by: who approved them; empty if nobody did.
    """

    protected: frozenset[str]
    actor: str
    approved_by: str

    @classmethod
    def of(cls, connection: sa.Connection, *, actor: str, approved_by: str | None) -> Approval:
        """By the ledger's policies."""
        protected = frozenset(name for name, needed in _policies(connection).items() if needed)
        return cls(protected=protected, actor=actor, approved_by=(approved_by or "").strip())

    def check(self, touched: Iterable[str]) -> None:
        """Raises NeedsApproval where one of the namespaces is protected and nobody approved."""
        for name in sorted(self.protected.intersection(touched)):
            if not self.approved_by:
                raise NeedsApproval(
                    f"Changes in the namespace {name!r} need approval. Nothing was written.",
                    "Propose them to the server, where somebody else approves them; or name who "
                    "approved them.",
                )
            if normal_form(self.approved_by) == normal_form(self.actor):
                raise NeedsApproval(
                    f"{self.actor} may not approve changes of their own in the namespace "
                    f"{name!r}. Nothing was written.",
                    "Somebody else has to approve them.",
                )


def replayed(connection: sa.Connection) -> tuple[int | None, dict[str, bool]]:
    """The published generation and the policies that the events of the audit add up to."""
    pin: int | None = None
    found: dict[str, bool] = {}
    for one in reversed(list(events(connection, kinds=(PUBLISH, POLICY)))):
        if one.kind == PUBLISH:
            pin = one.generation if one.details.get("pinned") else None
        else:
            found[str(one.details.get("name"))] = bool(one.details.get("needs_approval"))
    return pin, found


def restore(connection: sa.Connection) -> None:
    """Fill the tables from the audit, after it was read from an archive."""
    pin, found = replayed(connection)
    if pin is not None and not 0 <= pin <= last_generation(connection).number:
        raise BadInput(
            f"Generation {pin} is live, and not in the archive.",
            "The archive was not written by `revisor export`.",
        )
    keep(connection, PUBLISHED, pin)
    _keep_policies(connection, found)


def policy_faults(connection: sa.Connection) -> Iterator[str]:
    """Where the tables are not what the audit says."""
    pin, found = replayed(connection)
    if published(connection) != pin:
        yield "the live generation is not the one that was published."
    if namespace_policies(connection) != found:
        yield "the namespaces that need approval are not those that were set."
