"""Rows of a build that is not done: kept as they are made, so that a killed build goes on.

A row is found again by a digest of the recipe and its fact, whatever else changed between the kill
and the next build; the row of a fact that changed is not. A build clears all of it once its
generation is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from revisor.errors import StoreDamaged
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, save_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.build.shards import Rows

PARTIAL = ".partial"


class Checkpoint:
    """The shards beside the banks of one model."""

    def __init__(self, banks: Path) -> None:
        self.root = banks / PARTIAL

    def save(self, rows: Rows) -> None:
        """Write the rows of a shard."""
        some = next(iter(rows.values()))
        bank = Bank(key_width=some.keys_CE.shape[1], hidden_width=len(some.r_D))
        for row in rows.values():
            bank.put(row)
        bank.generation = max(generations(self.root), default=-1) + 1
        ids = {digest: row.row_id for digest, row in rows.items()}
        save_bank(
            bank, self.root, fingerprint="", model="", layer=0, build={"rows": ids}, failed=[]
        )

    def find(self, digests: Collection[str]) -> dict[str, Row]:
        """The rows of those digests that are there. A damaged shard counts as none."""
        found: dict[str, Row] = {}
        for number in generations(self.root):
            folder = generation_folder(self.root, number)
            try:
                ids = read_manifest(folder).build["rows"]
                mine = {digest: row_id for digest, row_id in ids.items() if digest in digests}
                if mine:
                    bank = load_bank(folder, check=True)
                    found |= {digest: bank.get(row_id) for digest, row_id in mine.items()}
            except StoreDamaged:
                continue
        return found

    def clear(self) -> None:
        """Remove all shards."""
        shutil.rmtree(self.root, ignore_errors=True)
