"""A crew of processes on this machine.

What comes in: a job and how many workers. What goes out: what they say. What it does not do: decide
who makes what (workers.py).

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

from revisor.neuraldb.build.shards import Job, Maker, Shard
from revisor.neuraldb.build.workers import Advanced, Died, Event, Failed, Finished, Ready


class Processes:
    """A `Crew` of local processes.

    Args:
        job: what they do.
        size: how many.
    """

    def __init__(self, job: Job, size: int) -> None:
        self.job = job
        self.size = size
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}

    def start(self, place: int) -> None:
        """See `Crew`."""
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
            mine.send(self.job)

    def _device(self, place: int) -> str:
        """Of several GPUs each worker has one."""
        if self.job.device == "cuda":
            return f"cuda:{place % torch.cuda.device_count()}"
        return self.job.device

    def give(self, place: int, shard: Shard) -> None:
        """See `Crew`."""
        with suppress(OSError):
            self._workers[place][1].send(shard)

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """See `Crew`."""
        places = {pipe: place for place, (_, pipe) in self._workers.items()}
        return [
            (places[pipe], self._said(places[pipe]))
            for pipe in wait(list(places), seconds)
            if isinstance(pipe, Connection)
        ]

    def _said(self, place: int) -> Event:
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
        """See `Crew`."""
        for process, _ in self._workers.values():
            process.kill()
        for place in list(self._workers):
            self._end(place)


def _work(pipe: Connection, device: str) -> None:
    """A worker's life: its job, then shards until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's; who gave the work ends it
    try:
        maker = Maker.of(_hear(pipe), device=device)
        _say(pipe, Ready(pid=os.getpid(), host=socket.gethostname()))
        while True:
            made = maker.rows(_hear(pipe), lambda count: _say(pipe, Advanced(facts=count)))
            _say(pipe, Finished(made=made))
    except Exception as error:
        _say(pipe, Failed.of(error))


def _hear(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        raise SystemExit from None


def _say(pipe: Connection, event: Event) -> None:
    try:
        pipe.send(event)
    except OSError:
        raise SystemExit from None
