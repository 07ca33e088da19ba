"""Files and folders for the user alone: what a store keeps may be secret.

What is there already keeps its mode, so that its owner may open it to others.
"""

from __future__ import annotations

import os
from pathlib import Path


def private(path: str | Path, flags: int) -> int:
    """An `opener` for `open`: a file that is made by it is its user's to read and write."""
    return os.open(path, flags, 0o600)


def make_private(folder: Path) -> None:
    """Make a folder that its user alone may enter, and those that it is in where they are missing.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
