"""One request for answers, from its prompts to its facts.

What comes in: checked prompts, how to answer, and whose facts. What goes out: pieces as they come,
or whole answers, each with the facts that fired. What it does not do: shapes of HTTP (routes), or
run the model (batching.py).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from revisor.errors import RevisorError, UsageError
from revisor.facts.fact import normal_form
from revisor.neuraldb.bank.bank import View
from revisor.serve.engine import FactUsed, facts_used
from revisor.serve.job import Job, Piece, Reason
from revisor.serve.metrics import Finished, Fired, is_suspect
from revisor.serve.openai import Facts, TokenTold
from revisor.serve.roles import Caller
from revisor.serve.sampling import Chosen, Sampling
from revisor.serve.service import Service
from revisor.serve.snapshot import Snapshot

POLL_S = 0.25  # between two looks whether the client is still there


class ClientGone(Exception):  # noqa: N818  (not an error of ours)
    """Whoever asked has hung up."""


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
    """

    prompts: Sequence[Sequence[int]]
    sampling: Sampling
    max_tokens: int
    stops: Sequence[str]
    choices: int
    facts: Facts


@dataclass(kw_only=True)
class Answered:
    """One answer as far as it has come.

    Attributes:
        index: of the answer among all of the request.
        text, ids, tokens: what was said; `tokens` only where log probabilities were asked for.
        reason: why it ended.
        used: the facts that fired, when it has ended.
    """

    index: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    tokens: list[TokenTold] = field(default_factory=list)
    reason: Reason | None = None
    used: tuple[FactUsed, ...] = ()


