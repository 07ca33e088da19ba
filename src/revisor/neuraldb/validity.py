"""Rows in force, moment by moment: facts begin and end on their own, while a model runs.

What comes in: a bank, the facts in time of its generation, a clock. What goes out: the `View` of
this moment. What it does not do: rebuild anything; it only leaves rows out of the view.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Lock

from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.editing.build import row_facts
from revisor.facts.epochs import bounds, rows_in_force
from revisor.facts.fact import Fact

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The present."""
    return datetime.now(UTC)


class RowsInForce:
    """The rows of one generation of a bank, those in force at each moment.

    Args:
        bank: the generation.
        timed: its facts that hold for a part of time only.
        clock: tells the moment, as an aware datetime.
    """

    def __init__(self, bank: Bank, timed: Iterable[Fact], clock: Clock = system_clock) -> None:
        self.bank = bank
        self.clock = clock
        self._timed = {fact.id: fact for fact in timed}
        self._bounds = bounds(self._timed.values())
        self._shown: tuple[int, View] | None = None
        self._lock = Lock()
        ids = set(self._timed)
        # A row that shares a fact with one of a fact in time may have to give way to it.
        near = {i for row_id in bank.holding(ids) for i in row_facts(row_id)} | ids
        self._concerned = [(row_id, row_facts(row_id)) for row_id in bank.holding(near)]

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
        ids = {i for _, row in self._concerned for i in row}
        holding = {i for i in ids if i not in self._timed or self._timed[i].valid_at(moment)}
        chosen = set(rows_in_force([row for _, row in self._concerned], holding))
        outside = {
            row_id for index, (row_id, _) in enumerate(self._concerned) if index not in chosen
        }
        return self.bank.view(without=outside)
