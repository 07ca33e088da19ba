"""A pool of processes on this machine.

Each worker is a new interpreter with the model in it, at the other end of a pipe. If it dies its
end closes, and so does the other one if the process that gives out the work dies: the worker then
ends with its batch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from revisor.neuraldb.build.shards import RowBuilder, Shard, WorkerSpec
from revisor.neuraldb.build.workers import Advanced, Died, Event, Failed, Finished, Ready


class LocalPool:
    """A `WorkerPool` of local processes.

    Args:
        worker: what they must know.
        size: how many.
    """

    def __init__(self, worker: WorkerSpec, size: int) -> None:
        self.worker = worker
        self.size = size
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}

    def start(self, place: int) -> None:
        """See `WorkerPool`."""
        if place in self._workers:
            self._end(place)
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._device(place)), name=f"revisor-worker-{place}"
        )
        process.start()
        theirs.close()
        self._workers[place] = process, mine
        with suppress(OSError):  # it died: `wait` says so
            mine.send(self.worker)

    def _device(self, place: int) -> str:
        """Of several GPUs each worker has one."""
        if self.worker.device == "cuda":
            return f"cuda:{place % torch.cuda.device_count()}"
        return self.worker.device

    def give(self, place: int, shard: Shard) -> None:
        """See `WorkerPool`."""
        with suppress(OSError):
            self._workers[place][1].send(shard)

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """See `WorkerPool`."""
        places = {pipe: place for place, (_, pipe) in self._workers.items()}
        return [
            (places[pipe], self._read(places[pipe]))
            for pipe in wait(list(places), seconds)
            if isinstance(pipe, Connection)
        ]

    def _read(self, place: int) -> Event:
        process, pipe = self._workers[place]
        try:
            event: Event = pipe.recv()
            return event
        except (EOFError, OSError):
            self._end(place)
            return Died(how=f"exit code {process.exitcode}")

    def _end(self, place: int) -> None:
        process, pipe = self._workers.pop(place)
        pipe.close()
        process.join(1)
        if process.exitcode is None:
            process.kill()
            process.join()

    def close(self) -> None:
        """See `WorkerPool`."""
        for process, _ in self._workers.values():
            process.kill()
        for place in list(self._workers):
            self._end(place)


def _work(pipe: Connection, device: str) -> None:
    """What a worker does: open its model, then make shards until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's; who gave the work ends it
    try:
        builder = RowBuilder.of(_receive(pipe), device=device)
        _send(pipe, Ready(pid=os.getpid(), host=socket.gethostname()))
        while True:
            result = builder.rows(_receive(pipe), lambda count: _send(pipe, Advanced(facts=count)))
            _send(pipe, Finished(result=result))
    except Exception as error:
        _send(pipe, Failed.of(error))


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        raise SystemExit from None


def _send(pipe: Connection, event: Event) -> None:
    try:
        pipe.send(event)
    except OSError:
        raise SystemExit from None
