"""One server's parts, put together: what starts first, what watches, what stops last."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from revisor.errors import RevisorError, UsageError
from revisor.server.batching import Scheduler
from revisor.server.generations import Generations
from revisor.server.job import Awaited
from revisor.server.metrics import Metrics
from revisor.server.prompts import Prompts
from revisor.server.proposals import ChangeDesk
from revisor.server.roles import ANYBODY, Caller, KeyBook, Unauthorized
from revisor.server.settings import ServeSettings
from revisor.server.tables import Database
from revisor.server.turns import Turns
from revisor.server.why import HitLog
from revisor.store import Store

log = logging.getLogger(__name__)

WATCH_S = 0.5
TEST_EVERY_S = 60.0
AGAIN_S = 2.0  # between tests while something is wrong
MODEL_S = 60.0  # in which the model has to give a token when it is tested
STUCK_S = 30.0  # that a step of the model, or a look into the ledger, may take
CLOSE_S = 1.0  # for what still runs when no client waits any more


def scheduler_of(store: Store, settings: ServeSettings) -> Scheduler:
    """A scheduler for the model that a store is bound to, in transformers."""
    return Scheduler(store.loaded, max_batch=settings.max_batch, max_waiting=settings.max_waiting)


class Service:
    """A store that answers and changes.

    Args:
        store: whose facts and model.
        settings: how it behaves.
        make_scheduler: opens the model and runs it; the store's model is that one from then on.

    Raises:
        UsageError: the store's method is another than `revisor`; or it would be open to others
            than this machine without any key.
    """

    def __init__(
        self,
        store: Store,
        settings: ServeSettings | None = None,
        *,
        make_scheduler: Callable[[Store, ServeSettings], Scheduler] = scheduler_of,
    ) -> None:
        if store.settings.method != "revisor":
            raise UsageError(
                f"`revisor serve` serves stores of the method revisor; this one's is "
                f"{store.settings.method}.",
                "Use it with revisor ask, revisor chat or Python, or make another store: "
                "revisor init --store DIR --model MODEL",
            )
        self.store = store
        self.settings = settings or ServeSettings()
        self.database = Database.of(store)
        self.keys = KeyBook(self.database)
        self._has_keys = self.keys.any()
        if not is_loopback(self.settings.host) and not self._has_keys:
            raise UsageError(
                f"The store has no API keys, so it cannot be served on {self.settings.host}.",
                "Make one: revisor keys add NAME --role admin. Or serve on 127.0.0.1.",
            )
        self.desk = ChangeDesk(self.database, store.ledger)
        self.scheduler = make_scheduler(store, self.settings)
        self.prompts = Prompts(store.loaded, self.scheduler.context)
        self.reading = Turns(at_once=2, most=self.settings.max_waiting)
        """Prompts that are turned into tokens."""
        self.checking = Turns(at_once=1, most=self.settings.max_waiting)
        """Facts that are held against one another, or asked."""
        self.writing = Turns(at_once=2, most=self.settings.max_waiting)
        """Facts that are written: who waits for the ledger's lock keeps no thread from others."""
        self.generations = Generations(store)
        self.metrics = Metrics()
        self.hit_log = HitLog(
            store.path / "logs" / "hits.jsonl",
            self.settings.hit_log,
            lambda number, ids: store.ledger.known(ids, generation=number),
        )
        self.created = int(time.time())
        self.live = 0
        """The live generation as it was last seen, which costs no look into the ledger."""
        self._test_faults: list[str] = []
        self._ledger_fault = ""
        self._events = 0
        self._looked = time.monotonic()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="revisor-watch", daemon=True)
        self._register_gauges()

    @property
    def name(self) -> str:
        """Under which the model is served: what it is called, of a folder the last part."""
        name = self.store.loaded.name
        return Path(name).name if Path(name).is_absolute() else name

    @cached_property
    def fingerprint(self) -> str:
        """Names the model's weights and its tokenizer."""
        from revisor.gate.probe import probe_fingerprint

        return f"revisor-{probe_fingerprint(self.store.loaded)[:16]}"

    # Life

    def start(self) -> None:
        """Begin to answer, and to watch."""
        self.scheduler.start()
        self._look()
        self._test()
        self._watcher.start()

    def close(self) -> None:
        """Finish what runs, then let go of everything but the store."""
        self._stop.set()
        self.scheduler.close(patience_s=CLOSE_S)
        if self._watcher.is_alive():
            self._watcher.join(CLOSE_S)
        self.hit_log.close()
        self.database.close()

    def _watch(self) -> None:
        """Follow the ledger, and the server's own health."""
        tested = time.monotonic()
        while not self._stop.wait(WATCH_S):
            self._look()
            now = time.monotonic()
            if now - tested > (TEST_EVERY_S if self.health()[0] else AGAIN_S):
                self._test()
                tested = time.monotonic()

    def _look(self) -> None:
        """See which generation is live, whether there are keys, and whether facts were purged."""
        try:
            live = self.generations.live
            if live != self.live:
                log.info("generation %d is live", live)
            self.live = live
            self._has_keys = self.keys.any()
            self._follow_purges()
        except Exception as error:
            self.saw_fault(error)
        self._looked = time.monotonic()

    def _follow_purges(self) -> None:
        new = self.store.ledger.events(1)
        if not new or new[0].seq == self._events:
            return
        latest = self.store.ledger.events(new[0].seq - self._events) if self._events else []
        if any(event.kind == "purge" for event in latest):
            self.hit_log.forget_purged()
        self._events = new[0].seq

    def saw_fault(self, error: Exception) -> None:
        """Something is wrong with the ledger; a test that goes well takes it back."""
        told = str(error) if isinstance(error, RevisorError) else type(error).__name__
        if told != self._ledger_fault:
            log.error("%s", told, exc_info=None if isinstance(error, RevisorError) else error)
        self._ledger_fault = told

    def _test(self) -> None:
        """Ask some facts, and have the model give one token."""
        try:
            faults = self.generations.test()
            self._ledger_fault = ""
        except Exception as error:
            self.saw_fault(error)
            faults = []
        one = Awaited(self.prompts.of_text("The")[: self.scheduler.context - 1], None, 1)
        one.job.urgent = True
        try:
            self.scheduler.submit(one.job)
        except RevisorError:  # it is closing
            return
        if not one.wait(MODEL_S):
            one.job.cancelled = True
            faults = [*faults, self.scheduler.fault or "the model does not answer"]
        self._test_faults = faults

    # Who

    @property
    def is_open(self) -> bool:
        """Whether requests without a key are served: on loopback, while no key was ever made.

        It is asked by the event loop, so it goes by what was last seen; `caller` looks.
        """
        return is_loopback(self.settings.host) and not self._has_keys

    def caller(self, token: str | None) -> Caller:
        """Whose request it is.

        Raises:
            Unauthorized: nobody's.
        """
        if self.is_open and not self.keys.any():
            return ANYBODY
        self._has_keys = True
        if not token:
            raise Unauthorized(
                "This server needs an API key.", "Send it as: Authorization: Bearer KEY"
            )
        return self.keys.who(token)

    # Health

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it serves as it should, and what is wrong; nothing is read for it."""
        faults = [*self._test_faults]
        if not self.scheduler.alive:
            faults.append("the model's thread does not run")
        if self.scheduler.step_seconds > STUCK_S:
            faults.append("the model does not come to the end of a step")
        if time.monotonic() - self._looked > STUCK_S:
            faults.append("the ledger was not looked into for a while")
        faults += [told for told in (self._ledger_fault, self.scheduler.fault) if told]
        told = {
            "status": "failing" if faults else "ok",
            "model": self.name,
            "generation": self.live,
            "faults": list(dict.fromkeys(faults)),
        }
        return not faults, told

    def _register_gauges(self) -> None:
        gauge, scheduler = self.metrics.gauge, self.scheduler
        gauge("revisor_queue", "Answers that wait.", lambda: scheduler.waiting)
        gauge("revisor_running", "Answers being written.", lambda: scheduler.running)
        gauge("revisor_steps", "Decode steps so far.", lambda: scheduler.steps)
        gauge("revisor_gate_seconds", "Time in the gate so far.", lambda: scheduler.gate_seconds)
        gauge("revisor_generation_live", "The generation that answers.", lambda: self.live)
        gauge("revisor_healthy", "1 if all is well.", lambda: self.health()[0])
        gauge("revisor_facts", "Facts that are live.", lambda: len(self.store.index.view()))
        gauge(
            "revisor_facts_used_distinct",
            "Different facts used since the server started.",
            lambda: self.metrics.distinct_used,
        )
        gauge("revisor_hit_log_lost", "Lines that had no place.", lambda: self.hit_log.lost)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
