"""By whom the rows of a build are made: this process, workers on this machine, or a Ray cluster.

What comes in: how many workers were asked for and where, and how many shards there are. What goes
out: an executor for the length of a block. What it does not do: any of the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from revisor.neuraldb.build.cluster import Actors, RayCluster
from revisor.neuraldb.build.processes import Processes
from revisor.neuraldb.build.shards import Job, Maker
from revisor.neuraldb.build.workers import Executor, Workers, in_this_process


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Who makes the rows.

    Attributes:
        workers: how many; None for this process alone, or with `ray` for one a machine or GPU.
        ray: address of a Ray cluster; None for this machine.
    """

    workers: int | None = None
    ray: str | None = None

    @property
    def alone(self) -> bool:
        """This process does it."""
        return self.ray is None and (self.workers or 1) == 1


@contextmanager
def executor(hands: Hands, maker: Maker, job: Job, shards: int) -> Iterator[Executor]:
    """An executor, whose workers end with the block.

    Args:
        maker: of this process.
        job: the same for workers; how many threads each has is decided here.
        shards: no more workers are started than there are.

    Raises:
        NotSupported, UsageError: there is no ray, no such cluster, or no GPU in it.
    """
    if hands.alone or not shards:
        yield in_this_process(maker)
    elif hands.ray is None:
        size = hands.workers or 1
        threads = _asked_threads() or max(1, _cores() // size)
        with Workers(Processes(replace(job, threads=threads), min(size, shards))) as workers:
            yield workers
    else:
        with RayCluster(hands.ray) as cluster:
            size = hands.workers or max(1, cluster.places(job.device))
            threads = _asked_threads() or cluster.threads(size)
            crew = Actors(cluster, replace(job, threads=threads), min(size, shards))
            with Workers(crew) as workers:
                yield workers


def _asked_threads() -> int | None:
    """What OMP_NUM_THREADS says, which torch follows in this process, too."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
