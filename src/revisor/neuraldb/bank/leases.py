"""Which generations of a bank are in use, across processes: locks that a killed process releases.

Where the system has no `flock`, nothing is ever marked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revisor.errors import CannotWrite, Conflict

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Lease:
    """Marks the folder of a file, opened for reading only, as in use until it is closed."""

    def __init__(self, file: Path) -> None:
        self._descriptor: int | None = os.open(file, os.O_RDONLY)
        if fcntl is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Release it; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def unless_in_use(file: Path) -> Iterator[bool]:
    """Whether nobody holds a lease on the file's folder; nobody gets one during the block."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        free = True
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
        yield free
    finally:
        os.close(descriptor)


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Lock out other processes that change the banks under `root`, for the length of a block.

    Raises:
        Conflict: another process builds, collects or purges there.
        CannotWrite: the folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CannotWrite(
            f"Cannot write to {root}: {error.strerror}.", "Check that the store is yours to change."
        ) from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"Another process is building the banks in {root}.",
                    "Wait until it is done and run the command again.",
                ) from None
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
