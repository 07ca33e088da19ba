"""The jobs that wait for the model, within bounds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

from revisor.errors import UsageError
from revisor.server.job import Job, QueueFull


class Waiting:
    """Jobs in the order in which they came; urgent ones are first. Whoever uses it locks it.

    Args:
        most: answers that may wait; half of them for one owner who has some already.
        context: tokens of the longest prompt and answer.
        max_cached: tokens that may be kept in memory at once.
    """

    def __init__(self, *, most: int, context: int, max_cached: int) -> None:
        self.most, self.context, self.max_cached = most, context, max_cached
        self._jobs: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs))

    @property
    def answers(self) -> int:
        """How many answers wait."""
        return sum(job.choices for job in self)

    @property
    def first(self) -> Job:
        """The job whose turn is next."""
        return self._jobs[0]

    def take(self) -> Job:
        """That job, which waits no more."""
        return self._jobs.popleft()

    def put(self, jobs: Sequence[Job]) -> None:
        """Have jobs wait, all or none.

        Raises:
            QueueFull: too many wait, of all or of their owner.
        """
        self._check_room(jobs)
        for job in jobs:
            job.queued_at = time.monotonic()
            job.written = [()] * job.choices
            if job.urgent:
                self._jobs.appendleft(job)
            else:
                self._jobs.append(job)

    def check_size(self, jobs: Sequence[Job]) -> None:
        """Whether jobs could ever be served.

        Raises:
            UsageError: they ask for more than may wait, or be kept in memory, at once.
        """
        wanted = sum(job.choices for job in jobs)
        if wanted > self.most and not jobs[0].urgent:
            raise UsageError(
                f"The request wants {wanted} answers; at most {self.most} are taken.",
                "Ask for fewer prompts or choices in one request.",
            )
        for job in jobs:
            room = job.choices * min(job.room, self.context)
            if room > self.max_cached:
                raise UsageError(
                    f"{job.choices} answers to {len(job.prompt)} tokens, of {job.max_tokens} each, "
                    f"need {room} tokens of memory; there are {self.max_cached}.",
                    "Ask for fewer choices or shorter answers.",
                )

    def _check_room(self, jobs: Sequence[Job]) -> None:
        if jobs[0].urgent:
            return
        wanted, owner, there = sum(job.choices for job in jobs), jobs[0].owner, self.answers
        if there + wanted > self.most:
            raise QueueFull(
                f"{there} answers wait already; at most {self.most} may.",
                "Ask again in a few seconds.",
            )
        own = sum(job.choices for job in self if job.owner == owner)
        share = max(1, self.most // 2)
        if owner is not None and own and own + wanted > share:
            raise QueueFull(
                f"{own} answers of this key wait already; at most {share} of one key may.",
                "Ask again in a few seconds.",
            )
