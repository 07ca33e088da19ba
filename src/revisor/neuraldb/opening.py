"""Opening the bank of the live generation: attached to a model, or behind an engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NoReturn

from revisor.errors import CannotWrite, NotBuilt, WrongModel
from revisor.facts.fact import Fact
from revisor.models.load import left_as_it_was
from revisor.neuraldb.answers import Engine
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST
from revisor.neuraldb.gate.attach import Gated, attach
from revisor.neuraldb.gate.watch import Watch
from revisor.neuraldb.validity import ValidRows
from revisor.neuraldb.workspace import Workspace

OPENINGS = 5  # tries to open the newest bank while others publish and collect
REMEMBERED = 4096  # facts that an engine keeps in memory

_log = logging.getLogger(__name__)


def built_generation(ws: Workspace) -> int | None:
    """The generation of the bank that is opened: the newest up to the live one; None without."""
    live = ws.ledger.live_generation()
    return max((number for number in generations(ws.banks) if number <= live), default=None)


def stale(ws: Workspace) -> bool:
    """Whether the live generation is another than the bank's."""
    return built_generation(ws) != ws.ledger.live_generation()


def open_bank(ws: Workspace) -> tuple[Bank, Lease]:
    """The bank of the live generation, or the newest before it, checked against its hashes, and a
    lease that keeps it on disk until closed.

    Raises:
        NotBuilt: there is none yet.
        WrongModel: there are only banks of other models.
        StoreDamaged: it cannot be read, or was changed.
    """
    for _ in range(OPENINGS):
        newest = built_generation(ws)
        if newest is None:
            _explain_missing(ws)
        folder = generation_folder(ws.banks, newest)
        try:
            lease = Lease(folder / MANIFEST)
        except FileNotFoundError:
            if folder.is_dir():
                load_bank(folder)  # without a manifest it is no bank: tells so
            continue  # it was collected, or published again, at this moment
        try:
            return load_bank(folder, fingerprint=ws.fingerprint, check=True), lease
        except BaseException:
            lease.close()
            if folder.is_dir():
                raise
    raise NotBuilt("The banks change faster than they can be opened.", "Try again.")


def _explain_missing(ws: Workspace) -> NoReturn:
    folders = sorted(ws.root.iterdir()) if ws.root.is_dir() else []
    others = [path.name for path in folders if path != ws.banks and generations(path)]
    if others and not generations(ws.banks):
        raise WrongModel(
            f"The banks in this store ({', '.join(others)}) were built for another model, "
            f"tokenizer, layer or dtype than the one at hand ({ws.fingerprint}).",
            "Run: revisor build",
        )
    if generations(ws.banks):
        raise NotBuilt(
            f"There is no bank of generation {ws.ledger.live_generation()}, which is live, nor of "
            "one before it.",
            "Run: revisor build",
        )
    count = ws.ledger.count()
    raise NotBuilt(
        f"This store was never built; it holds {count} fact(s).",
        "Run: revisor build" if count else "Add facts first: revisor add FILE",
    )


def valid_rows(ws: Workspace, bank: Bank) -> ValidRows:
    """The rows of a bank that are in force at each moment."""
    return ValidRows(bank, ws.ledger.timed(generation=bank.generation), ws.clock)


@contextmanager
def attached(
    ws: Workspace, model: Any = None, tokenizer: Any = None, *, watch: Watch | None = None
) -> Iterator[Gated]:
    """Give a model, by default the workspace's, the bank's facts for a block, as they hold at each
    moment; errors as of `open_bank`.

    A user's model must be the one that the bank was built for; after the block it is as it was, its
    training mode and gradients included.
    """
    if model is not None:
        with left_as_it_was(model), attached(ws.with_model(model, tokenizer), watch=watch) as gated:
            yield gated
        return
    bank, lease = open_bank(ws)
    try:
        rows = valid_rows(ws, bank)
        note_load(ws, bank)
        layer = ws.settings.layer
        with attach(ws.spec, layer, rows.view(), watch=watch, follow=rows.view) as gated:
            yield gated
    finally:
        lease.close()


def note_load(ws: Workspace, bank: Bank) -> None:
    """Note in the audit that a model has these facts now."""
    try:
        ws.ledger.record("load", actor="", generation=bank.generation, fingerprint=ws.fingerprint)
    except CannotWrite as error:  # a store that may only be read still answers
        _log.warning("The load was not recorded: %s", error.message)


def engine(ws: Workspace) -> tuple[Engine, Lease]:
    """An engine over the bank, with the facts that hold at each moment, and the lease that keeps
    the bank on disk: close it after use. Errors as of `open_bank`."""
    bank, lease = open_bank(ws)
    note_load(ws, bank)

    @lru_cache(maxsize=REMEMBERED)
    def fact_of(row_id: str) -> Fact | None:
        return ws.ledger.known([row_id], generation=bank.generation).get(row_id)

    rows = valid_rows(ws, bank)
    return Engine(ws.loaded, ws.spec, ws.settings.layer, rows.view, fact_of), lease
