"""What the scheduler is asked and what it tells: jobs, pieces, and why it may refuse.

Plain data across the threads of a server: a job is one prompt with the answers wanted, a piece is
what one step gave one of them. What it does not do: run anything (batching.py does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from revisor.errors import RevisorError
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.watch import Hit
from revisor.serve.sampling import Chosen, Sampling

Reason = Literal["stop", "length", "cancelled", "error"]


class QueueFull(RevisorError):
    """As many requests wait as may."""

    http_status = 429


class Closing(RevisorError):
    """The server is shutting down."""

    http_status = 503


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What one step gave one answer.

    Attributes:
        choice: which answer of the job.
        text: final text, possibly empty.
        chosen: the token, None for text that was only held back.
        reason: why the answer ends here, None while it goes on.
    """

    choice: int
    text: str
    chosen: Chosen | None = None
    reason: Reason | None = None


@dataclass(kw_only=True)
class Job:
    """One prompt and the answers wanted.

    Attributes:
        prompt: token ids, at least one.
        view: its facts, as the model's device reads them; None for the unedited model.
        sampling, max_tokens, stop, choices: how to answer.
        tell: called with every piece, in the model's thread: it must not block.
        urgent: a test that the server makes of itself, which no crowd may keep out.
        cancelled: set it from any thread; the rows leave before the next step.
        hits: of every answer, filled while it runs; near_misses likewise, counted.
        queued_at, started_at, first_at, ended_at: monotonic seconds.
    """

    prompt: Sequence[int]
    view: View | None
    sampling: Sampling
    max_tokens: int
    tell: Callable[[Piece], None]
    stop: Sequence[str] = ()
    choices: int = 1
    urgent: bool = False
    cancelled: bool = False
    hits: list[list[Hit]] = field(default_factory=list)
    near: list[tuple[float, float]] = field(default_factory=list)
    tokens: int = 0
    queued_at: float = 0.0
    started_at: float = 0.0
    first_at: float = 0.0
    ended_at: float = 0.0
