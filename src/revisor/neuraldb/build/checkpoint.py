"""Rows of a build that is not done: kept as they are made, so that a killed build goes on.

A row is found again by a digest of the recipe and its fact, whatever else changed between the kill
and the next build; the row of a fact that changed is not. A build clears all of it once its
generation is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from revisor.errors import StoreDamaged
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, save_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.view import Row
from revisor.neuraldb.build.shards import ShardResult

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class CheckpointedRow:
    """A row on disk.

    Attributes:
        folder: the shard it is in.
        row_id: its id.
    """

    folder: Path
    row_id: str


class Checkpoint:
    """The shards beside the banks of one model.

    Args:
        banks: the folder of that model's banks.
    """

    def __init__(self, banks: Path) -> None:
        self.root = banks / PARTIAL
        self._next: int | None = None
        self._opened: tuple[Path, Bank] | None = None

    def row(self, place: CheckpointedRow) -> Row:
        """A row, read from disk. One shard is open at a time: of ten million facts there are more
        than may be."""
        if self._opened is None or self._opened[0] != place.folder:
            self._opened = place.folder, load_bank(place.folder)
        return self._opened[1].get(place.row_id)

    def save(
        self, result: ShardResult, *, fingerprint: str, bits: int
    ) -> dict[str, CheckpointedRow]:
        """Write a shard's rows as a bank stores them; by digest, where they are now.

        The encoder of their keys is left out: it may be larger than a shard.
        """
        if self._next is None:
            self._next = max(generations(self.root), default=-1) + 1
        number, self._next = self._next, self._next + 1
        rows = list(result.rows.values())
        bank = Bank(
            encoder=KeyEncoder(),
            key_width=rows[0].keys_CE.shape[1] if rows else 0,
            hidden_width=len(rows[0].r_D) if rows else 0,
            bits=bits,
        )
        for row in rows:
            bank.put(row)
        bank.generation = number
        ids = {digest: row.row_id for digest, row in result.rows.items()}
        folder = save_bank(
            bank.view(),
            self.root,
            fingerprint=fingerprint,
            model="",
            layer=0,
            build={"rows": ids},
            failed=[],
        )
        return _places(folder, ids)

    def find(self, digests: Collection[str]) -> dict[str, CheckpointedRow]:
        """The rows of those digests that are there. A damaged shard counts as none."""
        found: dict[str, CheckpointedRow] = {}
        for number in generations(self.root):
            folder = generation_folder(self.root, number)
            try:
                ids = read_manifest(folder).build["rows"]
                mine = {digest: row_id for digest, row_id in ids.items() if digest in digests}
                if mine:
                    load_bank(folder, check=True)
                    found |= _places(folder, mine)
            except StoreDamaged:
                continue
        return found

    def clear(self) -> None:
        """Remove all shards."""
        shutil.rmtree(self.root, ignore_errors=True)


def _places(folder: Path, ids: Mapping[str, str]) -> dict[str, CheckpointedRow]:
    return {digest: CheckpointedRow(folder=folder, row_id=row_id) for digest, row_id in ids.items()}
