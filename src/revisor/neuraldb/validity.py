"""Rows in force, moment by moment: facts begin and end to hold on their own, while a model runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from threading import Lock

from revisor.facts.epochs import bounds
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.workspace import Clock, system_clock


class ValidRows:
    """The rows of a bank that are in force at each moment: those of `timed` facts are left out of
    the view at others."""

    def __init__(self, bank: Bank, timed: Iterable[Fact], clock: Clock = system_clock) -> None:
        self.bank = bank
        self.clock = clock
        self._timed = list(timed)
        self._bounds = bounds(self._timed)
        self._shown: tuple[int, View] | None = None
        self._lock = Lock()

    def view(self) -> View:
        """The rows in force now: the same object until a fact begins or ends."""
        now = self.clock()
        epoch = bisect_right(self._bounds, now)
        with self._lock:
            if self._shown is None or self._shown[0] != epoch:
                self._shown = epoch, self.at(now)
            return self._shown[1]

    def at(self, moment: datetime) -> View:
        """The rows in force at a moment."""
        return self.bank.view(
            without={fact.id for fact in self._timed if not fact.valid_at(moment)}
        )
