"""Files and folders for the user alone, since what a store keeps may be secret, written whole.

What is there already keeps its mode, so that its owner may open it to others.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from revisor.errors import CannotWrite


def private(path: str | Path, flags: int) -> int:
    """An `opener` for `open`: a file that is made by it is its user's to read and write."""
    return os.open(path, flags, 0o600)


def make_private(folder: Path) -> None:
    """Make a folder that its user alone may enter, and those above it where they are missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def sha256_of(file: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def writing(what: str, hint: str) -> Iterator[None]:
    """Have what goes wrong with files in the block told as CannotWrite: `what`, and why."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{what}: {error.strerror}.", hint) from error


@contextmanager
def written_whole(file: Path, *, prefix: str = ".revisor-") -> Iterator[BinaryIO]:
    """A stream into a file of the user's alone that takes the place of `file` at the end of the
    block: it is there whole, or what was there before still is.

    Args:
        prefix: of the file's name until then; a process that is killed leaves it behind.
    """
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=prefix)  # for the user alone
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
