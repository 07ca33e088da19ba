"""Opening the newest bank for a model: attached to it, or behind an engine.

What comes in: a store, and perhaps a model of the user's. What goes out: that model with the facts
that hold at each moment, or an `Engine`. What it does not do: decode (serve/engine.py does), or
choose what holds (live.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from revisor.errors import CannotWrite, NotBuilt, WrongModel
from revisor.facts.fact import Fact
from revisor.models.load import left_as_it_was, wrap_model
from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST
from revisor.neuraldb.build.live import RowsInForce
from revisor.neuraldb.editing.build import row_facts
from revisor.neuraldb.gate.attach import Gated, attach
from revisor.neuraldb.gate.watch import Watch

if TYPE_CHECKING:
    from revisor.serve.engine import Engine
    from revisor.store import Store

OPENINGS = 5  # tries to open the newest bank while others publish and collect
REMEMBERED = 4096  # rows whose facts an engine keeps in memory
_BOUND = ("loaded", "spec", "fingerprint")

_log = logging.getLogger(__name__)


def open_bank(store: Store) -> tuple[Bank, Lease]:
    """The newest bank, each file held against its hash, and a lease that keeps it on disk.

    Raises:
        NotBuilt, WrongModel, StoreDamaged: see `Store.bank`.
    """
    for _ in range(OPENINGS):
        newest = store.built_generation()
        if newest is None:
            _explain_missing(store)
        folder = generation_folder(store.banks, newest)
        try:
            lease = Lease(folder / MANIFEST)
        except FileNotFoundError:
            if folder.is_dir():
                load_bank(folder)  # without a manifest it is no bank: tells so
            continue  # it was collected, or published again, at this moment
        try:
            return load_bank(folder, fingerprint=store.fingerprint, check=True), lease
        except BaseException:
            lease.close()
            if folder.is_dir():
                raise
    raise NotBuilt("The banks change faster than they can be opened.", "Try again.")


def _explain_missing(store: Store) -> NoReturn:
    root = store.path / "banks"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    if others := [path.name for path in folders if generations(path)]:
        raise WrongModel(
            f"The banks in this store ({', '.join(others)}) were built for another model, "
            f"tokenizer, layer or dtype than the one at hand ({store.fingerprint}).",
            "Run: revisor build",
        )
    count = store.ledger.count()
    raise NotBuilt(
        f"This store was never built; it holds {count} fact(s).",
        "Run: revisor build" if count else "Add facts first: revisor add FILE",
    )


@contextmanager
def attached(store: Store, model: Any, tokenizer: Any, watch: Watch | None) -> Iterator[Gated]:
    """See `Store.attached`, of which this is the work."""
    with _bound_to(store, model, tokenizer):
        bank, lease = open_bank(store)
        try:
            rows = store.rows_in_force(bank)
            note_load(store, bank)
            with attach(
                store.loaded.model,
                store.spec,
                store.settings.layer,
                rows.view(),
                watch=watch,
                follow=rows.view,
            ) as gated:
                yield gated
        finally:
            lease.close()


@contextmanager
def _bound_to(store: Store, model: Any, tokenizer: Any) -> Iterator[None]:
    """Have the store work with a model of the user's for the length of a block."""
    if model is None:
        yield
        return
    tokenizer = tokenizer or store.loaded.tokenizer
    own = {name: store.__dict__.pop(name) for name in _BOUND if name in store.__dict__}
    try:
        with left_as_it_was(model):
            store.__dict__["loaded"] = wrap_model(store.settings.model, model, tokenizer)
            yield
    finally:
        for name in _BOUND:
            store.__dict__.pop(name, None)
        store.__dict__.update(own)


def note_load(store: Store, bank: Bank) -> None:
    """Append to the audit that a model has these facts now."""
    try:
        store.ledger.record(
            "load", actor="", generation=bank.generation, fingerprint=store.fingerprint
        )
    except CannotWrite as error:  # a store that may only be read still answers
        _log.warning("The load was not recorded: %s", error.message)


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
