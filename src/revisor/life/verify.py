"""Whether a store is as it was written: its settings, its ledger, every file of its banks.

What comes in: a store. What goes out: faults, each naming a file or a row. What it does not do:
mend anything, or need a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from revisor.errors import RevisorError
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.manifest import hash_faults, read_manifest

if TYPE_CHECKING:
    from revisor.store import Store


def store_faults(store: Store) -> list[str]:
    """Everything wrong with the store; empty if it is whole."""
    return [*_settings_faults(store), *store.ledger.verify(), *_bank_faults(store)]


def _settings_faults(store: Store) -> Iterator[str]:
    """Whether store.toml is the one that was last noted in the audit."""
    for event in store.ledger.events():
        noted = event.details.get("settings")
        if noted is not None:
            if noted != store.settings_digest():
                yield (
                    f"{store.path / 'store.toml'} was changed since {event.at}. If that was meant, "
                    "`revisor build` takes it over."
                )
            return


def _bank_faults(store: Store) -> Iterator[str]:
    root = store.path / "banks"
    hashes: dict[int, str] | None = None
    for model in sorted(root.iterdir()) if root.is_dir() else []:
        for generation in generations(model):
            folder = generation_folder(model, generation)
            try:
                yield from hash_faults(folder)
                anchor: Any = read_manifest(folder).build.get("audit")
            except RevisorError as error:
                yield error.message
                continue
            if anchor and anchor[0]:
                if hashes is None:
                    hashes = {event.seq: event.hash for event in store.ledger.events()}
                if hashes.get(anchor[0]) != anchor[1]:
                    yield f"{folder} was built over another history than the ledger's: audit."
