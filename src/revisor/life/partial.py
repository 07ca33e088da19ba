"""Rows of a build that is not done: kept as they are made, so that a killed build goes on.

What comes in: rows by the digest of what they were made from. What goes out: those rows again.
What it does not do: publish; a build clears all of it once its generation is published.

A digest covers the recipe and the facts of one subject. So rows are found again whatever else
changed between the kill and the next build, and rows of facts that changed are not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from revisor.bank.bank import Bank, Row
from revisor.bank.files import generation_folder, generations, load_bank, read_manifest, save_bank
from revisor.errors import StoreDamaged

PARTIAL = ".partial"


def digest_of(value: Any) -> str:
    """16 hex digits that name a value by its content."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Partial:
    """The shards beside the banks of one model.

    Args:
        banks: the folder of that model's banks.
    """

    def __init__(self, banks: Path) -> None:
        self.root = banks / PARTIAL

    def save(self, rows: Mapping[str, Sequence[Row]], bank: Bank, *, fingerprint: str) -> None:
        """Write a shard: the rows of some digests, through an empty bank of their encoder."""
        found = generations(self.root)
        number = found[-1] + 1 if found else 0
        for group in rows.values():
            for row in group:
                bank.put(row, number)
        bank.generation = number
        save_bank(
            bank.view(),
            self.root,
            fingerprint=fingerprint,
            model="",
            layer=0,
            build={"rows": {name: [row.row_id for row in group] for name, group in rows.items()}},
            failed=[],
        )

    def rows(self, wanted: Collection[str]) -> dict[str, list[Row]]:
        """The rows of those digests that are there. A damaged shard counts as none."""
        found: dict[str, list[Row]] = {}
        for number in generations(self.root):
            folder = generation_folder(self.root, number)
            try:
                held = read_manifest(folder).build["rows"]
                mine = {name: ids for name, ids in held.items() if name in wanted}
                if mine:
                    bank = load_bank(folder, check=True)
                    found |= {name: [bank.get(i) for i in ids] for name, ids in mine.items()}
            except StoreDamaged:
                continue
        return found

    def clear(self) -> None:
        """Remove all shards."""
        shutil.rmtree(self.root, ignore_errors=True)
