"""Facts in a batch whose requests have numbered places: texts by place, writing by row.

Letters: B rows of a step, N of them that are written into, V vocabulary.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import torch

from revisor.engines.vllm_source import Options, Source
from revisor.errors import NotSupported, RevisorError
from revisor.gate.row import Action, Row
from revisor.gate.tokens import Behind, Tokens
from revisor.gate.trace import Used

if TYPE_CHECKING:
    from revisor.engines.vllm_hits import Hits
    from revisor.index.view import View

log = logging.getLogger(__name__)

LEFT = 256  # requests that have left their place, whose facts are remembered


@dataclass(eq=False, kw_only=True)
class Answer:
    """A request in its place.

    Attributes:
        view: the facts that it began with.
        prompt: how many of its first tokens are the prompt's.
        seen: facts used that were recorded, by fact and position.
        told_from: uses before this token were recorded before the request was preempted.
        is_told: this process records the facts used.
        waiting: facts written by the last step, whose token may not count, with their namespaces.
    """

    row: Row
    view: View
    options: Options
    prompt: int
    seen: set[tuple[str, int]] = field(default_factory=set)
    told_from: int = 0
    is_told: bool = True
    waiting: list[tuple[str, Used]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Left:
    """A request that left its place: it has ended, or was preempted."""

    ids: array[int]
    view: View
    options: Options
    prompt: int
    seen: set[tuple[str, int]]


class FactRows:
    """Writes facts into the logits of a batch whose requests have numbered places.

    A fault in one request leaves only that one without facts. Not to be shared by threads, but for
    `forget_purged`.

    `hits` records the facts used. `is_sure`: each step's token counts; else it counts only once the
    text has grown by it.
    """

    def __init__(self, source: Source, hits: Hits | None = None, *, is_sure: bool = True) -> None:
        self._source, self._hits, self._is_sure = source, hits, is_sure
        self._tokens = Tokens.of(source.gate.tokenizer)
        self._answers: dict[int, Answer] = {}
        self._left: deque[_Left] = deque(maxlen=LEFT)

    def __contains__(self, place: int) -> bool:
        return place in self._answers

    @property
    def places(self) -> list[int]:
        """Where there are requests that may be written into."""
        return list(self._answers)

    def length(self, place: int) -> int:
        """How many tokens of a place's text were read."""
        return len(self._answers[place].row.ids)

    def begin(
        self,
        place: int,
        options: Options,
        ids: Sequence[int],
        *,
        prompt: int,
        now: tuple[int, datetime],
        is_told: bool = True,
    ) -> None:
        """A request takes a place, whoever had it before.

        Args:
            ids: its tokens so far; more than the prompt after preemption: it then has the facts
                that it had.
            prompt: how many of them are the prompt's.
            now: see `Source.now`.
            is_told: this process records the facts used in it.
        """
        before = self._earlier(options, ids, prompt) if len(ids) > prompt else None
        self.end(place)
        if not options.facts:
            return
        try:
            view = self._source.view(options, *now) if before is None else before.view
            if not view.longest:
                return
            gate = self._source.gate
            answer = Answer(
                row=Row(self._tokens, view, gate.encoder, gate.threshold),
                view=view,
                options=options,
                prompt=prompt,
                seen=set() if before is None else before.seen,
                told_from=len(ids) if before is None and len(ids) > prompt else 0,
                is_told=is_told,
            )
            answer.row.read(ids)
        except Exception as error:
            self._failed(place, error)
            return
        self._answers[place] = answer
        if self._hits is not None and is_told and len(ids) == prompt:
            self._hits.count("requests")

    def end(self, place: int, *, grown: bool = False) -> None:
        """A request leaves its place; `grown`: the last step's token counted, though unread."""
        answer = self._answers.pop(place, None)
        if answer is None:
            return
        if grown:
            self._tell(answer)
        self._left.append(
            _Left(
                ids=array("q", answer.row.ids),
                view=answer.view,
                options=answer.options,
                prompt=answer.prompt,
                seen=answer.seen,
            )
        )

    def move(self, start: int, end: int, *, swap: bool = False) -> None:
        """A request goes to another place; with `swap` the one there comes here."""
        moved, other = self._answers.pop(start, None), self._answers.pop(end, None)
        if moved is not None:
            self._answers[end] = moved
        if swap and other is not None:
            self._answers[start] = other

    def read(self, place: int, ids: Sequence[int]) -> None:
        """Tokens were chosen."""
        answer = self._answers[place]
        try:
            if any(token < 0 for token in ids):
                raise NotSupported("The engine does not tell which tokens it chose.")
            answer.row.read(ids)
        except Exception as error:
            self._failed(place, error)
            return
        if ids:
            self._tell(answer)

    def crop(self, place: int, length: int) -> None:
        """Tokens behind the first ones were taken back."""
        self._answers[place].row.crop(length)
        self._answers[place].waiting.clear()

    def forget_purged(self) -> None:
        """Keep nothing of requests that have left, and clean the log."""
        self._left.clear()
        if self._hits is not None:
            self._hits.forget_purged()

    def write(self, logits_BV: torch.Tensor, rows: Sequence[tuple[int, int]]) -> None:
        """Write the facts asked for, in place, into the rows given by index and place; others
        stay."""
        named = [(b, place) for b, place in rows if self._names_any(place)]
        if not named:
            return
        probe = self._source.gate.probe
        due = None if probe is None else probe.is_due(logits_BV).tolist()
        written: list[tuple[int, int, Answer, Action]] = []
        for b, place in named:
            answer = self._answers[place]
            answer.waiting.clear()
            try:
                action = answer.row.action(due=due is not None and due[b])
                if action is not None and action.token is None:
                    self._hold(logits_BV[b], action.behind)
                elif action is not None and action.token is not None:
                    written.append((b, action.token, answer, action))
            except Exception as error:
                self._failed(place, error)
        if written:
            self._put(logits_BV, written)

    def _put(
        self, logits_BV: torch.Tensor, written: Sequence[tuple[int, int, Answer, Action]]
    ) -> None:
        rows_N = torch.tensor([b for b, *_ in written], device=logits_BV.device)
        token_N = torch.tensor([token for _, token, *_ in written], device=logits_BV.device)
        # What a grammar or a rule of the request has forbidden stays so.
        free = (logits_BV[rows_N, token_N] > -torch.inf).tolist()
        if not all(free):
            kept_N = torch.tensor(free, device=logits_BV.device)
            rows_N, token_N = rows_N[kept_N], token_N[kept_N]
        logits_BV.index_fill_(0, rows_N, -torch.inf)
        logits_BV[rows_N, token_N] = 0.0
        for (_, _, answer, action), is_free in zip(written, free, strict=True):
            if is_free:
                used = Used.of(action.decision, action.begin)
                answer.waiting.append((action.decision.fact.namespace, used))
                if self._is_sure:
                    self._tell(answer)

    def _hold(self, logits_V: torch.Tensor, behind: Behind) -> None:
        """Mask the tokens that would carry an object on, unless nothing else is allowed."""
        held_V = self._tokens.carrying(len(logits_V), logits_V.device, behind)
        free_V = logits_V.masked_fill(held_V, -torch.inf)
        if bool((free_V > -torch.inf).any()):
            logits_V.copy_(free_V)

    def _names_any(self, place: int) -> bool:
        answer = self._answers.get(place)
        if answer is None:
            return False
        try:
            return answer.row.names_any
        except Exception as error:
            self._failed(place, error)
            return False

    def _tell(self, answer: Answer) -> None:
        for namespace, used in answer.waiting:
            key = (used.fact_id, used.position)
            if key not in answer.seen and used.position >= answer.told_from:
                answer.seen.add(key)
                if self._hits is not None and answer.is_told:
                    self._hits.used(
                        used, namespace, tag=answer.options.tag, generation=answer.view.generation
                    )
        answer.waiting.clear()

    def _earlier(self, options: Options, ids: Sequence[int], prompt: int) -> Answer | _Left | None:
        """The state before preemption of a request that comes back: the longest of its kind whose
        text is a beginning of its own."""
        longest = prompt - 1
        found: Answer | _Left | None = None
        earlier: list[Answer | _Left] = [*self._answers.values(), *self._left]
        for one in earlier:
            own = one.row.ids if isinstance(one, Answer) else one.ids
            if (
                longest < len(own) <= len(ids)
                and (one.prompt, one.options) == (prompt, options)
                and list(own) == list(ids[: len(own)])
            ):
                longest, found = len(own), one
        return found

    def _failed(self, place: int, error: Exception) -> None:
        """Let a request go on without facts."""
        self._answers.pop(place, None)
        if self._hits is not None:
            self._hits.count("failed")
        told = str(error) if isinstance(error, RevisorError) else None
        log.error("revisor: a request goes on without facts: %s", told or "", exc_info=told is None)
