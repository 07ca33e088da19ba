"""Which generation answers: what is live, what is tried on a share of requests, what may be asked.

What comes in: bank folders of a store, and orders to publish. What goes out: for each request one
`Snapshot`, whole, that it keeps until it ends. What it does not do: build rows, or HTTP.

A generation goes live by one assignment, after it was opened and tested; so no request sees half of
it, and those that began before end with the one they began with.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from revisor.errors import Conflict, NotBuilt, NotFound, RevisorError
from revisor.neuraldb.bank.files import generation_folder, generations, remove_generation
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST
from revisor.serve.selftest import SelfTest
from revisor.serve.snapshot import Snapshot, empty_snapshot, open_snapshot
from revisor.serve.tables import Database
from revisor.store import Store

log = logging.getLogger(__name__)

OPENED = 3  # generations kept in memory beside the live one
RETRY_S = 30.0  # until a bank that could not go live by itself is tried again


class NotReady(RevisorError):
    """No generation is live: the bank did not load, or its self-test failed."""

    http_status = 503


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A generation that is tried.

    Attributes:
        snapshot: the generation.
        share: of the requests that do not name a generation, 0..1.
        keys: names of keys whose requests all go to it.
    """

    snapshot: Snapshot
    share: float
    keys: frozenset[str]


