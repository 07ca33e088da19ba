"""One generation, whole: its rows on the model's device, its facts, and views of parts of it.

What comes in: a store and the number of a generation that was built. What goes out: a `Snapshot`,
which no later build or publication changes. What it does not do: decide who gets it (live.py), or
which rows speak for facts in time (life/live.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from revisor.facts.epochs import bounds
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import generation_folder, load_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.build.live import RowsInForce
from revisor.neuraldb.editing.build import row_facts
from revisor.store import Store

NARROWED = 8  # views for sets of namespaces, kept for each generation


@dataclass(kw_only=True)
class Snapshot:
    """One generation as it was when it was opened.

    Attributes:
        generation: of the ledger.
        view: its rows in force, as the model's device reads them (`View.to`).
        facts: its live facts by id.
        failed: ids of facts that the build could not write.
        until: when a fact begins or ceases to hold, so that the view is out of date.
        rows: the rows of every moment; None for a generation without rows.
        folder: of the bank.
    """

    generation: int
    view: View
    facts: dict[str, Fact]
    failed: frozenset[str] = frozenset()
    until: datetime | None = None
    rows: RowsInForce | None = None
    folder: Path | None = None
    _narrowed: OrderedDict[frozenset[str], View] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, moment: datetime) -> Snapshot:
        """The same generation with the rows in force at a moment; itself while they are the same.

        Only forward in time, and without a look at the disk.
        """
        if self.rows is None or self.until is None or moment < self.until:
            return self
        return Snapshot(
            generation=self.generation,
            view=self.rows.at(moment).to(self.view.device, self.view.dtype),
            facts=self.facts,
            failed=self.failed,
            until=_next_change(self.facts, moment),
            rows=self.rows,
            folder=self.folder,
        )

    def view_for(self, namespaces: frozenset[str] | None) -> View:
        """The rows whose facts are all of these namespaces; None for all rows.

        A row that facts of several namespaces share is hidden from whoever may not see all of them.
        """
        if namespaces is None:
            return self.view
        with self._lock:
            if namespaces not in self._narrowed:
                kept = [
                    row_id
                    for row_id in self.view.ids
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


def open_snapshot(store: Store, number: int) -> Snapshot:
    """Read one generation: its bank and the facts it was built from, as they hold now.

    Raises:
        NotBuilt, WrongModel, StoreDamaged: see `load_bank`; every file is held against its hash.
    """
    folder = generation_folder(store.banks, number)
    bank = load_bank(folder, fingerprint=store.fingerprint, check=True)
    rows = store.rows_in_force(bank)
    now = datetime.now(UTC)
    facts = {fact.id: fact for fact in store.ledger.facts(generation=number)}
    weight = next(store.spec.ffn_projection(store.settings.layer).parameters())
    return Snapshot(
        generation=number,
        view=rows.at(now).to(weight.device, weight.dtype),
        facts=facts,
        failed=frozenset(entry["id"] for entry in read_manifest(folder).failed),
        until=_next_change(facts, now),
        rows=rows,
        folder=folder,
    )


def empty_snapshot(store: Store) -> Snapshot:
    """The model without facts: what a new store serves."""
    spec = store.spec
    bank = Bank(encoder=KeyEncoder(), key_width=spec.key_width, hidden_width=spec.hidden_width)
    return Snapshot(generation=0, view=bank.view(), facts={})


def only_rows(view: View, kept: Collection[str]) -> View:
    """A view with some of its rows, which go by their names as before."""
    whole = Bank.of(view.to(torch.device("cpu"), view.dtype))
    return whole.view(without=set(view.ids) - set(kept)).to(view.device, view.dtype)


def _next_change(facts: Mapping[str, Fact], now: datetime) -> datetime | None:
    return next((moment for moment in bounds(facts.values()) if moment > now), None)
