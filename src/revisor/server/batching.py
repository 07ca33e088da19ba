"""Continuous batching: requests join and leave the batch between two decode steps.

One thread owns the model, which runs unedited for all rows; after each step every answer's own gate
writes into its logits, before a token is chosen. Prompts are read in pieces between two steps, so
that a long one delays nobody's next token for long. transformers' own continuous batching has no
log probabilities of rivals and no seed a request.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import DynamicCache

from revisor.models.load import LoadedModel, end_tokens
from revisor.server.cache import RowsCache
from revisor.server.job import Closing, Job, Piece, Reason
from revisor.server.row_gate import RowGate, due_of
from revisor.server.sampling import Chosen, choose, generator_of
from revisor.server.text import Unrolled
from revisor.server.waiting import Waiting

log = logging.getLogger(__name__)

PREFILL_TOKENS = 512  # of a prompt that are read at once, at most
LEAST_TOKENS = 16
PIECE_S = 0.25  # that reading may take between two decode steps
PROMPTS = 4  # that are read by turns; one less of one owner
SPARED = 4  # one part in so many of rows and memory is never one owner's
GRACE_S = 2.0  # for the step that runs, when a server that closes has lost its patience


@dataclass(kw_only=True)
class _Row:
    """One answer on its way."""

    job: Job
    choice: int
    generator: torch.Generator
    text: Unrolled
    gate: RowGate | None
    token: int = 0  # chosen, not yet run
    length: int = 0  # tokens run so far, the prompt's included
    made: int = 0
    done: bool = False


@dataclass(kw_only=True, eq=False)
class _Prompt:
    """A prompt that is being read."""

    job: Job
    cache: DynamicCache = field(default_factory=DynamicCache)
    read: int = 0

    @property
    def left(self) -> int:
        return len(self.job.prompt) - self.read


class Scheduler:
    """Runs one model for many; use it as a context manager or `start` and `close` it.

    Args:
        loaded: the model.
        max_batch: answers that decode together.
        max_waiting: answers that may wait; more are refused.
        context: tokens that prompt and answer may have together; None for the model's own limit.
        max_cached: tokens whose keys and values may be kept, padding included; None for the
            model's context, or 1,024 for each answer of a full batch, whichever is more.

    Of the answers that decode, of the tokens that are kept and of the prompts that are read one
    owner has a part at most (`SPARED`), and whoever has least is next.

    Guarantees: the model and its cache are those of the unedited model on the same tokens. A row
    in which nothing is written has the unedited model's logits of the same batch, bit for bit.
    How many rows a batch has may change the last bits of a matrix product, as with any batching.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_batch: int = 16,
        max_waiting: int = 64,
        context: int | None = None,
        max_cached: int | None = None,
    ) -> None:
        self.loaded, self.max_batch = loaded, max_batch
        self.context = context or context_of(loaded)
        self.max_cached = max_cached or max(self.context, 1024 * max_batch)
        self._ends = end_tokens(loaded)
        accepted = inspect.signature(loaded.model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.queue = Waiting(most=max_waiting, context=self.context, max_cached=self.max_cached)
        self._prompts: list[_Prompt] = []
        self._rows: list[_Row] = []
        self._cache = RowsCache()
        self._wake = threading.Condition()
        self._state: Literal["new", "open", "draining", "closed"] = "new"
        self._thread = threading.Thread(target=self._run, name="revisor-model", daemon=True)
        self._per_second = 256.0  # prompt tokens, as measured lately
        self._busy_since: float | None = None
        self.fault = ""
        """What was wrong with the last step; empty after one that went well."""
        self.steps = 0
        self.gate_seconds = 0.0

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

    def submit(self, *jobs: Job) -> None:
        """Queue jobs, all or none.

        Raises:
            UsageError: they ask for more than can ever wait, or be kept in memory, at once.
            QueueFull: too many wait, of all or of their owner.
            Closing: the server is shutting down.
        """
        self.queue.check_size(jobs)
        with self._wake:
            if self._state != "open":
                raise Closing("The server is shutting down.", "Ask again in a moment.")
            self.queue.put(jobs)
            self._wake.notify()

    @property
    def waiting(self) -> int:
        """Answers that wait for their prompt to be read."""
        return self.queue.answers

    @property
    def running(self) -> int:
        """Answers that are being written, or whose prompt is being read."""
        return len(self._rows) + sum(one.job.choices for one in tuple(self._prompts))

    @property
    def alive(self) -> bool:
        """Whether the model's thread runs."""
        return self._thread.is_alive()

    @property
    def step_seconds(self) -> float:
        """How long the step has taken that runs now; 0 if none does."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self, *, patience_s: float = 30.0) -> None:
        """Take nothing new, finish what runs for so long, then end the rest as cancelled.

        It returns `GRACE_S` after that at the latest, though a step may still run by then.
        """
        with self._wake:
            if self._state in ("new", "closed"):
                self._state = "closed"
                return
            self._state = "draining"
            self._wake.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.break_off()
            self._thread.join(GRACE_S)
        self._state = "closed"
        if self._thread.is_alive():
            log.warning("the model's last step did not end; its answers are broken off")
            for row in self._rows:
                self._end(row, "cancelled")
            for job in [one.job for one in self._prompts] + list(self.queue):
                self._end_job(job, "cancelled")

    def break_off(self) -> None:
        """Take nothing new, and end what runs or waits as cancelled, from the next step on."""
        with self._wake:
            if self._state == "open":
                self._state = "draining"
            self._wake.notify()
        for job in self._jobs():
            job.cancelled = True

    def _jobs(self) -> list[Job]:
        reading = [one.job for one in tuple(self._prompts)]
        return [row.job for row in tuple(self._rows)] + reading + list(self.queue)

    # In the model's thread

    @torch.inference_mode()
    def _run(self) -> None:
        while self._work():
            self._busy_since = time.monotonic()
            try:
                self._sweep()
                self._admit()
                self._read_prompts()
                if self._rows:
                    self._decode()
            except Exception as error:
                log.exception("a step failed; its answers end with an error")
                self.fault = f"the model failed: {type(error).__name__}"
                self._fail_all()
            self._busy_since = None

    def _work(self) -> bool:
        """Wait for something to do; False when all is done and the server closes."""
        with self._wake:
            while not (self.queue or self._prompts or self._rows):
                if self._state != "open":
                    return False
                self._wake.wait()
        return self._state != "closed"

    def _sweep(self) -> None:
        """Let the answers go whose reader has gone."""
        for row in self._rows:
            if row.job.cancelled:
                self._end(row, "cancelled")
        self._drop_done()
        for prompt in list(self._prompts):
            if prompt.job.cancelled:
                self._prompts.remove(prompt)
                self._end_job(prompt.job, "cancelled")
        for job in self.queue:
            if job.cancelled:
                self._take(job)
                self._end_job(job, "cancelled")

    def _admit(self) -> None:
        """Begin to read prompts that wait, as far as there is room for their answers."""
        while (job := self._next()) is not None:
            self._take(job)
            job.started_at = time.monotonic()
            self._prompts.append(_Prompt(job=job))

    def _take(self, job: Job) -> None:
        with self._wake:
            self.queue.take(job)

    def _next(self) -> Job | None:
        """The job whose turn it is, if there is room for it. One whose owner has his share of the
        room already lets others pass."""
        served: Counter[str | None] = Counter()
        for job, answers in self._taken():
            served[job.owner] += answers
        for job in self.queue.by_turns(served):
            if job.urgent or self._fits_share(job):
                return job if self._fits(job) else None
        return None

    def _fits(self, job: Job) -> bool:
        taken = self._taken()
        if job.urgent or not taken:
            return True
        reading = len(self._prompts) < PROMPTS
        return reading and self._is_room(job, taken, self.max_batch, self.max_cached)

    def _fits_share(self, job: Job) -> bool:
        """Whether a job is within its owner's share of the room; the first one always is."""
        mine = [one for one in self._taken() if one[0].owner == job.owner]
        if job.owner is None or not mine:
            return True
        reading = sum(one.job.owner == job.owner for one in self._prompts) < PROMPTS - 1
        rows = self.max_batch - max(1, self.max_batch // SPARED)
        tokens = self.max_cached - self.max_cached // SPARED
        return reading and self._is_room(job, mine, rows, tokens)

    def _taken(self) -> list[tuple[Job, int]]:
        """The jobs that are read or written, with how many of their answers."""
        return [(row.job, 1) for row in self._rows] + [
            (one.job, one.job.choices) for one in self._prompts
        ]

    def _is_room(self, job: Job, taken: Sequence[tuple[Job, int]], rows: int, tokens: int) -> bool:
        """Whether a job fits beside others in so many rows, and so many tokens' keys and values."""
        answers = job.choices + sum(count for _, count in taken)
        widest = max(min(one.room, self.context) for one in (job, *(one for one, _ in taken)))
        return answers <= rows and answers * widest <= tokens

    def _read_prompts(self) -> None:
        """Read a piece of the prompt that came first, and one of the shortest, if it is another."""
        if not self._prompts:
            return
        shortest = min(self._prompts, key=lambda one: one.left)
        for prompt in dict.fromkeys((self._prompts[0], shortest)):
            try:
                self._read(prompt)
            except Exception:
                log.exception("a prompt of %d tokens failed", len(prompt.job.prompt))
                self._prompts = [one for one in self._prompts if one is not prompt]
                self._end_job(prompt.job, "error")

    def _read(self, prompt: _Prompt) -> None:
        """Read on in a prompt, for as long as others may be kept from their next token."""
        allowed = int(self._per_second * PIECE_S)
        count = min(prompt.left, PREFILL_TOKENS, max(LEAST_TOKENS, allowed))
        begin, end = prompt.read, prompt.read + count
        device, began = self.loaded.device, time.monotonic()
        ids_1T = torch.tensor([list(prompt.job.prompt[begin:end])], device=device)
        try:
            logits_V = self.loaded.model(
                input_ids=ids_1T,
                attention_mask=torch.ones(1, end, dtype=torch.long, device=device),
                position_ids=torch.arange(begin, end, device=device)[None],
                past_key_values=prompt.cache,
                use_cache=True,
                **self._last_only,
            ).logits[0, -1]
        except Exception as error:
            self.fault = f"the model failed: {type(error).__name__}"
            raise
        prompt.read = end
        if count >= LEAST_TOKENS:
            measured = count / max(time.monotonic() - began, 1e-6)
            self._per_second = 0.5 * self._per_second + 0.5 * measured
        if not prompt.left:
            self._prompts.remove(prompt)
            self._begin(prompt, logits_V)

    def _begin(self, prompt: _Prompt, logits_V: torch.Tensor) -> None:
        """A prompt was read: its answers join the batch."""
        job = prompt.job
        if job.look is not None:
            job.look(logits_V)
        first = None if job.gate is None else RowGate(job.gate, job.prompt)
        rows = [
            _Row(
                job=job,
                choice=choice,
                generator=generator_of(job.sampling, choice),
                text=Unrolled(self.loaded.tokenizer, job.stop, job.prompt),
                gate=first if first is None or choice == 0 else first.fork(),
                length=len(job.prompt),
            )
            for choice in range(job.choices)
        ]
        try:
            self._cache.join(prompt.cache, copies=job.choices)
        except Exception:  # half of the layers may have the new rows
            self._fail_all()
            raise
        self._rows += rows
        self._advance(rows, logits_V.expand(len(rows), -1))

    def _decode(self) -> None:
        """One token for every row."""
        rows, device = self._rows, self.loaded.device
        self._cache.grow()
        logits_BV = self.loaded.model(
            input_ids=torch.tensor([[row.token] for row in rows], device=device),
            attention_mask=self._cache.mask_BT,
            position_ids=torch.tensor([[row.length] for row in rows], device=device),
            past_key_values=self._cache.cache,
            use_cache=True,
        ).logits[:, -1]
        self.steps += 1
        for row in rows:
            row.length += 1
        self._advance(rows, logits_BV)

    def _advance(self, rows: Sequence[_Row], logits_BV: torch.Tensor) -> None:
        """Choose the next token of some rows; what goes wrong in one is the end of it alone."""
        broken = logits_BV.sum(dim=-1).isnan().tolist()
        self.fault = "the model's logits are no numbers" if any(broken) else ""
        with self._in_gate():
            due = due_of([row.gate for row in rows], logits_BV)
        for row, logits_V, is_broken, is_due in zip(rows, logits_BV, broken, due, strict=True):
            try:
                if is_broken:
                    log.error("an answer failed: %s", self.fault)
                    self._end(row, "error")
                    continue
                self._choose(row, logits_V, is_due)
            except Exception:
                log.exception("an answer failed")
                self._end(row, "error")
        self._drop_done()

    @contextmanager
    def _in_gate(self) -> Iterator[None]:
        """Count the time of a block as the gate's."""
        began = time.perf_counter()
        yield
        self.gate_seconds += time.perf_counter() - began

    def _choose(self, row: _Row, logits_V: torch.Tensor, is_due: bool) -> None:
        """Choose a row's next token, tell its text, and end the row where it is time."""
        job = row.job
        if row.gate is not None:
            with self._in_gate():
                logits_V = row.gate.write(logits_V, due=is_due)
        chosen = choose(logits_V, job.sampling, row.generator)
        job.first_at = job.first_at or time.monotonic()
        if chosen.token in self._ends:
            self._end(row, "stop")
            return
        row.token = chosen.token
        row.made += 1
        job.tokens += 1
        if row.gate is not None:
            job.written[row.choice] = row.gate.written
            with self._in_gate():
                row.gate.read([chosen.token])
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
        if row.done:
            return
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
            self._end(row, "error")


def context_of(loaded: LoadedModel) -> int:
    """Tokens that the model can take, prompt and answer together."""
    config: Any = loaded.model.config
    for name in ("max_position_embeddings", "n_positions"):
        if found := getattr(config, name, None):
            return int(found)
    return 1 << 20
