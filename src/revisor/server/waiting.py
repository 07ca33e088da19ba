"""The jobs that wait for the model, within bounds, and whose turn is next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from revisor.errors import UsageError
from revisor.server.job import Job, QueueFull

KINDS = ("answers", "tokens of prompts")  # what is bounded
TOKENS = 1_024  # of prompts that may wait, for each answer that may


class Waiting:
    """Jobs in the order in which they came; urgent ones are first. Whoever uses it locks it.

    Args:
        most: answers that may wait.
        context: tokens of the longest prompt and answer.
        max_cached: tokens that may be kept in memory at once.

    One owner may have half of the answers, and of the tokens of prompts, that may wait.
    """

    def __init__(self, *, most: int, context: int, max_cached: int) -> None:
        self.most, self.context, self.max_cached = most, context, max_cached
        self._most_tokens = max(2 * context, TOKENS * most)
        self._jobs: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs))

    @property
    def answers(self) -> int:
        """How many answers wait."""
        return sum(job.choices for job in self)

    def by_turns(self, served: Mapping[str | None, int]) -> list[Job]:
        """The jobs in the order of their turns: urgent ones, then those of whoever is served least,
        the oldest first.

        Args:
            served: how many answers of each owner are being written.
        """
        return sorted(self, key=lambda job: (not job.urgent, served.get(job.owner, 0)))

    def take(self, job: Job) -> None:
        """Let a job wait no more."""
        self._jobs = deque(one for one in self._jobs if one is not job)

    def put(self, jobs: Sequence[Job]) -> None:
        """Have jobs wait, all or none.

        Raises:
            QueueFull: too many wait, of all or of their owner.
        """
        owner, there = jobs[0].owner, list(self)
        if not jobs[0].urgent:
            self._must_fit(jobs, there, share=1)
            if owner is not None:
                self._must_fit(jobs, [job for job in there if job.owner == owner], share=2)
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
        if not jobs[0].urgent:
            limits = self._limits(1 if jobs[0].owner is None else 2)
            for wanted, most, what in zip(_sizes(jobs), limits, KINDS, strict=True):
                if wanted > most:
                    raise UsageError(
                        f"The request wants {wanted} {what}; at most {most} are taken.",
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

    def _must_fit(self, jobs: Sequence[Job], there: Sequence[Job], *, share: int) -> None:
        whose, whom = (" of this key", " of one key") if share > 1 else ("", "")
        sizes, limits = zip(_sizes(there), _sizes(jobs), strict=True), self._limits(share)
        for (waiting, wanted), most, what in zip(sizes, limits, KINDS, strict=True):
            if waiting + wanted > most:
                raise QueueFull(
                    f"{waiting} {what}{whose} wait already; at most {most}{whom} may.",
                    "Ask again in a few seconds.",
                )

    def _limits(self, share: int) -> tuple[int, int]:
        """How much of each kind may wait, or the `share`-th part of it."""
        return max(1, self.most // share), self._most_tokens // share


def _sizes(jobs: Sequence[Job]) -> tuple[int, int]:
    """How much of each kind some jobs are."""
    return sum(job.choices for job in jobs), sum(len(job.prompt) for job in jobs)
