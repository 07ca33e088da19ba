"""Collecting banks that nobody needs: old generations, and what killed processes left.

What comes in: the folder of one model's banks, or a store. What goes out: the generations that
were removed. What it does not do: touch the history in the ledger, which stays.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from revisor.errors import UsageError
from revisor.neuraldb.bank.files import generations, recover, remove_generation
from revisor.neuraldb.bank.leases import only_writer

if TYPE_CHECKING:
    from revisor.store import Store


def collect(banks: Path, *, keep: int, pinned: Collection[int]) -> list[int]:
    """Remove all but the last `keep` generations.

    A generation that a process uses, or that a tag names, stays. The caller is the only writer.

    Args:
        pinned: generations that have a tag.
    """
    recover(banks)
    old = [number for number in generations(banks)[:-keep] if number not in pinned]
    return [number for number in old if remove_generation(banks, number)]


def collect_store(store: Store, keep: int, *, actor: str) -> list[int]:
    """See `Store.collect`, of which this is the work."""
    if keep < 1:
        raise UsageError(f"Cannot keep {keep} generations.", "Keep at least 1.")
    root = store.path / "banks"
    pinned = set(store.ledger.tags().values())
    gone: set[int] = set()
    for model in sorted(root.iterdir()) if root.is_dir() else []:
        with only_writer(model):
            gone.update(collect(model, keep=keep, pinned=pinned))
    if store.ledger.unscrubbed:
        store.ledger.scrub()
    if gone:
        store.ledger.record(
            "gc", actor=actor, generation=store.ledger.generation, removed=sorted(gone)
        )
    return sorted(gone)
