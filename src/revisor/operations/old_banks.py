"""The banks that version 0.1 left in a store whose method has none."""

from __future__ import annotations

import shutil
from pathlib import Path

from revisor.errors import CannotWrite, UsageError
from revisor.neuraldb.method import only_purger
from revisor.workspace import Workspace


def collect_unneeded(ws: Workspace, keep: int) -> list[int]:
    """Remove them.

    Returns:
        The generations of which a bank was removed.
    """
    if keep < 1:
        raise UsageError(f"Cannot keep {keep} generations.", "Keep at least 1.")
    with only_purger(ws.banks):
        folders = remove_banks(ws)
    numbers = (folder.name.removeprefix("gen-").partition(".")[0] for folder in folders)
    return sorted({int(number) for number in numbers if number.isdigit()})


def remove_banks(ws: Workspace) -> list[Path]:
    """Remove them; the caller is the only writer.

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
