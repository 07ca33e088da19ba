"""By whom the rows of a build are made: this process, workers on this machine, or a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from revisor.neuraldb.build.cluster import RayCluster, RayPool
from revisor.neuraldb.build.processes import LocalPool
from revisor.neuraldb.build.shards import RowBuilder, WorkerSpec
from revisor.neuraldb.build.workers import Executor, Workers, in_this_process


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
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
def executor(
    options: WorkerOptions, builder: RowBuilder, worker: WorkerSpec, shards: int
) -> Iterator[Executor]:
    """An executor, whose workers end with the block.

    Args:
        builder: of this process.
        worker: the same for workers; how many threads each has is decided here.
        shards: no more workers are started than there are.

    Raises:
        NotSupported, UsageError: there is no ray, no such cluster, or no GPU in it.
    """
    if options.alone or not shards:
        yield in_this_process(builder)
    elif options.ray is None:
        size = options.workers or 1
        threads = _threads_by_environment() or max(1, _cores() // size)
        with Workers(LocalPool(replace(worker, threads=threads), min(size, shards))) as workers:
            yield workers
    else:
        with RayCluster(options.ray) as cluster:
            size = options.workers or max(1, cluster.places(worker.device))
            threads = _threads_by_environment() or cluster.threads(size)
            pool = RayPool(cluster, replace(worker, threads=threads), min(size, shards))
            with Workers(pool) as workers:
                yield workers


def _threads_by_environment() -> int | None:
    """What OMP_NUM_THREADS says, which torch follows in this process, too."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
