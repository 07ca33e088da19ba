"""A pool of workers on a Ray cluster: many processes on many machines (extra `scale`).

A worker is an actor. It reserves its threads' cores, and a GPU where the model runs on one. The
store is not shared: rows come back through Ray, so only the model must be on every machine.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Thread
from typing import Any

import revisor
from revisor.errors import NotSupported, UsageError
from revisor.neuraldb.build.shards import RowBuilder, Shard, WorkerSpec
from revisor.neuraldb.build.workers import Advanced, Died, Event, Failed, Finished, Ready

KNOCK_S = 10.0  # for a cluster's head to accept a connection


def need_ray() -> Any:
    """The module ray, which reports nothing to anybody.

    Raises:
        NotSupported: the extra `scale` is not installed.
    """
    if find_spec("ray") is None:
        raise NotSupported(
            "Workers on a cluster need the package 'ray', which is not installed.",
            "Install the extra: pip install 'revisor[scale]'. Without it, --workers alone uses "
            "this machine.",
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    return ray


class RayCluster:
    """A connection to a running Ray cluster; a context manager that ends it.

    Args:
        address: `auto` for the one of this machine, or HOST:PORT.

    Raises:
        NotSupported: ray is not installed.
        UsageError: there is no cluster.
    """

    def __init__(self, address: str) -> None:
        self.ray = need_ray()
        self._own = not self.ray.is_initialized()  # else a program's that uses Ray itself
        if not self._own:
            return
        try:
            _knock(address)
            self.ray.init(
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

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self.ray.shutdown()

    def places(self, device: str) -> int:
        """How many workers it has room for that take a whole machine each, or a GPU."""
        if _on_gpu(device):
            return int(self.ray.cluster_resources().get("GPU", 0))
        return len(self._cores())

    def threads(self, size: int) -> int:
        """Cores for each of so many workers; no more than the smallest machine has."""
        cores = self._cores()
        return max(1, min(sum(cores) // size, min(cores)))

    def _cores(self) -> list[int]:
        found = [int(node["Resources"].get("CPU", 0)) for node in self.ray.nodes() if node["Alive"]]
        return [count for count in found if count] or [1]


def _knock(address: str) -> None:
    """Try HOST:PORT; Ray itself goes on trying for minutes.

    Raises:
        OSError: nobody is there.
        ValueError: it is no address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not of the form HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _on_gpu(device: str) -> bool:
    """Whether a worker needs a GPU; which one it sees as its only one, Ray decides."""
    return device.startswith("cuda")


class RayPool:
    """A `WorkerPool` of Ray actors.

    Args:
        cluster: where they run.
        worker: what they must know.
        size: how many; those that find no room yet start when there is some.

    Raises:
        UsageError: the model runs on a GPU and the cluster has none.
    """

    def __init__(self, cluster: RayCluster, worker: WorkerSpec, size: int) -> None:
        self.size = size
        self.worker = worker
        self._ray = cluster.ray
        gpus = int(_on_gpu(worker.device))
        if gpus and not cluster.places(worker.device):
            raise UsageError(
                "The store's model runs on a GPU, and the Ray cluster has none.",
                "Add machines that have one, or build here without --ray.",
            )
        needs = {"num_cpus": worker.threads, "num_gpus": gpus}
        self._kind = self._ray.remote(**needs, max_restarts=0)(_Actor)
        self._put = self._ray.put(worker)
        self._actors: dict[int, Any] = {}
        self._streams: dict[Any, int] = {}  # what is still to come, and from which place

    def start(self, place: int) -> None:
        """See `WorkerPool`."""
        self._actors[place] = self._kind.remote()
        self._listen(place, self._actors[place].begin, self._put)

    def give(self, place: int, shard: Shard) -> None:
        """See `WorkerPool`."""
        self._listen(place, self._actors[place].make, shard)

    def _listen(self, place: int, method: Any, argument: Any) -> None:
        self._streams[method.options(num_returns="streaming").remote(argument)] = place

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """See `WorkerPool`."""
        ready, _ = self._ray.wait(list(self._streams), num_returns=1, timeout=seconds)
        events: list[tuple[int, Event]] = []
        for stream in ready:
            place = self._streams[stream]
            try:
                event = self._ray.get(next(stream))
            except self._ray.exceptions.RayActorError as error:
                event = Died(how=str(error).splitlines()[0])
            except StopIteration:
                del self._streams[stream]
                continue
            if not isinstance(event, Advanced):
                del self._streams[stream]
            events.append((place, event))
        return events

    def close(self) -> None:
        """See `WorkerPool`."""
        for actor in self._actors.values():
            self._ray.kill(actor)


class _Actor:
    """A worker: what it says is a stream, so that progress comes while it works."""

    def begin(self, worker: WorkerSpec) -> Iterator[Event]:
        try:
            if worker.version != revisor.__version__:
                raise UsageError(
                    f"{socket.gethostname()} has revisor {revisor.__version__}, "
                    f"not {worker.version}.",
                    "Install the same version on every machine.",
                )
            device = "cuda" if _on_gpu(worker.device) else None
            self._builder = RowBuilder.of(worker, device=device)
        except Exception as error:
            yield Failed.of(error)
            return
        self._threads = worker.threads
        yield Ready(pid=os.getpid(), host=socket.gethostname())

    def make(self, shard: Shard) -> Iterator[Event]:
        events: SimpleQueue[Event] = SimpleQueue()
        Thread(target=self._make, args=(shard, events), daemon=True).start()
        while isinstance(event := events.get(), Advanced):
            yield event
        yield event

    def _make(self, shard: Shard, events: SimpleQueue[Event]) -> None:
        import torch

        torch.set_num_threads(self._threads)  # it counts for the thread that sets it
        try:
            result = self._builder.rows(shard, lambda count: events.put(Advanced(facts=count)))
        except Exception as error:
            events.put(Failed.of(error))
        else:
            events.put(Finished(result=result))
