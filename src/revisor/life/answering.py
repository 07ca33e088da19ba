"""An engine whose facts begin and end on their own.

What comes in: a store and the rows in force. What goes out: an `Engine` that takes the view of
the moment for every call. What it does not do: decode (serve/engine.py does).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from revisor.bank.bank import View
from revisor.editing.build import row_facts
from revisor.facts.fact import Fact
from revisor.life.live import RowsInForce

if TYPE_CHECKING:
    from revisor.serve.engine import Engine
    from revisor.store import Store

REMEMBERED = 4096  # rows whose facts are kept in memory


def live_engine(store: Store, rows: RowsInForce) -> Engine:
    """An engine over these rows. Facts are read from the ledger as they are used."""
    from revisor.serve.engine import Engine

    generation = rows.bank.generation

    class LiveEngine(Engine):
        """Asks for the rows in force at every call."""

        @property
        def view(self) -> View:
            return rows.view()

        @view.setter
        def view(self, _first: View) -> None:
            """The engine sets it once; the rows in force are asked for instead."""

    @lru_cache(maxsize=REMEMBERED)
    def facts_of(row_id: str) -> list[Fact]:
        ids = row_facts(row_id)
        known = store.ledger.known(ids, generation=generation)
        return [known[fact_id] for fact_id in ids if fact_id in known]

    return LiveEngine(store.loaded, store.spec, store.settings.layer, rows.view(), facts_of)
