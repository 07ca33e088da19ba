"""Which facts a request gets, decided once, as a name that several processes understand.

What comes in: a store. What goes out: the edition of this moment, which is a generation and the
latest moment at which a fact of it began or ended; and for an edition its rows. What it does not
do: hand requests to a model.

The model itself is not needed here: a store's rows are found by its only bank folder.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from datetime import UTC, datetime
from pathlib import Path

import torch

from revisor.bank.bank import View
from revisor.bank.files import Manifest, generation_folder, generations, load_bank, read_manifest
from revisor.editing.build import row_facts
from revisor.errors import NotBuilt, WrongModel
from revisor.facts.epochs import bounds
from revisor.facts.fact import Fact
from revisor.serve.tables import Database
from revisor.store import Store

PAUSE_S = 0.5  # between two looks at the disk
KEPT = 4  # editions whose rows are kept in memory


class Editions:
    """The editions of a store.

    Raises:
        NotBuilt: there is no bank.
        WrongModel: there are banks of several models, and no way to tell which is meant.
    """

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)
        self._database = Database.of(self.store)
        root = path / "banks"
        folders = sorted(root.iterdir()) if root.is_dir() else []
        found = [folder for folder in folders if folder.is_dir() and generations(folder)]
        if not found:
            raise NotBuilt(f"The store {path} was never built.", "Run: revisor build")
        if len(found) > 1:
            raise WrongModel(
                f"The store {path} has banks of {len(found)} models: "
                f"{', '.join(folder.name for folder in found)}.",
                "Move those of the other models away.",
            )
        self._root = found[0]
        self._looked = 0.0
        self._now = ""
        self._bounds: dict[int, list[datetime]] = {}
        self._views: dict[str, View] = {}

    def manifest(self) -> Manifest:
        """Of the newest bank."""
        return read_manifest(generation_folder(self._root, generations(self._root)[-1]))

    def now(self) -> str:
        """The edition that a request gets that comes now."""
        if time.monotonic() - self._looked > PAUSE_S:
            held = set(self._database.recall("held") or ())
            there = generations(self._root)
            number = next((one for one in reversed(there) if one not in held), None)
            if number is None:
                raise NotBuilt("No generation of this store may go live.", "Publish one.")
            if number not in self._bounds:
                self._bounds[number] = bounds(self.store.ledger.timed(generation=number))
            moments = self._bounds[number]
            place = bisect_right(moments, datetime.now(UTC))
            self._now = f"{number}@{moments[place - 1].isoformat()}" if place else f"{number}@"
            self._looked = time.monotonic()
        return self._now

    def view(self, edition: str, device: torch.device, dtype: torch.dtype) -> View:
        """The rows of an edition, on a device; opened at the first use.

        Raises:
            StoreDamaged, NotBuilt: the bank is gone or was changed.
        """
        if edition not in self._views:
            number, _, moment = edition.partition("@")
            bank = load_bank(generation_folder(self._root, int(number)), check=True)
            rows = self.store.rows_in_force(bank)
            at = datetime.fromisoformat(moment) if moment else datetime.min.replace(tzinfo=UTC)
            while len(self._views) >= KEPT:
                self._views.pop(next(iter(self._views)))
            self._views[edition] = rows.at(at).to(device, dtype)
        return self._views[edition]

    def facts(self, view: View, count: int) -> list[Fact]:
        """The first facts of a view's rows."""
        ids = [i for row_id in view.ids[:count] for i in row_facts(row_id)[:1]]
        known = self.store.ledger.known(ids, generation=view.generation)
        return [known[i] for i in ids if i in known]
