"""Continuous batching: requests join and leave the batch between two decode steps.

What comes in: jobs, each a prompt with one or more answers wanted, from any thread. What goes out:
pieces of the answers, through each job's own function. What it does not do: HTTP, or choose which
facts a request has (live.py does; a job brings its view).

One thread owns the model. A prompt is computed alone, without padding, so its first token is that
of a batch of one; then its rows decode together with the others, each with its own view of facts.
transformers' own continuous batching was tried first: it has no log probabilities of rivals, no
seed a request and no way for a hook to know whose token it sees.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import DynamicCache

from revisor.models.load import LoadedModel, end_tokens
from revisor.models.spec import Spec
from revisor.neuraldb.bank.asked import HISTORY
from revisor.neuraldb.bank.names import texts
from revisor.neuraldb.gate.rows import RowGate, RowHit, attach_rows
from revisor.neuraldb.gate.watch import Hit
from revisor.serve.cache import RowsCache
from revisor.serve.job import Closing, Job, Piece, QueueFull, Reason
from revisor.serve.sampling import Chosen, choose, generator_of
from revisor.serve.text import Unrolled

log = logging.getLogger(__name__)

PREFILL_TOKENS = 512  # of waiting prompts that are computed between two decode steps


@dataclass(kw_only=True)
class _Row:
    """One answer on its way."""

    job: Job
    choice: int
    generator: torch.Generator
    text: Unrolled
    token: int = 0  # chosen, not yet run
    read: deque[int] = field(default_factory=deque)  # the last ids run
    length: int = 0  # tokens run so far, the prompt's included
    made: int = 0
    done: bool = False


class Scheduler:
    """Runs one model for many; use it as a context manager or `start` and `close` it.

    Args:
        loaded, spec, layer: the model and where its gate is.
        max_batch: rows that decode together.
        max_waiting: answers that may wait; more are refused.
        context: tokens that prompt and answer may have together; None for the model's own limit.

    Guarantees: a row is edited by its own view only. A row whose gate does not fire, and a row
    without a view, has the logits that the unedited model gives in the same batch, bit for bit.
    Rows of a batch do not mix, but how many there are may change the last bits of a matrix
    product, as with any batching in torch.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        layer: int,
        *,
        max_batch: int = 16,
        max_waiting: int = 64,
        context: int | None = None,
    ) -> None:
        self.loaded, self.spec, self.layer = loaded, spec, layer
        self.max_batch, self.max_waiting = max_batch, max_waiting
        self.context = context or context_of(loaded)
        self._ends = end_tokens(loaded)
        accepted = inspect.signature(loaded.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._waiting: deque[Job] = deque()
        self._rows: list[_Row] = []
        self._cache = RowsCache()
        self._gate = RowGate()
        self._wake = threading.Condition()
        self._state: Literal["new", "open", "draining", "closed"] = "new"
        self._thread = threading.Thread(target=self._run, name="revisor-model", daemon=True)
        self.steps = 0

    # From any thread

    def start(self) -> Scheduler:
        """Begin to answer."""
        self._state = "open"
        self._thread.start()
        return self

    def __enter__(self) -> Scheduler:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            QueueFull: too many wait.
            Closing: the server is shutting down.
        """
        with self._wake:
            if self._state != "open":
                raise Closing("The server is shutting down.", "Ask again in a moment.")
            if not job.urgent and self.waiting + job.choices > self.max_waiting:
                raise QueueFull(
                    f"{self.waiting} answers wait already; at most {self.max_waiting} may.",
                    "Ask again in a few seconds.",
                )
            job.queued_at = time.monotonic()
            job.hits = [[] for _ in range(job.choices)]
            if job.urgent:
                self._waiting.appendleft(job)
            else:
                self._waiting.append(job)
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """Answers that wait for their prompt to be read."""
        return sum(job.choices for job in tuple(self._waiting))

    @property
    def running(self) -> int:
        """Answers that are being written."""
        return len(self._rows)

    @property
    def gate_seconds(self) -> float:
        """Time spent in the gate so far."""
        return self._gate.seconds

    @property
    def alive(self) -> bool:
        """Whether the model's thread runs."""
        return self._thread.is_alive()

    def close(self, *, patience_s: float = 30.0) -> None:
        """Take nothing new, finish what runs for so long, then end the rest as cancelled."""
        with self._wake:
            if self._state in ("new", "closed"):
                self._state = "closed"
                return
            self._state = "draining"
            self._wake.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            for job in [row.job for row in self._rows] + list(self._waiting):
                job.cancelled = True
            self._thread.join()
        self._state = "closed"

    # In the model's thread

    @torch.inference_mode()
    def _run(self) -> None:
        with attach_rows(self.loaded.model, self.spec, self.layer) as self._gate:
            while self._work():
                try:
                    self._sweep()
                    self._admit()
                    if self._rows:
                        self._decode()
                except Exception:
                    log.exception("a decode step failed; its answers end with an error")
                    self._fail_all()

    def _work(self) -> bool:
        """Wait for something to do; False when all is done and the server closes."""
        with self._wake:
            while not self._waiting and not self._rows:
                if self._state == "draining":
                    return False
                self._wake.wait()
        return True

    def _sweep(self) -> None:
        """Let the rows go whose reader has gone."""
        for row in self._rows:
            if row.job.cancelled:
                self._end(row, "cancelled")
        self._drop_done()

    def _admit(self) -> None:
        """Read waiting prompts: a few hundred tokens of them, so that nobody's decoding stalls."""
        budget = PREFILL_TOKENS
        while self._waiting and budget > 0:
            with self._wake:
                job = self._waiting[0]
                full = self._rows and len(self._rows) + job.choices > self.max_batch
                if full and not job.urgent:
                    return
                self._waiting.popleft()
            if job.cancelled:
                self._end_job(job, "cancelled")
                continue
            budget -= len(job.prompt)
            try:
                self._prefill(job)
            except Exception:
                log.exception("a prompt of %d tokens failed", len(job.prompt))
                self._end_job(job, "error")

    def _prefill(self, job: Job) -> None:
        job.started_at = time.monotonic()
        cache = DynamicCache()
        length = len(job.prompt)
        ids_1T = torch.tensor([list(job.prompt)], device=self.loaded.device)
        with self._gate.rows([job.view], ids_1T) as found:
            logits_V = self.loaded.model(
                input_ids=ids_1T,
                attention_mask=torch.ones_like(ids_1T),
                position_ids=torch.arange(length, device=ids_1T.device)[None],
                past_key_values=cache,
                use_cache=True,
                **self._last_only,
            ).logits[0, -1]
        for hit in found:
            for choice in range(job.choices):
                self._take(job, choice, hit, hit.column, counted=choice == 0)
        rows = [
            _Row(
                job=job,
                choice=choice,
                generator=generator_of(job.sampling, choice),
                text=Unrolled(self.loaded.tokenizer, job.stop, job.prompt),
                read=deque(job.prompt, maxlen=HISTORY),
                length=length,
            )
            for choice in range(job.choices)
        ]
        self._cache.join(cache, copies=job.choices)
        self._rows += rows
        for row in rows:
            self._advance(row, logits_V)
        self._drop_done()

    def _decode(self) -> None:
        """One token for every row."""
        rows = self._rows
        device = self.loaded.device
        self._cache.grow()
        for row in rows:
            row.read.append(row.token)
        read_BT = texts([row.read for row in rows])
        with self._gate.rows([row.job.view for row in rows], read_BT) as found:
            logits_BV = self.loaded.model(
                input_ids=torch.tensor([[row.token] for row in rows], device=device),
                attention_mask=self._cache.mask_BT,
                position_ids=torch.tensor([[row.length] for row in rows], device=device),
                past_key_values=self._cache.cache,
                use_cache=True,
            ).logits[:, -1]
        self.steps += 1
        for hit in found:
            row = rows[hit.row]
            self._take(row.job, row.choice, hit, row.length, counted=True)
        for row, logits_V in zip(rows, logits_BV, strict=True):
            row.length += 1
            self._advance(row, logits_V)
        self._drop_done()

    def _take(self, job: Job, choice: int, hit: RowHit, position: int, *, counted: bool) -> None:
        if hit.row_id is None:
            if counted:
                job.near.append((hit.cosine, hit.threshold))
            return
        job.hits[choice].append(
            Hit(
                row_id=hit.row_id,
                position=position,
                cosine=hit.cosine,
                threshold=hit.threshold,
            )
        )

    def _advance(self, row: _Row, logits_V: torch.Tensor) -> None:
        """Choose a row's next token, tell its text, and end the row where it is time."""
        job = row.job
        chosen = choose(logits_V, job.sampling, row.generator)
        job.first_at = job.first_at or time.monotonic()
        if chosen.token in self._ends:
            self._end(row, "stop")
            return
        row.token = chosen.token
        row.made += 1
        job.tokens += 1
        text = row.text.push(chosen.token)
        if row.text.stopped:
            self._end(row, "stop", text=text, chosen=chosen)
        elif row.made >= job.max_tokens or row.length + 1 >= self.context:
            self._end(row, "length", text=text, chosen=chosen)
        else:
            job.tell(Piece(choice=row.choice, text=text, chosen=chosen))

    def _end(
        self, row: _Row, reason: Reason, *, text: str = "", chosen: Chosen | None = None
    ) -> None:
        row.done = True
        row.job.ended_at = time.monotonic()
        whole = text + row.text.finish()
        row.job.tell(Piece(choice=row.choice, text=whole, chosen=chosen, reason=reason))

    def _end_job(self, job: Job, reason: Reason) -> None:
        job.ended_at = time.monotonic()
        for choice in range(job.choices):
            job.tell(Piece(choice=choice, text="", reason=reason))

    def _drop_done(self) -> None:
        kept = [index for index, row in enumerate(self._rows) if not row.done]
        if len(kept) < len(self._rows):
            self._cache.keep(kept)
            self._rows = [self._rows[index] for index in kept]

    def _fail_all(self) -> None:
        rows, self._rows, self._cache = self._rows, [], RowsCache()
        for row in rows:
            if not row.done:
                self._end(row, "error")


def context_of(loaded: LoadedModel) -> int:
    """Tokens that the model can take, prompt and answer together."""
    config: Any = loaded.model.config
    for name in ("max_position_embeddings", "n_positions"):
        if found := getattr(config, name, None):
            return int(found)
    return 1 << 20
