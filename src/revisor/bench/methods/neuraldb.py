"""NeuralDB as one of the methods: a bank in memory that grows with every fit (neuraldb/)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from revisor.bench.firing import bank_fires
from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Failure, Fires
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Row, View
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.rows import at_gamma, build_rows, empty_bank
from revisor.neuraldb.editing.settings import PAPER_GAMMA, BuildSettings
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.method import choose_layer


@dataclass(frozen=True, kw_only=True)
class BankOptions:
    """How the bank is built: the cosine threshold γ, and the layer, None for a swept or probed
    one."""

    gamma: float = PAPER_GAMMA
    layer: int | None = None


class BankMethod:
    """A bank that has `facts`, by id; `spared_seconds` is what borrowed rows had taken to make.
    UsageError if the model has no such layer."""

    def __init__(self, binding: Binding, options: BankOptions, *, name: str) -> None:
        layer = layer_for(binding, options)
        binding.spec.ffn_projection(layer)
        self.name = name
        self.loaded, self.spec, self.layer = binding.loaded, binding.spec, layer
        self.settings = BuildSettings(layer=layer, gamma=options.gamma)
        self.facts: dict[str, Fact] = {}
        self.spared_seconds = 0.0
        self._bank = empty_bank(self.spec)
        # By the facts of a fit: rows as they are before the check, and the seconds they took.
        self._made: dict[tuple[Fact, ...], tuple[list[Row], float]] = {}

    def borrow(self, other: BankMethod) -> bool:
        """Share unchecked rows with another editor if only γ differs, and return whether it does.

        A row is optimised without its γ, which is only the threshold of its entries. The check
        through the gate, and its repairs, depend on γ and are made anew by each.
        """
        alike = replace(other.settings, gamma=self.settings.gamma) == self.settings
        if other.loaded is not self.loaded or not alike:
            return False
        self._made = other._made
        return True

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts; returns those that are not answered through the gate."""
        self.facts |= {fact.id: fact for fact in facts}
        rows = self._rows(facts)
        for row in rows:
            self._bank.put(row)
        ids = [row.row_id for row in rows]
        return check_rows(self.loaded, self.spec, self._bank, self.facts, ids, self.settings)

    def undo(self, ids: Collection[str]) -> None:
        """Remove facts; unknown ids are ignored."""
        for fact_id in ids:
            if self.facts.pop(fact_id, None) and fact_id in self._bank:
                self._bank.drop(fact_id)

    def _rows(self, facts: Sequence[Fact]) -> list[Row]:
        """Rows of some facts, made or borrowed, before the check."""
        key = tuple({fact.id: fact for fact in facts}.values())
        if key in self._made:
            rows, seconds = self._made[key]
            self.spared_seconds += seconds
            return [at_gamma(row, self.settings.gamma) for row in rows]
        begun = time.perf_counter()
        rows = build_rows(self.loaded, self.spec, key, self.settings)
        self._made[key] = rows, time.perf_counter() - begun
        return rows

    @property
    def view(self) -> View:
        """The rows in force."""
        return self._bank.view()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the facts; on exit it is the base again, bit for bit."""
        with attach(self.spec, self.layer, self.view):
            yield

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is: the facts are in the bank."""
        return prompt

    def fires(self, ids: Sequence[int]) -> Fires:
        """The tokens at which a row fires."""
        return bank_fires(self.loaded, self.spec, self.layer, self.view, self.facts, ids)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the rows."""
        return self.view.nbytes


def layer_for(binding: Binding, options: BankOptions) -> int:
    """The layer of the options, else the one that was swept for the model, else a probed one."""
    if options.layer is not None:
        return options.layer
    return choose_layer(binding.loaded.name, binding.loaded, binding.spec)
