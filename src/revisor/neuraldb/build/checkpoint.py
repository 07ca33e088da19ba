"""Rows of a build that is not done: kept as they are made, so that a killed build goes on.

What comes in: rows by the digest of what they were made from. What goes out: those rows again.
What it does not do: publish; a build clears all of it once its generation is published.

A digest covers the recipe and the facts of one subject. So rows are found again whatever else
changed between the kill and the next build, and rows of facts that changed are not.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, save_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.errors import StoreDamaged
from revisor.neuraldb.build.shards import Made

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class Held:
    """Rows on disk, read when they are asked for.

    Attributes:
        partial: whose they are.
        folder: the shard they are in.
        ids: theirs.
        answering: see `Made`.
    """

    partial: Partial
    folder: Path
    ids: Sequence[str]
    answering: frozenset[str]

    def rows(self) -> list[Row]:
        """Them, in the order they were made."""
        bank = self.partial.opened(self.folder)
        return [bank.get(row_id) for row_id in self.ids]


class Partial:
    """The shards beside the banks of one model.

    Args:
        banks: the folder of that model's banks.
    """

    def __init__(self, banks: Path) -> None:
        self.root = banks / PARTIAL
        self._next: int | None = None
        self._opened: tuple[Path, Bank] | None = None

    def opened(self, folder: Path) -> Bank:
        """A shard. One is open at a time: of ten million facts there are more than may be."""
        if self._opened is None or self._opened[0] != folder:
            self._opened = folder, load_bank(folder)
        return self._opened[1]

    def save(self, made: Made, *, fingerprint: str, named: bool, bits: int) -> dict[str, Held]:
        """Write a shard: the rows of some digests, as a bank stores them; where they are now.

        The encoder of their keys is left out: it is larger than a shard.
        """
        rows = made.rows
        if self._next is None:
            self._next = max(generations(self.root), default=-1) + 1
        number, self._next = self._next, self._next + 1
        flat = [row for group in rows.values() for row in group]
        bank = Bank(
            encoder=KeyEncoder(),
            key_width=flat[0].keys_CE.shape[1] if flat else 0,
            hidden_width=len(flat[0].r_D) if flat else 0,
            named=named,
            bits=bits,
        )
        for row in flat:
            bank.put(row, number)
        bank.generation = number
        ids = {name: [row.row_id for row in group] for name, group in rows.items()}
        folder = save_bank(
            bank.view(),
            self.root,
            fingerprint=fingerprint,
            model="",
            layer=0,
            build={"rows": ids, "answering": sorted(made.answering)},
            failed=[],
        )
        return self._held(folder, ids, made.answering)

    def rows(self, wanted: Collection[str]) -> dict[str, Held]:
        """The rows of those digests that are there. A damaged shard counts as none."""
        found: dict[str, Held] = {}
        for number in generations(self.root):
            folder = generation_folder(self.root, number)
            try:
                build = read_manifest(folder).build
                mine = {name: ids for name, ids in build["rows"].items() if name in wanted}
                if mine:
                    load_bank(folder, check=True)
                    found |= self._held(folder, mine, build.get("answering", ()))
            except StoreDamaged:
                continue
        return found

    def _held(
        self, folder: Path, ids: Mapping[str, Sequence[str]], answering: Collection[str]
    ) -> dict[str, Held]:
        every = frozenset(answering)
        return {
            name: Held(partial=self, folder=folder, ids=mine, answering=every.intersection(mine))
            for name, mine in ids.items()
        }

    def clear(self) -> None:
        """Remove all shards."""
        shutil.rmtree(self.root, ignore_errors=True)
