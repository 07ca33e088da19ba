"""Existing banks: removed when nobody needs them, verified, written anew without a fact."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from revisor.errors import NotBuilt, RevisorError, UsageError
from revisor.neuraldb.bank.files import (
    generation_folder,
    generations,
    load_bank,
    recover,
    remove_generation,
    save_bank,
)
from revisor.neuraldb.bank.leases import only_writer
from revisor.neuraldb.bank.manifest import hash_faults, read_manifest
from revisor.neuraldb.bank.storage import INDEX
from revisor.neuraldb.build.checkpoint import Checkpoint
from revisor.neuraldb.workspace import Workspace


def collect(banks: Path, *, keep: int, pinned: Collection[int]) -> list[int]:
    """Remove all but the last `keep` generations of one model's banks, and what killed processes
    left, but none that is pinned or in use. The caller is the only writer."""
    recover(banks)
    old = [number for number in generations(banks)[:-keep] if number not in pinned]
    return [number for number in old if remove_generation(banks, number)]


def collect_all(ws: Workspace, keep: int) -> list[int]:
    """Remove all but the last `keep` generations of each model's banks; returns those removed.

    A generation that is in use, tagged or live stays. No model is opened, and the ledger's history
    is not touched.

    Raises:
        UsageError: `keep` is less than 1.
        Conflict: another process builds or purges.
    """
    if keep < 1:
        raise UsageError(f"Cannot keep {keep} generations.", "Keep at least 1.")
    pinned = {*ws.ledger.tags().values(), ws.ledger.live_generation()}
    gone: set[int] = set()
    for banks in _models(ws.root):
        with only_writer(banks):
            gone.update(collect(banks, keep=keep, pinned=pinned))
    return sorted(gone)


def bank_faults(ws: Workspace) -> Iterator[str]:
    """Everything wrong with the banks of all models, none of which is opened: files that were
    changed or are missing, banks that were built over another history than the ledger's."""
    hashes: dict[int, str] | None = None
    for banks in _models(ws.root):
        for generation in generations(banks):
            folder = generation_folder(banks, generation)
            try:
                yield from hash_faults(folder)
                anchor: Any = read_manifest(folder).build.get("audit")
            except RevisorError as error:
                yield error.message
                continue
            if anchor and anchor[0]:
                if hashes is None:
                    hashes = {event.seq: event.hash for event in ws.ledger.events()}
                if hashes.get(anchor[0]) != anchor[1]:
                    yield f"{folder} was built over another history than the ledger's: audit."


@contextmanager
def only_purger(root: Path) -> Iterator[None]:
    """Lock out other processes that change any bank under `root`, for a block; Conflict if one
    does."""
    with ExitStack() as locks:
        for banks in _models(root):
            locks.enter_context(only_writer(banks))
        yield


def purge_rows(root: Path, fact_ids: Collection[str]) -> list[Path]:
    """Publish every bank under `root` again that holds one of the facts, without its row and what a
    killed build left; returns the folders written, or raises CannotWrite. The caller is the only
    writer (`only_purger`)."""
    return [folder for banks in _models(root) for folder in _purge_model(banks, set(fact_ids))]


def _purge_model(banks: Path, ids: set[str]) -> Iterator[Path]:
    recover(banks)
    Checkpoint(banks).clear()
    for number in generations(banks):
        folder = generation_folder(banks, number)
        try:
            manifest = read_manifest(folder)
        except NotBuilt:  # of an earlier revisor: nobody can read it any more
            shutil.rmtree(folder)
            continue
        failed = [entry for entry in manifest.failed if entry["id"] not in ids]
        bank = load_bank(folder)
        # Rows that are no more lie in a file that was linked as they did.
        held = bank.remembers(ids)
        for row_id in bank.present(ids):
            bank.drop(row_id)
        if not held and len(failed) == len(manifest.failed):
            continue
        build = manifest.build
        if INDEX in manifest.files and bank.index is None:
            build = build | {"search": {"kind": "exact"}}  # an index knows all keys it was made of
        yield save_bank(
            bank,
            banks,
            fingerprint=manifest.fingerprint,
            model=manifest.model,
            layer=manifest.layer,
            build=build,
            failed=failed,
            whole=True,
        )


def _models(root: Path) -> list[Path]:
    """The folders of banks, one for each model."""
    return [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
