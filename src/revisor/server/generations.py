"""Which facts answer: those of the ledger's live generation, of one that is tried, or asked for.

The ledger says which generation is live, so all servers of a store agree, and a restart changes
nothing. A request keeps the facts that it began with to its last token.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from revisor.errors import Conflict
from revisor.facts.fact import Fact
from revisor.gate.gate import FactGate
from revisor.index.view import View
from revisor.operations.asking import ask_facts
from revisor.store import Store

log = logging.getLogger(__name__)

SAMPLE = 20  # facts that a test asks
TOLERATED = 0.1  # share of them that may not be answered


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The facts of one request.

    Attributes:
        generation: of the ledger.
        view: the facts, as they hold at the moment of the request.
        gate: writes them.
    """

    generation: int
    view: View
    gate: FactGate


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A generation that is tried.

    Attributes:
        generation: of the ledger.
        share: of the requests that do not name a generation, 0..1.
        keys: names of keys whose requests all go to it.
    """

    generation: int
    share: float
    keys: frozenset[str]


class Generations:
    """The generations of a store that a server answers with. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gate = store.gate()
        self._lock = threading.Lock()
        self.canary: Canary | None = None

    @property
    def live(self) -> int:
        """The number of the generation that is live, as the ledger has it."""
        return self._store.ledger.live_generation()

    def choose(
        self, key: str, wanted: int | None = None, namespaces: Collection[str] | None = None
    ) -> InForce:
        """The facts for one request that begins now.

        Args:
            key: name of the caller's key.
            wanted: the generation that the request asks for.
            namespaces: of which facts it may use; None for all.

        Raises:
            NotFound: there is no such generation.
        """
        canary = self.canary
        if wanted is None and canary is not None:
            tried = key in canary.keys or random.random() < canary.share
            wanted = canary.generation if tried else None
        moment = self._store.workspace.clock()
        view = self._store.index.view(generation=wanted, namespaces=namespaces, moment=moment)
        gate = replace(self._gate, view=lambda: view)
        return InForce(generation=view.generation, view=view, gate=gate)

    def test(self, generation: int | None = None) -> list[str]:
        """Ask some facts of a generation their own prompts; what is wrong, empty if all is well.

        Raises:
            NotFound: there is no such generation.
        """
        found = self.choose("", wanted=self.live if generation is None else generation)
        result = ask_facts(
            found.gate, (replace(fact, paraphrases=()) for fact in self._sample(found)), quiet=True
        )
        if len(result.failed) <= TOLERATED * result.asked:
            return []
        return [f"the fact {one['id']} does not answer: {one['reason']}" for one in result.failed]

    def _sample(self, found: InForce) -> Iterator[Fact]:
        """Some facts of a generation that hold now, from anywhere in it."""
        start = random.randrange(max(1, len(found.view) - SAMPLE + 1))
        listed = partial(self._store.ledger.facts, generation=found.generation)
        facts = chain(listed(offset=start), listed(limit=start))
        now = found.view.now()
        return islice((fact for fact in facts if fact.valid_at(now)), SAMPLE)

    def publish(self, generation: int, *, actor: str, reason: str, force: bool = False) -> int:
        """Test a generation and make it live, for every server of the store.

        Args:
            force: although its test fails.

        Raises:
            NotFound: there is no such generation.
            Conflict: its test fails; what was live stays so.
            NeedsApproval: it is an older one, and has other facts in a namespace whose changes
                somebody else has to approve.
        """
        faults = [] if force else self.test(generation)
        if faults:
            raise Conflict(
                f"Generation {generation} fails its test: {'; '.join(faults)}",
                "What was live stays live. Mend its facts, or force it.",
            )
        number = self._store.ledger.publish(generation, actor=actor, reason=reason)
        with self._lock:
            if self.canary is not None and self.canary.generation == number:
                self.canary = None
        log.info("generation %d was made live by %s", number, actor)
        return number

    def rollback(self, to: int, *, actor: str, reason: str) -> dict[str, Any]:
        """Have the facts of an earlier generation again, as a new one, live at once.

        Raises:
            NotFound: there is no such generation.
            NeedsApproval: a namespace whose changes somebody else has to approve is touched.
        """
        made = self._store.ledger.rollback(to, actor=actor, reason=reason)
        log.info("the facts of generation %d were brought back by %s", to, actor)
        return {"generation": made.number, "live": self.live}

    def try_out(self, generation: int, *, share: float, keys: Iterable[str], actor: str) -> Canary:
        """Give a share of requests, or those of some keys, another generation than the live one.
        The audit tells who did.

        Raises:
            NotFound: there is no such generation.
            Conflict: it is the live one, or its test fails.
            NeedsApproval: see `publish`.
        """
        if generation == self.live:
            raise Conflict(f"Generation {generation} is live already.", "Try another one.")
        self._store.ledger.check_live(generation, actor=actor)
        faults = self.test(generation)
        if faults:
            raise Conflict(f"Generation {generation} fails its test: {'; '.join(faults)}")
        canary = Canary(generation=generation, share=share, keys=frozenset(keys))
        self._record(actor, generation, share=share, keys=sorted(canary.keys))
        with self._lock:
            self.canary = canary
        return canary

    def stop_trying(self, *, actor: str) -> None:
        """End the trial, if there is one."""
        with self._lock:
            ended, self.canary = self.canary, None
        if ended is not None:
            self._record(actor, ended.generation, share=0.0, keys=[])

    def _record(self, actor: str, generation: int, **details: object) -> None:
        self._store.ledger.record("canary", actor=actor, generation=generation, **details)
