"""Which facts a request gets, decided once, as a name that several processes understand.

What comes in: a store. What goes out: the edition of this moment, which is a generation's bank and
the latest moment at which a fact of it began or ended; and for an edition its rows. What it does
not do: hand requests to a model.

The model itself is not needed here: a store's rows are found by its only bank folder. A bank that
is open here stays on disk.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import RLock

import torch

from revisor.errors import NotBuilt, RevisorError, WrongModel
from revisor.facts.epochs import bounds
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST, Manifest, read_manifest
from revisor.neuraldb.build.live import RowsInForce
from revisor.neuraldb.editing.build import row_facts
from revisor.serve.tables import Database
from revisor.store import Store

PAUSE_S = 0.5  # between two looks at the disk
RECENT = 2  # editions that are kept although nobody uses them: requests of theirs may be on the way

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A bank in use.

    Attributes:
        rows: of every moment.
        moments: when facts of it begin or end.
        failed: ids of facts that its build could not write.
        lease: keeps it on disk.
    """

    rows: RowsInForce
    moments: list[datetime]
    failed: frozenset[str]
    lease: Lease


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
        self._live = ""  # folder of the bank that new requests get
        self._broken: set[str] = set()
        self._lock = RLock()
        self._opened: dict[str, _Opened] = {}
        self._views: dict[str, View] = {}  # by edition, the latest last

    def manifest(self) -> Manifest:
        """Of the newest bank."""
        return read_manifest(generation_folder(self._root, generations(self._root)[-1]))

    def now(self) -> str:
        """The edition that a request gets that comes now.

        A bank goes live once it was opened and its files are what its build wrote. One that is
        broken is logged and passed over, unless there is none before it.

        Raises:
            NotBuilt: no generation may go live.
            StoreDamaged: the first bank to go live cannot be read.
        """
        with self._lock:
            if not self._live or time.monotonic() - self._looked > PAUSE_S:
                self._follow()
                self._looked = time.monotonic()
            moments = self._open(self._live).moments
            place = bisect_right(moments, datetime.now(UTC))
            return f"{self._live}@{moments[place - 1].isoformat() if place else ''}"

    def _follow(self) -> None:
        held = set(self._database.recall("held") or ())
        there = generations(self._root)
        number = next((one for one in reversed(there) if one not in held), None)
        if number is None:
            if self._live:
                return  # what is live stays so
            raise NotBuilt("No generation of this store may go live.", "Publish one.")
        name = generation_folder(self._root, number).name
        if name == self._live or name in self._broken:
            return
        try:
            self._open(name)
        except RevisorError as error:
            if not self._live:
                raise
            self._broken.add(name)
            log.error("revisor: %s does not go live, %s stays: %s", name, self._live, error)
            return
        self._live = name

    def _open(self, name: str) -> _Opened:
        if name not in self._opened:
            folder = self._root / name
            try:
                lease = Lease(folder / MANIFEST)
            except FileNotFoundError as error:
                raise NotBuilt(f"The bank {folder} is gone.", "Ask again.") from error
            try:
                bank = load_bank(folder, check=True)
                timed = self.store.ledger.timed(generation=bank.generation)
                self._opened[name] = _Opened(
                    rows=self.store.rows_in_force(bank),
                    moments=bounds(timed),
                    failed=frozenset(entry["id"] for entry in read_manifest(folder).failed),
                    lease=lease,
                )
            except BaseException:
                lease.close()
                raise
        return self._opened[name]

    def view(self, edition: str, device: torch.device, dtype: torch.dtype) -> View:
        """The rows of an edition, on a device; the same object until it is let go of.

        Raises:
            StoreDamaged, NotBuilt: the bank is gone or was changed.
        """
        found = self._views.get(edition)
        if found is None:
            found = self._views[edition] = self.rows(edition).to(device, dtype)
        return found

    def rows(self, edition: str) -> View:
        """The same where the bank has them, made anew at each call."""
        name, _, moment = edition.partition("@")
        at = datetime.fromisoformat(moment) if moment else datetime.min.replace(tzinfo=UTC)
        with self._lock:
            return self._open(name).rows.at(at)

    def keep(self, used: Collection[str]) -> None:
        """Let go of the editions that are not used, the latest few excepted."""
        with self._lock:
            for edition in list(self._views)[:-RECENT]:
                if edition not in used:
                    del self._views[edition]
            needed = {one.partition("@")[0] for one in (*self._views, *used)} | {self._live}
            for name in self._opened.keys() - needed:
                self._opened.pop(name).lease.close()

    def facts(self, edition: str, count: int) -> list[Fact]:
        """Some facts that an edition has rows for."""
        view = self.rows(edition)
        with self._lock:
            failed = self._open(edition.partition("@")[0]).failed
        ids = (i for row_id in view.ids for i in row_facts(row_id)[:1] if i not in failed)
        chosen = list(islice(ids, count))
        known = self.known(view.generation, chosen)
        return [known[i] for i in chosen if i in known]

    def known(self, generation: int, ids: Iterable[str]) -> dict[str, Fact]:
        """Facts of a generation by id; without those that were purged since."""
        return self.store.ledger.known(ids, generation=generation)


def generation_of(edition: str) -> int:
    """The generation of an edition."""
    return int(edition.partition("@")[0].partition("-")[2].partition(".")[0])
