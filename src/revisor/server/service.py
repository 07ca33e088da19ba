"""One server's parts, put together: what starts first, what watches, what stops last.

What comes in: a store and settings. What goes out: a running `Service` that routes call. What it
does not do: HTTP (app.py), or any of the parts' own work.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revisor.errors import Conflict, RevisorError, UsageError
from revisor.serve.batching import Scheduler
from revisor.serve.jobs import Build, Builds
from revisor.serve.live import Generations
from revisor.serve.metrics import Metrics
from revisor.serve.proposals import ChangeDesk
from revisor.serve.roles import ANYBODY, Caller, KeyBook, Role, Unauthorized
from revisor.serve.selftest import run_self_test
from revisor.serve.tables import Database
from revisor.serve.why import HitLog
from revisor.store import Store

log = logging.getLogger(__name__)

WATCH_S = 0.25  # a look at two folders; what others built goes live within it
TEST_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server behaves.

    Attributes:
        host, port: where it listens.
        max_batch: answers that are written at once.
        max_waiting: answers that may wait; more get 429.
        max_tokens: the longest answer; also the default of a chat.
        per_minute: requests of one key or address; 0 for no limit.
        body_bytes: the largest request.
        hit_log: share of answers whose hits are written to STORE/logs/hits.jsonl.
        patience_s: how long running answers may take when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 16
    max_waiting: int = 64
    max_tokens: int = 1024
    per_minute: int = 600
    body_bytes: int = 1 << 20
    hit_log: float = 0.0
    patience_s: float = 30.0


class Service:
    """A store that answers and changes.

    Raises:
        UsageError: it would be open to others than this machine without any key.
    """

    def __init__(self, store: Store, settings: ServeSettings | None = None) -> None:
        self.store = store
        self.settings = settings or ServeSettings()
        self.database = Database.of(store)
        self.keys = KeyBook(self.database)
        if not is_loopback(self.settings.host) and not self.keys.any():
            raise UsageError(
                f"The store has no API keys, so it cannot be served on {self.settings.host}.",
                "Make one: revisor keys add NAME --role admin. Or serve on 127.0.0.1.",
            )
        self.desk = ChangeDesk(self.database, store.ledger)
        self.desk.recover()
        self.scheduler = Scheduler(
            store.loaded,
            store.spec,
            store.settings.layer,
            max_batch=self.settings.max_batch,
            max_waiting=self.settings.max_waiting,
        )
        self.generations = Generations(
            store, self.database, lambda snapshot: run_self_test(self.scheduler, snapshot)
        )
        self.builds = Builds(store.path, self._built)
        self.metrics = Metrics()
        self.hit_log = HitLog(store.path / "logs" / "hits.jsonl", self.settings.hit_log)
        self.created = int(time.time())
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="revisor-watch", daemon=True)
        self._register_gauges()

    @property
    def name(self) -> str:
        """Under which the model is served: the store's name of it, of a folder the last part."""
        name = self.store.settings.model
        return Path(name).name if Path(name).is_absolute() else name

    def chat_ids(self, turns: list[dict[str, str]]) -> list[int]:
        """The token ids of a conversation, ready for the next answer.

        Raises:
            UsageError: the model has no chat template, or it refuses these turns.
        """
        from jinja2 import TemplateError

        tokenizer = self.store.loaded.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UsageError(
                f"The model '{self.name}' has no chat template.", "POST /v1/completions instead."
            )
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise UsageError(
                f"The model's chat template refuses these messages: {error}"
            ) from error
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    # Life

    def start(self) -> None:
        """Load the model's facts and begin to answer."""
        self.scheduler.start()
        self.generations.start()
        self._watcher.start()

    def close(self) -> None:
        """Finish what runs, then let go of everything but the store."""
        self._stop.set()
        self.builds.close()
        self.scheduler.close(patience_s=self.settings.patience_s)
        if self._watcher.is_alive():
            self._watcher.join()
        self.generations.close()
        self.database.close()

    def _watch(self) -> None:
        """Follow banks that others build, the time of facts, and the server's own health."""
        tested = time.monotonic()
        while not self._stop.wait(WATCH_S):
            try:
                self.generations.renew()
                if self.builds.running is None:
                    self.generations.follow()
                if time.monotonic() - tested > TEST_EVERY_S:
                    self.generations.test_live()
                    tested = time.monotonic()
            except RevisorError as error:
                log.error("%s", error)
            except Exception:
                log.exception("the watcher failed; it goes on")

    # Who

    @property
    def is_open(self) -> bool:
        """Whether requests without a key are served: on loopback, while no key was ever made."""
        return is_loopback(self.settings.host) and not self.keys.any()

    def caller(self, token: str | None) -> Caller:
        """Whose request it is.

        Raises:
            Unauthorized: nobody's.
        """
        if self.is_open:
            return ANYBODY
        if not token:
            raise Unauthorized(
                "This server needs an API key.", "Send it as: Authorization: Bearer KEY"
            )
        return self.keys.who(token)

    # Generations

    def build(self, caller: Caller, *, publish: bool) -> Build:
        """Begin a build in the background.

        Raises:
            Conflict: one is running; or a generation that waits would push the live one off the
                disk, which keeps two.
        """
        caller.must_be(Role.approve)
        there, live = self.generations.on_disk(), self.generations.live_number
        if not publish and live in there and there[-1] != live:
            raise Conflict(
                f"Generation {there[-1]} waits already beside the live one, {live}.",
                "Publish it, or discard it: DELETE /generations/N. Then build again.",
            )
        return self.builds.start(by=caller.name, publish=publish)

    def _built(self, build: Build) -> None:
        number = int((build.report or {})["generation"])
        if build.publish:
            self.generations.publish(number)
        elif number != self.generations.live_number:
            self.generations.hold(number)

    def discard(self, number: int, caller: Caller) -> None:
        """Delete the bank of a generation that waits.

        Raises:
            Conflict: it is live or being tried.
            NotFound: it has no bank.
        """
        caller.must_be(Role.admin, everywhere=True)
        self.generations.discard(number)

    def rollback(self, to: int, caller: Caller, reason: str) -> dict[str, Any]:
        """Have the facts of an earlier generation again: at once where its bank is still there, and
        as a new generation that is built in the background.

        Raises:
            NotFound: there is no such generation.
            Conflict: a build is running.
        """
        caller.must_be(Role.admin, everywhere=True)
        if self.builds.running is not None:
            raise Conflict("A build is running.", "Wait for it, or cancel it first.")
        made = self.store.ledger.rollback(to, actor=caller.name, reason=reason)
        at_once = to in self.generations.on_disk()
        if at_once:
            self.generations.publish(to)
        build = self.build(caller, publish=True) if made.changed or not at_once else None
        return {
            "generation": made.number,
            "live": self.generations.live_number,
            "build": None if build is None else build.id,
        }

    # Health

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it serves as it should, and what is wrong."""
        faults = []
        if not self.scheduler.alive:
            faults.append("the model's thread does not run")
        if self.generations.live_number is None:
            faults.append(self.generations.fault)
        elif self.generations.test is not None:
            faults += self.generations.test.faults
        told = {
            "status": "failing" if faults else "ok",
            "model": self.name,
            "generation": self.generations.live_number,
            "faults": faults,
        }
        return not faults, told

    def _register_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("revisor_queue", "Answers that wait.", lambda: self.scheduler.waiting)
        gauge("revisor_running", "Answers being written.", lambda: self.scheduler.running)
        gauge("revisor_steps", "Decode steps so far.", lambda: self.scheduler.steps)
        gauge(
            "revisor_gate_seconds", "Time in the gate so far.", lambda: self.scheduler.gate_seconds
        )
        gauge(
            "revisor_generation_live",
            "The generation that answers; -1 if none does.",
            lambda: -1 if self.generations.live_number is None else self.generations.live_number,
        )
        gauge("revisor_healthy", "1 if the self-test passes.", lambda: self.health()[0])
        gauge("revisor_rows", "Rows in force.", lambda: len(self._live_rows()))
        gauge(
            "revisor_facts_never_hit",
            "Facts that did not fire since the server started.",
            lambda: len(self.never_hit()),
        )
        gauge(
            "revisor_false_fire_alarm",
            "1 if many of the latest hits are in texts that do not name the subject.",
            lambda: self.metrics.alarm,
        )

    def _live_rows(self) -> Sequence[str]:
        return () if self.generations.live_number is None else self.generations.live.view.ids

    def never_hit(self) -> list[str]:
        """Ids of live facts that did not fire since the server started."""
        if self.generations.live_number is None:
            return []
        return self.metrics.never_hit(self.generations.live.facts)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
