"""Who makes the rows of a build: this process, processes on this machine, or a Ray cluster.

A worker holds the model and makes one shard after the other. If it dies another takes its place,
and the shards it was making are made again. The store is not shared: rows are returned to the
build.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from threading import Thread
from typing import Any

import torch

import revisor
from revisor.errors import NotSupported, UsageError, WorkersLost
from revisor.neuraldb.build.shards import RowBuilder, Rows, Shard, WorkerSpec

DEATHS = 3  # times in a row that workers may die without one shard made in between
KNOCK_S = 10.0  # for a cluster's head to accept a connection

_log = logging.getLogger(__name__)
_place = 0  # of this worker among those of its machine
_gathered: Any = None  # where the workers of a machine meet

OnDone = Callable[[int], None]
# Makes shards, tells how many more facts are written, gives what was made.
Executor = Callable[[Sequence[Shard], OnDone], Iterator[Rows]]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who makes the rows: so many workers (None: this process, or with `ray` one a machine or GPU),
    on the Ray cluster at an address (None: this machine)."""

    workers: int | None = None
    ray: str | None = None


@contextmanager
def executor(
    options: WorkerOptions, builder: RowBuilder, worker: WorkerSpec, shards: int
) -> Iterator[Executor]:
    """An executor, whose workers, at most one a shard, end with the block; their threads are
    decided here.

    Raises:
        NotSupported, UsageError: there is no ray, no such cluster, or no GPU in it.
    """
    size, threads = options.workers or 1, _threads_by_environment()
    if not shards or (options.ray is None and size == 1):
        yield lambda shards, on_done: (builder.rows(shard, on_done) for shard in shards)
    elif options.ray is None:
        threads = threads or max(1, _cores() // size)
        with Processes(replace(worker, threads=threads), min(size, shards)) as processes:
            yield processes
    else:
        with cluster(options.ray) as ray:
            cores = _cluster_cores(ray)
            gpus = int(ray.cluster_resources().get("GPU", 0)) if on_gpu(worker) else 0
            size = options.workers or max(1, gpus if on_gpu(worker) else len(cores))
            threads = threads or max(1, min(sum(cores) // size, min(cores)))
            with Actors(ray, replace(worker, threads=threads), min(size, shards)) as actors:
                yield actors


def make(worker: WorkerSpec, shard: Shard) -> Rows:
    """In a worker: the rows of a shard, by a model that is opened once.

    Raises:
        UsageError: it has another version of revisor.
        WrongModel, ModelUnavailable: see `RowBuilder.of`.
    """
    if worker.version != revisor.__version__:
        raise UsageError(
            f"{socket.gethostname()} has revisor {revisor.__version__}, not {worker.version}.",
            "Install the same version on every machine.",
        )
    return _builder(worker).rows(shard)


@lru_cache(maxsize=1)
def _builder(worker: WorkerSpec) -> RowBuilder:
    several = worker.device == "cuda" and torch.cuda.device_count() > 1
    return RowBuilder.of(
        worker, device=f"cuda:{_place % torch.cuda.device_count()}" if several else None
    )


class Processes:
    """An executor of `size` processes here, each a new interpreter; a context manager."""

    def __init__(self, worker: WorkerSpec, size: int) -> None:
        self.worker = worker
        self.size = size
        self._open()

    def _open(self) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, self._alive = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self.size, context, _begin, (theirs, context.Value("i", 0), context.Barrier(self.size))
        )

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._alive.close()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def gather(self) -> None:
        """Wait until every worker has opened its model, so that what follows can be timed."""
        for ready in [self._pool.submit(_ready, self.worker) for _ in range(self.size)]:
            ready.result()

    def __call__(self, shards: Sequence[Shard], on_done: OnDone) -> Iterator[Rows]:
        """See `Executor`; raises WorkersLost if workers die one after the other, or what one
        raised."""
        left, deaths = dict(enumerate(shards)), 0
        while left:
            with suppress(BrokenProcessPool):
                given = {self._pool.submit(make, self.worker, left[n]): n for n in left}
                for done in as_completed(given):
                    if isinstance(done.exception(), BrokenProcessPool):
                        continue
                    result = done.result()
                    on_done(len(left.pop(given[done])))
                    deaths = 0
                    yield result
            if left:
                deaths += 1
                _log.warning("A worker died; another takes its place.")
                self.close()
                if deaths == DEATHS:
                    raise _lost(f"{DEATHS} times in a row a worker died")
                self._open()


def _begin(alive: Any, places: Any, gathered: Any) -> None:
    """In a worker: end with the build's process, and not on the keyboard's signal."""
    global _place, _gathered
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's
    with places:
        _place = places.value
        places.value += 1
    _gathered = gathered
    Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Any) -> None:
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def _ready(worker: WorkerSpec) -> None:
    _builder(worker)
    _gathered.wait()


def _lost(what: str) -> WorkersLost:
    return WorkersLost(
        f"{what} and no shard was made.",
        "Where memory is short, take fewer workers. What was written is kept: the next build goes "
        "on.",
    )


def need_ray() -> Any:
    """The module ray, with usage reports off; NotSupported without the extra `scale`."""
    if find_spec("ray") is None:
        raise NotSupported(
            "Workers on a cluster need the package 'ray', which is not installed.",
            "Install the extra: pip install 'revisor[scale]'. Without it, --workers alone uses "
            "this machine.",
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    return ray


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """The module ray, connected to a running cluster: `auto` for this machine's, or HOST:PORT.

    Raises:
        NotSupported: ray is not installed.
        UsageError: there is no cluster.
    """
    ray = need_ray()
    if ray.is_initialized():  # a program's that uses Ray itself
        yield ray
        return
    try:
        _knock(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"There is no Ray cluster at '{address}': {error}",
            "Start one with `ray start --head`, or give HOST:PORT of one that runs.",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Try to connect, as Ray tries for minutes: OSError if nobody is there, ValueError for no
    address."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not of the form HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _cluster_cores(ray: Any) -> list[int]:
    found = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [count for count in found if count] or [1]


def on_gpu(worker: WorkerSpec) -> bool:
    """Whether a worker needs a GPU, of which Ray shows it one."""
    return worker.device.startswith("cuda")


class Actors:
    """An executor of `size` Ray actors; a context manager.

    Each reserves its threads' cores, and a GPU if the model runs on one. Actors without room start
    when there is some; Ray restarts one that died, and its work.

    Raises:
        UsageError: the model runs on a GPU and the cluster has none.
    """

    def __init__(self, ray: Any, worker: WorkerSpec, size: int) -> None:
        if on_gpu(worker) and not ray.cluster_resources().get("GPU"):
            raise UsageError(
                "The store's model runs on a GPU, and the Ray cluster has none.",
                "Add machines that have one, or build here without --ray.",
            )
        if on_gpu(worker):
            worker = replace(worker, device="cuda")
        self._ray = ray
        kind = ray.remote(
            num_cpus=worker.threads,
            num_gpus=int(on_gpu(worker)),
            max_restarts=-1,
            max_task_retries=DEATHS - 1,
        )(_Actor)
        # By value: a reference would be gone when Ray restarts an actor long after this.
        self.actors = [kind.remote(worker) for _ in range(size)]

    def __enter__(self) -> Actors:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            self._ray.kill(actor)

    def __call__(self, shards: Sequence[Shard], on_done: OnDone) -> Iterator[Rows]:
        """See `Executor`; raises WorkersLost if workers die one after the other, or what one
        raised."""
        from ray.util import ActorPool

        failed = self._ray.exceptions
        try:
            results = ActorPool(self.actors).map_unordered(
                lambda actor, shard: actor.make.remote(shard), shards
            )
            for result in results:
                on_done(len(result))
                yield result
        except failed.RayTaskError as error:
            raise error.cause from None
        except failed.RayActorError as error:
            raise _lost(str(error).splitlines()[0]) from error


class _Actor:
    def __init__(self, worker: WorkerSpec) -> None:
        self._worker = worker

    def make(self, shard: Shard) -> Rows:
        return make(self._worker, shard)


def _threads_by_environment() -> int | None:
    """OMP_NUM_THREADS, which torch follows in this process, too."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
