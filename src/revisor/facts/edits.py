"""Single facts changed: another object, an end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from revisor.facts.changes import Put, Remove
from revisor.facts.fact import Fact
from revisor.facts.imports import refuse_conflicts
from revisor.facts.ledger import Ledger
from revisor.facts.queries import refuse_one_text
from revisor.facts.rules import checked


def set_object(
    ledger: Ledger,
    fact_id: str,
    obj: str,
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> Fact:
    """Give a fact a new object: a new revision of it."""
    with ledger.locked() as held:
        fact = checked(replace(held.get(fact_id), object=obj))
        refuse_conflicts(held, fact)
        held.apply([Put(fact)], actor=actor, reason=reason, approved_by=approved_by)
    return fact


def remove(
    ledger: Ledger,
    fact_ids: Iterable[str],
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> int:
    """End some facts; their history stays. Returns how many ended."""
    refuse_one_text(fact_ids)
    whole = {ledger.get(fact_id).id for fact_id in fact_ids}
    changes = [Remove(fact_id) for fact_id in sorted(whole)]
    return ledger.apply(changes, actor=actor, reason=reason, approved_by=approved_by).removed
