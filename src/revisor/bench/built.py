"""What a store answers with, measured as it is: its live facts, or the bank that it has built."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property

from revisor.bench.firing import bank_fires, gate_fires
from revisor.bench.protocol import Failure, Fires
from revisor.errors import NotSupported, UsageError
from revisor.facts.fact import Fact
from revisor.gate.gate import FactGate
from revisor.models.load import LoadedModel
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.files import generation_folder
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.method import open_bank, valid_rows
from revisor.store import Store

NAME = "store"


class BuiltEditor(ABC):
    """A store as one of the methods; it is never edited, and must stay open meanwhile.

    `facts`, by id, are those that it is to answer with, reversed ones included; `failed` are those
    known not to have been written. `layer` is that of the gate, None where it is at the output.
    """

    name = NAME
    layer: int | None = None

    def __init__(self, store: Store, facts: Iterable[Fact], failed: Collection[str] = ()) -> None:
        self.store = store
        self.facts = {fact.id: fact for fact in facts}
        self.failed = self.facts.keys() & set(failed)

    @property
    def loaded(self) -> LoadedModel:
        """The store's model."""
        return self.store.loaded

    @property
    @abstractmethod
    def seal(self) -> str:
        """A name for what is measured."""

    @abstractmethod
    def attached(self) -> AbstractContextManager[None]:
        """The model with the facts."""

    @abstractmethod
    def fires(self, ids: Sequence[int]) -> Fires:
        """What the gate does in a text."""

    @property
    @abstractmethod
    def stored_bytes(self) -> int:
        """Bytes that the facts take beside the model."""

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Raises `NotSupported`."""
        raise NotSupported(
            "A store takes no facts while it is measured.", "Add them before: revisor add"
        )

    def undo(self, ids: Collection[str]) -> None:
        """Raises `NotSupported`."""
        raise NotSupported(
            "No fact is taken out of a store while it is measured.", "Do it before: revisor rm"
        )

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is."""
        return prompt


class LiveFacts(BuiltEditor):
    """The live facts of a store of the method `revisor`, of one generation and moment."""

    def __init__(self, store: Store) -> None:
        self._generation, self._now = store.ledger.live_generation(), store.workspace.clock()
        super().__init__(store, store.ledger.facts(at=self._now, generation=self._generation))

    @cached_property
    def gate(self) -> FactGate:
        """The gate over the live facts."""
        return self.store.gate(generation=self._generation, moment=self._now)

    @property
    def seal(self) -> str:
        digest = hashlib.sha256()
        for fact in self.facts.values():
            digest.update(repr(fact).encode())
        return digest.hexdigest()[:16]

    @contextmanager
    def attached(self) -> Iterator[None]:
        from revisor.engines.transformers import attached

        with attached(self.loaded.model, self.loaded.tokenizer, self.gate):
            yield

    def fires(self, ids: Sequence[int]) -> Fires:
        return gate_fires(self.loaded, self.gate, ids)

    @property
    def stored_bytes(self) -> int:
        return len(self.store.index.snapshot(generation=self._generation))


class BuiltBank(BuiltEditor):
    """The bank that a store of the method `neuraldb` has built, its rows in force now."""

    def __init__(self, store: Store) -> None:
        ws = store.bank_workspace
        bank, lease = open_bank(ws)
        try:
            now = ws.clock()
            self.view: View = valid_rows(ws, bank).at(now)
            manifest = read_manifest(generation_folder(ws.banks, bank.generation))
            facts = list(ws.ledger.facts(at=now, generation=bank.generation))
        finally:
            lease.close()
        failed = [entry["id"] for entry in manifest.failed]
        super().__init__(store, facts, failed)
        self.failed |= self.facts.keys() - set(self.view.ids)
        self.generation, self.layer, self.spec = bank.generation, ws.settings.layer, ws.spec
        self._seal = _digest([manifest.seal, list(self.facts)])

    @property
    def seal(self) -> str:
        return self._seal

    @contextmanager
    def attached(self) -> Iterator[None]:
        assert self.layer is not None
        with attach(self.spec, self.layer, self.view):
            yield

    def fires(self, ids: Sequence[int]) -> Fires:
        assert self.layer is not None
        return bank_fires(self.loaded, self.spec, self.layer, self.view, self.facts, ids)

    @property
    def stored_bytes(self) -> int:
        return self.view.nbytes


def built_of(store: Store) -> BuiltEditor:
    """What a store answers with now.

    Raises:
        UsageError: none of its facts is in force.
        NotBuilt: a store of the method `neuraldb` has no bank.
    """
    built = LiveFacts(store) if store.settings.method == "revisor" else BuiltBank(store)
    if not built.facts:
        raise UsageError(
            f"No fact of the store {store.path} is in force.", "Add some: revisor add FILE"
        )
    return built


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