class Generations:
    """The generations of a store that a server answers with.

    Args:
        store: whose banks they are.
        database: remembers over restarts what is live and what is held back.
        self_test: run on every generation before it goes live.
    """

    def __init__(
        self, store: Store, database: Database, self_test: Callable[[Snapshot], SelfTest]
    ) -> None:
        self._store, self._database, self._self_test = store, database, self_test
        self._lock = threading.RLock()
        self._opened: OrderedDict[int, Snapshot] = OrderedDict()
        self._live: Snapshot | None = None
        self._lease: Lease | None = None  # keeps the live bank on disk, for a restart
        self._refused: tuple[Path | None, float] = None, 0.0  # and until when
        self.canary: Canary | None = None
        self.test: SelfTest | None = None
        self.fault = "No generation was loaded yet."

    # What requests ask

    @property
    def live(self) -> Snapshot:
        """What is live.

        Raises:
            NotReady: nothing is.
        """
        if self._live is None:
            raise NotReady(self.fault, "GET /healthz says more. Nothing is answered without facts.")
        return self._live

    @property
    def live_number(self) -> int | None:
        """The live generation's number."""
        return None if self._live is None else self._live.generation

    def failed(self) -> frozenset[str]:
        """Ids of facts that the live generation's build could not write."""
        return frozenset() if self._live is None else self._live.failed

    def choose(self, key: str, wanted: int | None = None) -> Snapshot:
        """The generation for one request.

        Args:
            key: name of the caller's key.
            wanted: the generation that the request asks for.

        Raises:
            NotFound: it has no bank here.
            NotReady: nothing is live.
        """
        if wanted is not None:
            return self.open(wanted)
        canary = self.canary
        if canary is not None and (key in canary.keys or random.random() < canary.share):
            return canary.snapshot
        return self.live

    def open(self, number: int, *, fresh: bool = False) -> Snapshot:
        """A generation of the store, from memory where it is there.

        Raises:
            NotFound: there is no bank of it.
        """
        with self._lock:
            for known in (self._live, self.canary.snapshot if self.canary else None):
                if known is not None and known.generation == number and not fresh:
                    return known
            opened = self._opened.get(number)
            # The same folder: a generation that was published again is opened again.
            if opened is not None and not fresh and opened.folder == self._folder(number):
                self._opened.move_to_end(number)
                return opened
            if number not in self.on_disk():
                have = ", ".join(map(str, self.on_disk())) or "none"
                raise NotFound(f"Generation {number} has no bank here; there are: {have}.")
            self._opened[number] = open_snapshot(self._store, number)
            self._opened.move_to_end(number)
            while len(self._opened) > OPENED:
                self._opened.popitem(last=False)
            return self._opened[number]

    def _folder(self, number: int) -> Path:
        return generation_folder(self._store.banks, number)

    def on_disk(self) -> list[int]:
        """The generations that have a bank."""
        return generations(self._store.banks)

    # Orders

    def start(self) -> None:
        """Load what was live, or the newest; a fault is remembered, not raised."""
        try:
            number = self._first()
            if number is None:
                self._live = empty_snapshot(self._store)
                self.test = self._self_test(self._live)
            else:
                self.publish(number)
        except RevisorError as error:
            self.fault = str(error)
            log.error("no generation is live: %s", error)

    def _first(self) -> int | None:
        """What to serve first; None for a store without facts or banks."""
        there = self.on_disk()
        if not there:
            if self._store.ledger.count() == 0:
                return None
            raise NotBuilt("This store was never built.", "Run revisor build, or POST /builds.")
        newest, live, held = there[-1], self._database.recall("live"), self.held()
        if newest not in held:
            return newest if live is None or newest > live or live not in there else int(live)
        if live in there:
            return int(live)
        free = [number for number in there if number not in held]
        if live is None and free:
            return free[-1]
        raise NotBuilt(
            f"Generation {newest} is held back, and there is no bank of the one that was live.",
            f"Publish it: POST /generations/{newest}/publish",
        )

    def publish(self, number: int, *, force: bool = False) -> Snapshot:
        """Open a generation, test it and make it live.

        Args:
            force: although its self-test fails.

        Raises:
            NotFound: it has no bank.
            Conflict: its self-test fails; what was live stays so.
        """
        snapshot = self.open(number, fresh=self._live is None)
        test = self._self_test(snapshot)
        if not test.ok and not force:
            self.fault = f"Generation {number} fails its self-test: {'; '.join(test.faults)}"
            raise Conflict(self.fault, "What was live stays live. Build again, or force it.")
        with self._lock:
            self._keep_on_disk(number)
            self._live, self.test = snapshot, test
            if self.canary is not None and self.canary.snapshot.generation == number:
                self.canary = None
            self._database.remember("live", number)
            # What is newer and was passed over shall not come back by itself.
            self._hold({n for n in self.on_disk() if n > number})
        log.info("generation %d is live with %d rows", number, len(snapshot.view.ids))
        return snapshot

    def renew(self, now: datetime | None = None) -> None:
        """Bring every open generation up to this moment: facts begin, end, and are purged."""
        moment = now or datetime.now(UTC)
        with self._lock:
            if self._live is not None:
                before, self._live = self._live, self._renewed(self._live, moment)
                if self._live.folder != before.folder:
                    self._keep_on_disk(self._live.generation)
            if self.canary is not None:
                tried = self._renewed(self.canary.snapshot, moment)
                self.canary = replace(self.canary, snapshot=tried)
            for number, snapshot in self._opened.items():
                self._opened[number] = self._renewed(snapshot, moment)

    def _renewed(self, snapshot: Snapshot, moment: datetime) -> Snapshot:
        folder = self._folder(snapshot.generation)
        if snapshot.folder is not None and folder != snapshot.folder and folder.exists():
            snapshot = open_snapshot(self._store, snapshot.generation)  # it was published again
        return snapshot.at(moment)

    def test_live(self) -> None:
        """Run the self-test of the live generation again."""
        if self._live is not None:
            self.test = self._self_test(self._live)

    def follow(self) -> int | None:
        """Publish a newer bank that somebody else built, unless it is held back.

        One that was refused is tried again after `RETRY_S`, or when it was built again.

        Raises:
            RevisorError: it cannot be opened, or fails its self-test; what was live stays so.
        """
        there = self.on_disk()
        if not there or there[-1] <= (self.live_number or 0):
            return None
        folder = self._folder(there[-1])
        refused, until = self._refused
        if (folder == refused and time.monotonic() < until) or there[-1] in self.held():
            return None
        try:
            return self.publish(there[-1]).generation
        except RevisorError:
            self._refused = folder, time.monotonic() + RETRY_S
            raise

    def try_out(self, number: int, *, share: float, keys: Iterable[str]) -> Canary:
        """Give a share of requests, or those of some keys, another generation than the live one.

        Raises:
            NotFound: it has no bank.
            Conflict: it is the live one, or fails its self-test.
        """
        if number == self.live.generation:
            raise Conflict(f"Generation {number} is live already.", "Try another one.")
        snapshot = self.open(number)
        test = self._self_test(snapshot)
        if not test.ok:
            raise Conflict(f"Generation {number} fails its self-test: {'; '.join(test.faults)}")
        self.canary = Canary(snapshot=snapshot, share=share, keys=frozenset(keys))
        return self.canary

    def stop_trying(self) -> None:
        """End the trial; all requests go to the live generation."""
        self.canary = None

    def discard(self, number: int) -> None:
        """Delete the bank of a generation that nothing uses.

        Raises:
            NotFound: it has none.
            Conflict: it is live, being tried, or used by another process.
        """
        with self._lock:
            used = (self.live_number, self.canary and self.canary.snapshot.generation)
            if number in used:
                raise Conflict(f"Generation {number} is in use.", "Publish another one first.")
            self.open(number)
            if not remove_generation(self._store.banks, number):
                raise Conflict(f"Generation {number} is in use.", "Another process reads it.")
            del self._opened[number]

    def close(self) -> None:
        """Let go of the live generation's bank."""
        if self._lease is not None:
            self._lease.close()

    def _keep_on_disk(self, number: int) -> None:
        try:
            lease = Lease(self._folder(number) / MANIFEST)
        except FileNotFoundError as error:
            raise NotFound(f"Generation {number} was collected at this moment.") from error
        self.close()
        self._lease = lease

    # Generations that wait

    def held(self) -> frozenset[int]:
        """Generations that were built but shall not go live by themselves."""
        return frozenset(self._database.recall("held") or ())

    def hold(self, number: int) -> None:
        """Keep a generation from going live by itself."""
        with self._lock:
            self._hold({*self.held(), number})

    def _hold(self, numbers: Iterable[int]) -> None:
        self._database.remember("held", sorted(numbers))