class Asking:
    """A request on its way. Make it with `Asking.begin`, then read `pieces` or `whole`.

    Attributes:
        id: of the answer, in answers, headers and the hit log.
        generation: whose facts; None without facts.
        answers: all of them, prompts outermost.
    """

    def __init__(
        self, service: Service, asked: Asked, caller: Caller, kind: str, snapshot: Snapshot | None
    ) -> None:
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.asked = asked
        self._service, self._caller, self._snapshot = service, caller, snapshot
        self._queue: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self._jobs: list[Job] = []
        self.answers = [Answered(index=i) for i in range(len(asked.prompts) * asked.choices)]
        self._left = len(self.answers)

    @classmethod
    async def begin(cls, service: Service, asked: Asked, caller: Caller, kind: str) -> Asking:
        """Queue a request with the facts that it shall have to its end.

        Raises:
            QueueFull, Closing: see `Scheduler.submit`; nothing of the request is run then.
            NotReady, NotFound: the generation is not there.
            Forbidden: a namespace that is not the caller's.
            UsageError: a prompt that is empty or too long.
        """
        _check_lengths(service, asked)
        snapshot, view = None, None
        if asked.facts.facts:
            snapshot, view = await asyncio.to_thread(_facts_for, service, asked.facts, caller)
        asking = cls(service, asked, caller, kind, snapshot)
        asking._submit(view)
        return asking

    @property
    def generation(self) -> int | None:
        return None if self._snapshot is None else self._snapshot.generation

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt) for prompt in self.asked.prompts)

    @property
    def completion_tokens(self) -> int:
        return sum(job.tokens for job in self._jobs)

    def _submit(self, view: View | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            for number, prompt in enumerate(self.asked.prompts):
                job = Job(
                    prompt=prompt,
                    view=view,
                    sampling=self.asked.sampling,
                    max_tokens=self.asked.max_tokens,
                    tell=_handed(loop, self._queue, number),
                    stop=self.asked.stops,
                    choices=self.asked.choices,
                )
                self._service.scheduler.submit(job)
                self._jobs.append(job)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Let the rows go that still run."""
        for job in self._jobs:
            job.cancelled = True

    async def whole(self, is_gone: Callable[[], Awaitable[bool]]) -> list[Answered]:
        """All answers when they have ended.

        Raises:
            ClientGone: nobody waits for them any more.
            AnswerFailed: the model failed.
        """
        async for answer, _, _ in self.pieces(is_gone):
            self._raise_failed(answer)
        return self.answers

    @staticmethod
    def _raise_failed(answer: Answered) -> None:
        if answer.reason in ("error", "cancelled"):
            raise AnswerFailed(
                "The answer was broken off.",
                "The server's log says why." if answer.reason == "error" else "Ask again.",
            )

    async def pieces(
        self, is_gone: Callable[[], Awaitable[bool]] | None = None
    ) -> AsyncIterator[tuple[Answered, str, list[TokenTold]]]:
        """Each piece of text as it comes, with the answer it belongs to so far.

        A reader that leaves early takes the rows with it.
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
            answer.ids.append(piece.chosen.token)
            tokens = self._told(piece.chosen)
            answer.tokens += tokens
        if piece.reason is not None:
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

    def fired_so_far(self) -> list[str]:
        """Ids of the facts that fired up to now, each once; when all has ended, of those used."""
        if self._snapshot is None:
            return []
        if not self._left:
            return list(dict.fromkeys(used.id for one in self.answers for used in one.used))
        found = (
            fact.id
            for job in self._jobs
            for hits in job.hits
            for hit in tuple(hits)
            for fact in self._snapshot.facts_of(hit.row_id)
        )
        return list(dict.fromkeys(found))

    # When an answer has ended

    def _finish(self, number: int, choice: int, answer: Answered) -> None:
        job, snapshot = self._jobs[number], self._snapshot
        if snapshot is not None:
            answer.used = facts_used(job.hits[choice], snapshot.facts_of, answer.text)
            self._log(job, answer)
        mine = self.answers[number * self.asked.choices :][: self.asked.choices]
        if all(one.reason for one in mine):
            hits = self._judged(job, mine) if snapshot is not None else ()
            generation = None if snapshot is None else snapshot.generation
            done = Finished(job=job, generation=generation, hits=hits)
            self._service.metrics.saw_answer(done)

    def _judged(self, job: Job, answers: Sequence[Answered]) -> tuple[Fired, ...]:
        """The facts that each answer used."""
        assert self._snapshot is not None
        if not any(answer.used for answer in answers):
            return ()
        prompt = str(self._service.store.loaded.tokenizer.decode(job.prompt))
        judged = []
        for answer in answers:
            text = normal_form(prompt + answer.text)
            for used in answer.used:
                fact = self._snapshot.facts[used.id]
                judged.append(
                    Fired(
                        fact=fact,
                        cosine=used.cosine,
                        threshold=used.threshold,
                        suspect=is_suspect(fact, text),
                    )
                )
        return tuple(judged)

    def _log(self, job: Job, answer: Answered) -> None:
        ids = [*job.prompt, *answer.ids]
        decode = self._service.store.loaded.tokenizer.decode
        entry = {
            "id": self.id if len(self.answers) == 1 else f"{self.id}/{answer.index}",
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "key": self._caller.name,
            "generation": self.generation,
            "finish_reason": answer.reason,
            "near_misses": len(job.near),
            "facts_used": [
                asdict(used) | {"token": str(decode([ids[used.position]]))}
                for used in answer.used
                if used.position < len(ids)
            ],
        }
        self._service.hit_log.add(entry)


def _facts_for(service: Service, facts: Facts, caller: Caller) -> tuple[Snapshot, View]:
    """The generation of a request, and the rows of it that the caller may use."""
    namespaces = caller.namespaces
    if facts.namespace is not None:
        caller.must_see(facts.namespace)
        namespaces = frozenset({facts.namespace})
    snapshot = service.generations.choose(caller.name, facts.generation)
    return snapshot, snapshot.view_for(namespaces)


def _check_lengths(service: Service, asked: Asked) -> None:
    context = service.scheduler.context
    vocabulary = service.store.loaded.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    for prompt in asked.prompts:
        if not prompt:
            raise UsageError("The prompt is empty.", "Write something for the model to read.")
        if len(prompt) >= context:
            raise UsageError(
                f"The prompt has {len(prompt)} tokens; the model takes {context} in all.",
                "Shorten it.",
            )
        if max(prompt) >= vocabulary:
            raise UsageError(f"The model has no token {max(prompt)}; it has {vocabulary}.")


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
