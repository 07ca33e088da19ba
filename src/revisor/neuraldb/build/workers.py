"""Shards made by a pool of workers: who makes which, and what happens when one of them dies.

A worker is given a shard when it is ready and has none. If it dies, its shard goes to another, and
another worker is started in its place; what it had made of the shard is lost, and nothing else.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from revisor.errors import RevisorError, WorkersLost
from revisor.neuraldb.build.shards import RowBuilder, Shard, ShardResult, WorkerSpec

DEATHS = 3  # workers that may die over one shard, or one after the other while they start
PATIENCE_S = 1.0  # between two looks at workers that say nothing

_log = logging.getLogger(__name__)

OnDone = Callable[[int], None]
# Makes shards, tells how many more facts are written (fewer, after a death), gives what was made.
Executor = Callable[[Sequence[Shard], OnDone], Iterator[ShardResult]]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has opened its model.

    Attributes:
        pid: its process.
        host: where that runs.
    """

    pid: int
    host: str


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """It has written so many more facts of its shard."""

    facts: int


@dataclass(frozen=True, kw_only=True)
class Finished:
    """It is done with its shard."""

    result: ShardResult


@dataclass(frozen=True, kw_only=True)
class Died:
    """Its process is gone.

    Attributes:
        how: as far as it is known.
    """

    how: str


@dataclass(frozen=True, kw_only=True)
class Failed:
    """It met an error that another worker would meet as well."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """An error that can be sent to another process: one for people, or its traceback."""
        if isinstance(error, RevisorError):
            return cls(error=error)
        return cls(error=RuntimeError("".join(traceback.format_exception(error))))


Event = Ready | Advanced | Finished | Died | Failed


class WorkerPool(Protocol):
    """Workers in numbered places. What a worker sends comes back from `wait`, with its place."""

    size: int
    worker: WorkerSpec

    def start(self, place: int) -> None:
        """Begin to start a worker there, in place of one that died or of none."""

    def give(self, place: int, shard: Shard) -> None:
        """Have the ready worker there make a shard."""

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """What happened, after so many seconds at most."""

    def close(self) -> None:
        """End all workers, whatever they do."""


def in_this_process(builder: RowBuilder) -> Executor:
    """One shard after the other, by the model at hand."""

    def run(shards: Sequence[Shard], on_done: OnDone) -> Iterator[ShardResult]:
        for shard in shards:
            yield builder.rows(shard, on_done)

    return run


class Workers:
    """An executor over a pool; a context manager that ends it.

    Args:
        pool: whose workers are started at the first use.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self._idle: set[int] = set()
        self._busy: dict[int, Shard] = {}
        self._reported: dict[int, int] = {}  # facts of each busy worker's shard
        self._failed_starts = 0
        self._started = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def gather(self) -> None:
        """Wait until every worker is ready, so that what follows can be timed."""
        self._start()
        while len(self._idle) < self.pool.size:
            for place, event in self.pool.wait(PATIENCE_S):
                self._handle(place, event, lambda _: None)

    def __call__(self, shards: Sequence[Shard], on_done: OnDone) -> Iterator[ShardResult]:
        """See `Executor`.

        Raises:
            WorkersLost: workers die one after the other.
            RevisorError: what a worker raised.
        """
        if not shards:
            return
        self._start()
        left, deaths = deque(shards), dict[int, int]()
        while left or self._busy:
            while left and self._idle:
                place = self._idle.pop()
                self._busy[place], self._reported[place] = left.popleft(), 0
                self.pool.give(place, self._busy[place])
            for place, event in self.pool.wait(PATIENCE_S):
                shard = self._busy.get(place)
                self._handle(place, event, on_done)
                if isinstance(event, Finished):
                    yield event.result
                elif isinstance(event, Died) and shard is not None:
                    deaths[id(shard)] = deaths.get(id(shard), 0) + 1
                    if deaths[id(shard)] >= DEATHS:
                        raise WorkersLost(
                            f"{DEATHS} workers died over the same {len(shard)} facts "
                            f"({event.how}).",
                            "Where memory is short, take fewer workers. What was written is kept: "
                            "the next build goes on.",
                        )
                    left.appendleft(shard)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for place in range(self.pool.size):
                self.pool.start(place)

    def _handle(self, place: int, event: Event, on_done: OnDone) -> None:
        match event:
            case Ready():
                _log.info("Worker %d is ready: process %d on %s", place, event.pid, event.host)
                self._failed_starts = 0
                self._idle.add(place)
            case Advanced():
                self._reported[place] += event.facts
                on_done(event.facts)
            case Finished():
                del self._busy[place], self._reported[place]
                self._idle.add(place)
            case Died():
                self._replace(place, event, on_done)
            case Failed():
                raise event.error

    def _replace(self, place: int, event: Died, on_done: OnDone) -> None:
        _log.warning("Worker %d died (%s); another takes its place.", place, event.how)
        if place in self._busy:
            del self._busy[place]
            on_done(-self._reported.pop(place))
        elif place not in self._idle:
            self._failed_starts += 1
            if self._failed_starts >= DEATHS:
                raise WorkersLost(
                    f"{DEATHS} workers died while they started ({event.how}).",
                    "Where memory is short, take fewer workers.",
                )
        self._idle.discard(place)
        self.pool.start(place)
