"""One generation, whole: its rows on the model's device, its facts, and views of parts of it.

What comes in: a store and the number of a generation that was built. What goes out: a `Snapshot`,
which no later build or publication changes. What it does not do: decide who gets it (live.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from revisor.bank.bank import Bank, View
from revisor.bank.encode import KeyEncoder
from revisor.bank.files import generation_folder, load_bank, read_manifest
from revisor.editing.build import row_facts
from revisor.facts.fact import Fact, parse_time
from revisor.store import Store

NARROWED = 8  # views for sets of namespaces, kept for each generation


@dataclass(kw_only=True)
class Snapshot:
    """One generation as it was when it was opened.

    Attributes:
        generation: of the ledger.
        view: its rows in force, on the model's device.
        facts: its live facts by id.
        failed: ids of facts that the build could not write.
        until: when a fact begins or ceases to hold, so that the view is out of date.
    """

    generation: int
    view: View
    facts: dict[str, Fact]
    failed: frozenset[str] = frozenset()
    until: datetime | None = None
    _narrowed: OrderedDict[frozenset[str], View] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def view_for(self, namespaces: frozenset[str] | None) -> View:
        """The rows whose facts are all of these namespaces; None for all rows.

        A row that facts of several namespaces share is hidden from whoever may not see all of them.
        """
        if namespaces is None:
            return self.view
        with self._lock:
            if namespaces not in self._narrowed:
                kept = [
                    index
                    for index, row_id in enumerate(self.view.ids)
                    if all(self._is_of(fact_id, namespaces) for fact_id in row_facts(row_id))
                ]
                self._narrowed[namespaces] = only_rows(self.view, kept)
                if len(self._narrowed) > NARROWED:
                    self._narrowed.popitem(last=False)
            self._narrowed.move_to_end(namespaces)
            return self._narrowed[namespaces]

    def _is_of(self, fact_id: str, namespaces: frozenset[str]) -> bool:
        fact = self.facts.get(fact_id)
        return fact is not None and fact.namespace in namespaces

    def facts_of(self, row_id: str) -> list[Fact]:
        """The facts of a row."""
        return [self.facts[i] for i in row_facts(row_id) if i in self.facts]


def open_snapshot(store: Store, number: int, now: datetime | None = None) -> Snapshot:
    """Read one generation: its bank and the facts it was built from, as they hold now."""
    folder = generation_folder(store.banks, number)
    bank = load_bank(folder, fingerprint=store.fingerprint)
    now = now or datetime.now(UTC)
    facts = {fact.id: fact for fact in store.ledger.facts(generation=number)}
    outside = {
        row_id
        for row_id in bank.ids
        if not any(i in facts and facts[i].valid_at(now) for i in row_facts(row_id))
    }
    weight = next(store.spec.ffn_projection(store.settings.layer).parameters())
    return Snapshot(
        generation=number,
        view=bank.view(without=outside).to(weight.device, weight.dtype),
        facts=facts,
        failed=frozenset(entry["id"] for entry in read_manifest(folder).failed),
        until=_next_change(facts.values(), now),
    )


def empty_snapshot(store: Store) -> Snapshot:
    """The model without facts: what a new store serves."""
    spec = store.spec
    bank = Bank(encoder=KeyEncoder(), key_width=spec.key_width, hidden_width=spec.hidden_width)
    return Snapshot(generation=0, view=bank.view(), facts={})


def only_rows(view: View, kept: list[int]) -> View:
    """A view with some of its rows."""
    place_N = torch.full((len(view.ids),), -1, device=view.row_M.device)
    place_N[kept] = torch.arange(len(kept), device=view.row_M.device)
    new_M = place_N[view.row_M]
    entries_M = new_M >= 0
    return View(
        ids=tuple(view.ids[index] for index in kept),
        keys_ME=view.keys_ME[entries_M],
        gamma_M=view.gamma_M[entries_M],
        row_M=new_M[entries_M],
        R_ND=view.R_ND[kept],
        encoder=view.encoder,
        generation=view.generation,
    )


def _next_change(facts: Iterable[Fact], now: datetime) -> datetime | None:
    times = (
        parse_time(text) for fact in facts for text in (fact.valid_from, fact.valid_to) if text
    )
    return min((time for time in times if time > now), default=None)
