"""revisor as one of the methods: facts in a ledger of their own, written at the model's output."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from revisor.bench.deciding import DEFAULT, encoder_named
from revisor.bench.firing import gate_fires
from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Failure, Fires
from revisor.config import PROBES, STRICTNESS
from revisor.engines.transformers import attached
from revisor.errors import UsageError
from revisor.facts.changes import Put, Remove
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.gate.gate import FactGate
from revisor.gate.probe import load_probe, require
from revisor.gate.scope import THRESHOLDS
from revisor.index import FactIndex, View

ACTOR = "eval"


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """How the gate decides, as of `revisor init`; for `encoder` see `encoder_named`."""

    probe: str = "auto"
    strictness: str = "normal"
    encoder: str = DEFAULT


class GateMethod:
    """Facts that are live as soon as they are in the ledger.

    Raises:
        UsageError: an unknown option's value.
        ModelUnavailable, NotSupported: the encoder cannot be used.
        NotSupported: the model's logits do not tell where an answer is due.
    """

    def __init__(self, binding: Binding, options: GateOptions, *, name: str) -> None:
        for what, value, known in (
            ("probe", options.probe, PROBES),
            ("strictness", options.strictness, STRICTNESS),
        ):
            if value not in known:
                raise UsageError(
                    f"There is no {what} '{value}'.", f"Choose one of: {', '.join(known)}."
                )
        self.name = name
        self._loaded = binding.loaded
        probe = None
        if options.probe == "auto":
            probe = load_probe(binding.loaded)
            require(probe.figures)
        folder = tempfile.TemporaryDirectory(prefix="revisor-eval-")
        self._ledger = Ledger.open(Path(folder.name) / "ledger.sqlite", create=True)
        self._index = FactIndex.open(self._ledger)
        self._scope = _Scope(self._index)
        weakref.finalize(self, _close, self._index, self._ledger, folder)
        self.gate = FactGate(
            view=self._scope.view,
            tokenizer=binding.loaded.tokenizer,
            encoder=encoder_named(options.encoder),
            probe=probe,
            threshold=THRESHOLDS[options.strictness],
        )

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Put facts into the ledger, in one transaction, and so into its index."""
        self._ledger.apply(map(Put, facts), actor=ACTOR, reason="measured")
        self._index.refresh()
        return []

    def undo(self, ids: Collection[str]) -> None:
        """Remove facts; unknown ids are ignored."""
        live = self._ledger.live_ids(self._ledger.generation)
        gone = [Remove(fact_id) for fact_id in sorted(live & set(ids))]
        self._ledger.apply(gone, actor=ACTOR, reason="measured")

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the facts; on exit it is the base again."""
        with attached(self._loaded.model, self._loaded.tokenizer, self.gate):
            yield

    @contextmanager
    def within(self, namespaces: Collection[str]) -> Iterator[None]:
        """Restrict look-ups to facts of these namespaces for the length of a block."""
        self._scope.namespaces = namespaces
        try:
            yield
        finally:
            self._scope.namespaces = None

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is: the facts are found in it."""
        return prompt

    def fires(self, ids: Sequence[int]) -> Fires:
        """The tokens behind which an object is begun."""
        return gate_fires(self._loaded, self.gate, ids)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the index file."""
        return len(self._index.snapshot()) if self._ledger.count() else 0


class _Scope:
    """The namespaces whose facts are found; None for all."""

    def __init__(self, index: FactIndex) -> None:
        self._index = index
        self.namespaces: Collection[str] | None = None

    def view(self) -> View:
        return self._index.view(namespaces=self.namespaces)


def _close(index: FactIndex, ledger: Ledger, folder: tempfile.TemporaryDirectory[str]) -> None:
    index.close()
    ledger.close()
    folder.cleanup()
