"""Banks that nobody needs, removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from revisor.errors import CannotWrite, UsageError
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
        CannotWrite: a bank may not be removed.
    """
    if ws.settings.method == "neuraldb":
        return collect_all(banks, keep)
    if keep < 1:
        raise UsageError(f"Cannot keep {keep} generations.", "Keep at least 1.")
    with only_purger(ws.banks):
        folders = remove_banks(ws)
    numbers = (folder.name.removeprefix("gen-").partition(".")[0] for folder in folders)
    return sorted({int(number) for number in numbers if number.isdigit()})


def remove_banks(ws: Workspace) -> list[Path]:
    """Remove the banks that version 0.1 left in a store whose method has none. The caller is the
    only writer.

    Returns:
        The folders of generations that were there.
    """
    folders = sorted(ws.banks.glob("*/gen-*"))
    try:
        if ws.banks.is_dir():
            shutil.rmtree(ws.banks)
    except OSError as error:
        raise CannotWrite(
            f"{error.filename or ws.banks} cannot be removed: {error.strerror}.",
            "Have somebody run it who may write there.",
        ) from error
    return folders
