"""A log that nobody can flood: of lines that are alike only some are written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

ACCESS = "revisor.server.access"  # a line a request that is served: written always
MOST = 20  # alike, in
WHILE_S = 60.0
KNOWN = 1_000  # kinds of lines that are counted


class Sparing(logging.Filter):
    """Keeps back lines of which there were many; the next that is written tells how many."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.name == ACCESS:
            return True
        kind = (record.name, str(record.msg)[:100])
        now = self._clock()
        with self._lock:
            since, count = self._seen.get(kind, (now, 0))
            over = now - since > WHILE_S
            if len(self._seen) >= KNOWN:
                self._seen.clear()
            self._seen[kind] = (now, 1) if over else (since, count + 1)
        if over and count > MOST:
            record.msg = f"{record.msg} ({count - MOST} more like it were not written)"
        return over or count < MOST
