"""One request for answers, from its prompts to the facts used in each answer."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import torch
from fastapi import Request

from revisor.errors import RevisorError
from revisor.facts.schema import now
from revisor.server.generations import InForce
from revisor.server.job import Job, Piece, Reason
from revisor.server.openai import Facts, TokenTold
from revisor.server.roles import Caller
from revisor.server.row_gate import Written
from revisor.server.sampling import Chosen, Sampling
from revisor.server.service import Service

POLL_S = 0.25  # between two looks whether the client is still there
GONE = 499  # nginx's code for a client that hung up; nobody reads it


class ClientGone(Exception):  # noqa: N818  (not an error of ours)
    """Whoever asked has hung up."""


@asynccontextmanager
async def while_there(request: Request) -> AsyncIterator[Callable[[], bool]]:
    """Tells long work, from any thread, whether the client still waits for it.

    Raises:
        ClientGone: it did not, at the end of the block.
    """
    gone = threading.Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(POLL_S)
        gone.set()

    watching = asyncio.create_task(watch())
    try:
        yield lambda: not gone.is_set()
        if gone.is_set():
            raise ClientGone
    finally:
        gone.set()
        watching.cancel()


class AnswerFailed(RevisorError):
    """The model failed, or the server stopped, before the answer was whole."""

    http_status = 503


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request wants, whatever its shape.

    Attributes:
        prompts: token ids of each prompt.
        sampling, max_tokens, stops, choices: how to answer each of them.
        facts: which facts.
        look: as of `Job`.
    """

    prompts: Sequence[Sequence[int]]
    sampling: Sampling
    max_tokens: int
    stops: Sequence[str]
    choices: int
    facts: Facts
    look: Callable[[torch.Tensor], None] | None = None


@dataclass(kw_only=True)
class Answered:
    """One answer as far as it has come.

    Attributes:
        index: of the answer among all of the request.
        text, tokens: what was said; `tokens` only where log probabilities were asked for.
        reason: why it ended.
        used: the facts that were written, when it has ended.
    """

    index: int
    text: str = ""
    tokens: list[TokenTold] = field(default_factory=list)
    reason: Reason | None = None
    used: tuple[Written, ...] = ()


