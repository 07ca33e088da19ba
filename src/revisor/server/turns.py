"""Work of requests that keeps a processor busy: a few at once, and those of one key by turns.

Whoever asks for much then waits for his own work, and others for little of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from revisor.server.job import QueueFull

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Runs work in threads. For one event loop.

    Args:
        at_once: how much of it runs at the same time.
        most: how much of one owner's may run and wait.
    """

    def __init__(self, *, at_once: int, most: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._most = most
        self._counts: Counter[str] = Counter()
        self._own: dict[str, asyncio.Lock] = {}

    async def run(
        self, owner: str | None, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `work` returns or raises, in a thread, when it is its turn.

        Args:
            owner: whose; None for nobody's, which only waits for a place.

        Raises:
            QueueFull: too much of the owner's waits already.
        """
        async with self._turn(owner), self._places:
            return await asyncio.to_thread(work, *args, **kwargs)

    @asynccontextmanager
    async def _turn(self, owner: str | None) -> AsyncIterator[None]:
        if owner is None:
            yield
            return
        if self._counts[owner] >= self._most:
            raise QueueFull(
                f"{self._most} requests of this key are being read or wait for it.",
                "Ask again in a few seconds.",
            )
        self._counts[owner] += 1
        try:
            async with self._own.setdefault(owner, asyncio.Lock()):
                yield
        finally:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner], self._own[owner]
