"""Banks that nobody needs, removed."""

from __future__ import annotations

import shutil

from revisor.neuraldb.method import Workspace as BankWorkspace
from revisor.neuraldb.method import collect_all, only_purger
from revisor.workspace import Workspace


def collect_banks(ws: Workspace, banks: BankWorkspace, keep: int) -> list[int]:
    """Remove old banks; all of them where the store's method has none.

    Returns:
        The generations of which a bank was removed.

    Raises:
        UsageError: `keep` is less than 1.
        Conflict: another process builds.
    """
    gone = collect_all(banks, keep)
    if ws.settings.method == "revisor" and ws.banks.is_dir():
        with only_purger(ws.banks):
            left = [int(path.name.split("-")[1].split(".")[0]) for path in ws.banks.glob("*/gen-*")]
            shutil.rmtree(ws.banks)
        gone = sorted({*gone, *left})
    return gone