class Asking:
    """A request on its way. Make it with `Asking.begin`, then read `pieces` or `whole`.

    Attributes:
        id: of the answer, in answers, headers and the hit log.
        generation: whose facts; None without facts.
        answers: all of them, prompts outermost.
    """

    def __init__(
        self, service: Service, asked: Asked, caller: Caller, kind: str, facts: InForce | None
    ) -> None:
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.asked = asked
        self._service, self._caller, self._facts = service, caller, facts
        self._queue: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._jobs: list[Job] = []
        self.answers = [Answered(index=i) for i in range(len(asked.prompts) * asked.choices)]
        self._left = len(self.answers)

    @classmethod
    async def begin(cls, service: Service, asked: Asked, caller: Caller, kind: str) -> Asking:
        """Queue a request with the facts that it shall have to its end.

        Raises:
            QueueFull, Closing: see `Scheduler.submit`; nothing of the request is run then.
            NotFound: there is no such generation.
            Forbidden: a namespace that is not the caller's.
            UsageError: a prompt that is empty or too long, or more answers than can be taken.
        """
        for prompt in asked.prompts:
            service.prompts.check(prompt)
        facts = None
        if asked.facts.facts:
            facts = await asyncio.to_thread(facts_for, service, asked.facts, caller)
        asking = cls(service, asked, caller, kind, facts)
        asking._submit()
        return asking

    @property
    def generation(self) -> int | None:
        """Number of the generation that answers; None without facts."""
        return None if self._facts is None else self._facts.generation

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt) for prompt in self.asked.prompts)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all answers so far."""
        return sum(job.tokens for job in self._jobs)

    def _submit(self) -> None:
        loop = asyncio.get_running_loop()
        self._jobs = [
            Job(
                prompt=prompt,
                gate=None if self._facts is None else self._facts.gate,
                sampling=self.asked.sampling,
                max_tokens=self.asked.max_tokens,
                tell=_handed(loop, self._queue, number),
                stop=self.asked.stops,
                choices=self.asked.choices,
                owner=self._caller.owner,
                look=self.asked.look,
            )
            for number, prompt in enumerate(self.asked.prompts)
        ]
        self._service.scheduler.submit(*self._jobs)

    def cancel(self) -> None:
        """Let the answers go that still run."""
        for job in self._jobs:
            job.cancelled = True

    async def whole(self, is_gone: Callable[[], Awaitable[bool]]) -> list[Answered]:
        """All answers when they have ended.

        Raises:
            ClientGone: nobody waits for them any more.
            AnswerFailed: the model failed.
        """
        async for answer, _, _ in self.pieces(is_gone):
            if answer.reason in ("error", "cancelled"):
                why = "The server's log says why." if answer.reason == "error" else "Ask again."
                raise AnswerFailed("The answer was broken off.", why)
        return self.answers

    async def pieces(
        self, is_gone: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncIterator[tuple[Answered, str, list[TokenTold]]]:
        """Each piece of text as it comes, with the answer it belongs to so far.

        A reader that leaves early takes the answers with it.
        """
        looked = time.monotonic()
        try:
            while self._left:
                if is_gone is not None and time.monotonic() - looked > POLL_S:
                    looked = time.monotonic()
                    if await is_gone():
                        raise ClientGone
                try:
                    number, piece = await asyncio.wait_for(self._queue.get(), POLL_S)
                except TimeoutError:
                    continue
                yield self._take(number, piece)
        finally:
            if self._left:
                self.cancel()

    def _take(self, number: int, piece: Piece) -> tuple[Answered, str, list[TokenTold]]:
        answer = self.answers[number * self.asked.choices + piece.choice]
        answer.text += piece.text
        tokens = []
        if piece.chosen is not None:
            tokens = self._told(piece.chosen)
            answer.tokens += tokens
        if piece.reason is not None and answer.reason is None:
            answer.reason = piece.reason
            self._left -= 1
            self._finish(number, piece.choice, answer)
        return answer, piece.text, tokens

    def _told(self, chosen: Chosen) -> list[TokenTold]:
        if chosen.logprob is None:
            return []
        decode = self._service.store.loaded.tokenizer.decode
        rivals = [(str(decode([token])), logprob) for token, logprob in chosen.rivals]
        return [TokenTold(str(decode([chosen.token])), chosen.logprob, rivals)]

    def written_so_far(self) -> list[str]:
        """Ids of the facts that were written up to now, each once."""
        found = (one.used.fact_id for job in self._jobs for used in job.written for one in used)
        return list(dict.fromkeys(found))

    # When an answer has ended

    def _finish(self, number: int, choice: int, answer: Answered) -> None:
        job = self._jobs[number]
        if self._facts is not None:
            answer.used = tuple(job.written[choice])
            entry = {
                "id": self.id if len(self.answers) == 1 else f"{self.id}/{answer.index}",
                "at": now(),
                "key": self._caller.name,
                "generation": self.generation,
                "finish_reason": answer.reason,
                "facts_used": [used.told(with_question=False) for used in answer.used],
            }
            self._service.hit_log.add(entry)
        mine = self.answers[number * self.asked.choices :][: self.asked.choices]
        if all(one.reason for one in mine):
            used = tuple(one for answer in mine for one in answer.used)
            self._service.metrics.saw_answer(job, self.generation, used)


def facts_for(service: Service, facts: Facts, caller: Caller) -> InForce:
    """The facts of a request, of those that the caller may use.

    Raises:
        NotFound: there is no such generation.
        Forbidden: a namespace that is not the caller's.
    """
    namespaces = caller.namespaces
    if facts.namespace is not None:
        caller.must_see(facts.namespace)
        namespaces = frozenset({facts.namespace})
    return service.generations.choose(caller.name, facts.generation, namespaces)


def _handed(
    loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[tuple[int, Piece]], number: int
) -> Callable[[Piece], None]:
    """A function that hands pieces from the model's thread to the event loop."""

    def tell(piece: Piece) -> None:
        try:
            loop.call_soon_threadsafe(queue.put_nowait, (number, piece))
        except RuntimeError:  # the loop is closed: the server is gone, and its readers
            return

    return tell
