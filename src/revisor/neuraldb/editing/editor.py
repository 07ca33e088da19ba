"""A bank that grows: facts written into a model, taken out again, without a store."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.view import Row, View
from revisor.neuraldb.editing.calibration import Calibration, calibrate
from revisor.neuraldb.editing.check import Failure, check_rows
from revisor.neuraldb.editing.rows import at_gamma, build_rows, empty_bank
from revisor.neuraldb.editing.settings import BuildSettings
from revisor.neuraldb.gate.attach import attach


class BankEditor:
    """NeuralDB as published: rows in a bank that grows with every fit.

    Args:
        loaded, spec: the model.
        settings: how facts become rows.
        name: the method's.
        calibration: of that layer; made here if None.

    Attributes:
        name, loaded, spec: as given.
        layer: whose FFN the gate sits in.
        facts: those it has, by id.
        spared_seconds: what rows that were borrowed had taken to make.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        settings: BuildSettings,
        *,
        name: str = "neuraldb",
        calibration: Calibration | None = None,
    ) -> None:
        self.name = name
        self.loaded, self.spec, self.layer = loaded, spec, settings.layer
        self.settings = settings
        self.facts: dict[str, Fact] = {}
        self.calibration = calibration or calibrate(
            loaded, spec, settings.layer, whiten=settings.whiten
        )
        self._bank: Bank | None = None
        self.spared_seconds = 0.0
        # By the facts of a fit: rows as they are before the check, and the seconds they took.
        self._made: dict[tuple[Fact, ...], tuple[list[Row], float]] = {}

    def borrow(self, other: BankEditor) -> bool:
        """Share unchecked rows with another editor, if the two differ in γ alone.

        A row is optimised without its γ, which is only the threshold of its entries. The check
        through the gate, and the repairs it makes, depend on γ and are made anew by each.

        Returns:
            Whether they do.
        """
        alike = replace(other.settings, gamma=self.settings.gamma) == self.settings
        if other.loaded is not self.loaded or not alike:
            return False
        self.calibration, self._made = other.calibration, other._made
        return True

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts to those it has.

        Returns:
            Those that are not answered through the gate.
        """
        self.facts |= {fact.id: fact for fact in facts}
        rows = self._rows(facts)
        if self._bank is None:
            if not rows:
                return []
            self._bank = empty_bank(self.spec, self.calibration, self.settings)
        for row in rows:
            self._bank.put(row, 1)
        ids = [row.row_id for row in rows]
        return check_rows(self.loaded, self.spec, self._bank, self.facts, ids, self.settings, 1)

    def undo(self, ids: Collection[str]) -> None:
        """Take facts out again; ids that it does not have are passed over."""
        for fact_id in ids:
            if self.facts.pop(fact_id, None) and self._bank is not None and fact_id in self._bank:
                self._bank.drop(fact_id, 1)

    def _rows(self, facts: Sequence[Fact]) -> list[Row]:
        """Rows of some facts, made or borrowed, not yet checked."""
        key = tuple({fact.id: fact for fact in facts}.values())
        if key in self._made:
            rows, seconds = self._made[key]
            self.spared_seconds += seconds
            gamma = self.settings.threshold(self.calibration)
            return [at_gamma(row, gamma) for row in rows]
        begun = time.perf_counter()
        rows = build_rows(self.loaded, self.spec, self.calibration, key, self.settings).rows
        self._made[key] = rows, time.perf_counter() - begun
        return rows

    @property
    def view(self) -> View | None:
        """The rows in force; None before the first fact."""
        return None if self._bank is None else self._bank.view()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the facts; on exit it is the base again, bit for bit."""
        view = self.view
        if view is None:
            yield
            return
        with attach(self.spec, self.layer, view):
            yield

    @property
    def stored_bytes(self) -> int:
        """What the rows take."""
        view = self.view
        return 0 if view is None else view.nbytes
