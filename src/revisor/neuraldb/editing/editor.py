"""One way to put facts into a model, ours or another's, behind one protocol.

What comes in: a loaded model and facts. What goes out: a model that has them while it is attached.
What it does not do: measure anything (evaluate/), keep facts on disk (store.py).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from revisor.errors import NotSupported
from revisor.facts.fact import Fact, normal_form
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.editing.build import (
    BuildSettings,
    at_gamma,
    build_rows,
    empty_bank,
    row_facts,
    threshold,
)
from revisor.neuraldb.editing.calibration import Calibration, calibrate
from revisor.neuraldb.editing.check import Failure, check_rows
from revisor.neuraldb.gate.attach import attach


@runtime_checkable
class Editor(Protocol):
    """A method of editing, bound to one model.

    Attributes:
        name: the method's name on the command line.
    """

    name: str

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Add facts to those it has; called several times it edits sequentially.

        Returns:
            The facts that it knows it could not write; an empty list promises nothing.
        """

    def attached(self) -> AbstractContextManager[None]:
        """The model with the facts; on exit it is the base again, bit for bit."""

    def undo(self, ids: Collection[str]) -> None:
        """Take facts out again.

        Raises:
            NotSupported: the method cannot.
        """

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as the method hands it to the model.

        Args:
            prompt: what the user asks.
            fact: the fact it is about, for methods that are given the right one (in-context).
        """

    @property
    def stored_bytes(self) -> int:
        """What must be kept beside the base model to have the facts again."""


class GatedEditor(ABC):
    """A method whose facts are rows of a bank, read by a gate.

    Args:
        loaded, spec: the model.
        layer: whose FFN the gate sits in.
        name: the method's.

    Attributes:
        facts: those it has, by id.
    """

    def __init__(self, loaded: LoadedModel, spec: Spec, layer: int, *, name: str) -> None:
        self.name = name
        self.loaded, self.spec, self.layer = loaded, spec, layer
        self.facts: dict[str, Fact] = {}

    @property
    @abstractmethod
    def view(self) -> View | None:
        """The rows in force; None before the first fact."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        view = self.view
        if view is None:
            yield
            return
        with attach(self.loaded.model, self.spec, self.layer, view):
            yield

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        return prompt

    @property
    def stored_bytes(self) -> int:
        view = self.view
        return 0 if view is None else view.nbytes


class BuiltEditor(GatedEditor):
    """A bank that is there already: it is read as it is, and never edited.

    Args:
        loaded, spec, layer: the model that it was built for.
        view: its rows.
        facts: those that it is to answer with, reversed ones among them.
        failed: ids of facts of which the build knows that it could not write them.
        seal: what names the rows in force.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        layer: int,
        view: View,
        facts: Iterable[Fact],
        *,
        failed: Collection[str],
        seal: str,
        name: str = "store",
    ) -> None:
        super().__init__(loaded, spec, layer, name=name)
        self._view, self.seal = view, seal
        self.facts = {fact.id: fact for fact in facts}
        rowed = {i for row_id in view.ids for i in row_facts(row_id)}
        self.failed = (self.facts.keys() - rowed) | (self.facts.keys() & set(failed))

    @property
    def view(self) -> View:
        return self._view

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        raise NotSupported(
            "A bank that is built takes no facts here.", "Add them to its store: revisor add"
        )

    def undo(self, ids: Collection[str]) -> None:
        raise NotSupported(
            "No fact is taken out of a built bank here.", "Remove it from its store: revisor rm"
        )


class BankEditor(GatedEditor):
    """Our own: rows in a bank that grows with every fit.

    Args:
        loaded, spec: the model.
        settings: how facts become rows.
        name: `revisor`, or `neuraldb` for the method as published.
        calibration: of that layer; made here if None.

    Attributes:
        spared_seconds: what rows that were borrowed had taken to make.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        settings: BuildSettings,
        *,
        name: str = "revisor",
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(loaded, spec, settings.layer, name=name)
        self.settings = settings
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
        self.facts |= {fact.id: fact for fact in facts}
        return self._rebuild({normal_form(fact.subject) for fact in facts})

    def undo(self, ids: Collection[str]) -> None:
        gone = [self.facts.pop(fact_id) for fact_id in ids if fact_id in self.facts]
        self._rebuild({normal_form(fact.subject) for fact in gone})

    def _rebuild(self, subjects: Collection[str]) -> list[Failure]:
        """Make the rows of some subjects anew; all others stay."""
        mine = [f for f in self.facts.values() if normal_form(f.subject) in subjects]
        rows = self._rows(mine)
        if self._bank is None:
            if not rows:
                return []
            self._bank = empty_bank(self.spec, self.calibration, self.settings)
        bank = self._bank
        kept = {fact.id for fact in mine}
        for row_id in list(bank.ids):
            if not set(row_facts(row_id)) <= self.facts.keys() or kept & set(row_facts(row_id)):
                bank.drop(row_id, 1)
        for row in rows:
            bank.put(row, 1)
        return check_rows(
            self.loaded,
            self.spec,
            bank,
            self.facts,
            [row.row_id for row in rows],
            self.settings,
            1,
        )

    def _rows(self, facts: Sequence[Fact]) -> list[Row]:
        """Rows of some facts, made or borrowed, not yet checked."""
        key = tuple(facts)
        if key in self._made:
            rows, seconds = self._made[key]
            self.spared_seconds += seconds
            gamma = threshold(self.calibration, self.settings)
            return [at_gamma(row, gamma) for row in rows]
        begun = time.perf_counter()
        rows = build_rows(self.loaded, self.spec, self.calibration, key, self.settings).rows
        self._made[key] = rows, time.perf_counter() - begun
        return rows

    @property
    def view(self) -> View | None:
        return None if self._bank is None else self._bank.view()
