"""Collecting banks that nobody needs: old generations, and what killed processes left.

What comes in: the folder of one model's banks. What goes out: the generations that were removed.
What it does not do: touch the ledger, whose history stays. The caller is the only writer.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from revisor.bank.files import generations, recover, remove_generation


def collect(banks: Path, *, keep: int, pinned: Collection[int]) -> list[int]:
    """Remove all but the last `keep` generations.

    A generation that a process uses, or that a tag names, stays.

    Args:
        pinned: generations that have a tag.
    """
    recover(banks)
    old = [number for number in generations(banks)[:-keep] if number not in pinned]
    return [number for number in old if remove_generation(banks, number)]
