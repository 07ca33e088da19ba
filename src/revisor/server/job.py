"""What the scheduler is given and what it gives back: jobs, pieces, and why it may refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from revisor.errors import RevisorError
from revisor.gate.gate import FactGate
from revisor.server.row_gate import Written
from revisor.server.sampling import Chosen, Sampling

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
        gate: writes the facts, those of one view; None for the unedited model.
        sampling, max_tokens, stop, choices: how to answer.
        tell: called with every piece, in the model's thread: it must not block.
        owner: whose share of the queue it counts for; None for nobody's.
        urgent: a test that the server makes of itself, which no crowd may keep out.
        look: given the model's own logits (V,) behind the prompt, in the model's thread.
        cancelled: set it from any thread; the answers end before the next step.
        written: the facts of every answer, filled while it runs.
        tokens: generated so far, in all answers.
        queued_at, started_at, first_at, ended_at: monotonic seconds.
    """

    prompt: Sequence[int]
    gate: FactGate | None
    sampling: Sampling
    max_tokens: int
    tell: Callable[[Piece], None]
    stop: Sequence[str] = ()
    choices: int = 1
    owner: str | None = None
    urgent: bool = False
    look: Callable[[torch.Tensor], None] | None = None
    cancelled: bool = False
    written: list[Sequence[Written]] = field(default_factory=list)
    tokens: int = 0
    queued_at: float = 0.0
    started_at: float = 0.0
    first_at: float = 0.0
    ended_at: float = 0.0

    @property
    def room(self) -> int:
        """Tokens that each answer may come to, the prompt's included."""
        return len(self.prompt) + self.max_tokens


class Awaited:
    """Collects one greedy answer for a thread that waits for it."""

    def __init__(self, prompt: Sequence[int], gate: FactGate | None, max_tokens: int) -> None:
        self.text = ""
        self.ids: list[int] = []
        self.reason: Reason | None = None
        self.logits_V: torch.Tensor | None = None
        self._ended = threading.Event()
        self.job = Job(
            prompt=prompt,
            gate=gate,
            sampling=Sampling(temperature=0),
            max_tokens=max_tokens,
            tell=self._take,
            look=self._look,
        )

    def wait(self, seconds: float) -> bool:
        """Whether it has come to its end, whole, within this time."""
        return self._ended.wait(seconds) and self.reason in ("stop", "length")

    def _look(self, logits_V: torch.Tensor) -> None:
        self.logits_V = logits_V.clone()

    def _take(self, piece: Piece) -> None:
        self.text += piece.text
        if piece.chosen is not None:
            self.ids.append(piece.chosen.token)
        if piece.reason is not None:
            self.reason = piece.reason
            self._ended.set()
