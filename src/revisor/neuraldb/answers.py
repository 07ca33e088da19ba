"""Answers from a model with its facts, and which facts were used.

Decoding is transformers' own `generate`, greedy and batched with left padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import torch

from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel, end_tokens
from revisor.models.padding import pad_token, padded
from revisor.models.spec import Spec
from revisor.neuraldb.bank.view import View
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.watch import Hit, Watch


@dataclass(frozen=True, kw_only=True)
class FactUsed:
    """A fact whose row fired.

    Attributes:
        id, subject, object: of the fact.
        position: index of the token at which it fired, in prompt and answer together.
        score, threshold: cosine and γ of the match; their difference is the margin.
    """

    id: str
    subject: str
    object: str
    position: int
    score: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model generated.

    Attributes:
        prompt: as it was given.
        answer: the continuation, stripped.
        facts_used: in text order; empty with the facts off.
        tokens: tokens generated.
    """

    prompt: str
    answer: str
    facts_used: tuple[FactUsed, ...]
    tokens: int


class Engine:
    """Runs a model with the rows in force.

    Args:
        loaded, spec, layer: the model and where its gate is.
        view: tells the rows in force; asked at every call.
        fact_of: the fact of a row id, None if it is not known any more.

    Attributes:
        last: the latest streamed answer.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        layer: int,
        view: Callable[[], View],
        fact_of: Callable[[str], Fact | None],
    ) -> None:
        self.loaded = loaded
        self.spec = spec
        self.layer = layer
        self.view = view
        self.fact_of = fact_of
        self.last: Answer | None = None

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 24,
        facts: bool = True,
        chat: bool = False,
    ) -> list[Answer]:
        """Answer a batch greedily.

        Args:
            prompts: texts to continue.
            max_tokens: tokens an answer may have.
            facts: False for the unedited model.
            chat: put each prompt as a user's turn into the model's chat template.

        Raises:
            UsageError: an empty prompt, or `chat` with a model that has no chat template.
        """
        if not prompts:
            return []
        if not all(prompt.strip() for prompt in prompts):
            raise UsageError("The prompt is empty.", "Write something for the model to read.")
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        texts = [self._render(turn) for turn in turns] if chat else list(prompts)
        ids_BT, mask_BT = self._encode(texts, special=not chat)
        with self._facts(facts, mask_BT) as watch:
            out_BT = self._run(ids_BT, mask_BT, max_tokens)
        width = ids_BT.shape[1]
        return [
            self._answer(prompt, out_BT[row, width:], int(mask_BT[row].sum()), watch.log[row])
            for row, prompt in enumerate(prompts)
        ]

    def stream(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int = 256, facts: bool = True
    ) -> Iterator[str]:
        """A chat answer piece by piece; `last` is the whole answer afterwards.

        Raises:
            UsageError: the model has no chat template.
        """
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        ids_BT, mask_BT = self._encode([self._render(messages)], special=False)
        streamer = TextIteratorStreamer(
            self.loaded.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        made: list[torch.Tensor] = []
        failed: list[BaseException] = []
        left = Event()

        def stop(now_BT: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(now_BT),), left.is_set(), device=now_BT.device)

        def run() -> None:
            try:
                criteria = StoppingCriteriaList([stop])
                more = {"streamer": streamer, "stopping_criteria": criteria}
                made.append(self._run(ids_BT, mask_BT, max_tokens, **more))
            except BaseException as error:
                failed.append(error)
            finally:
                streamer.end()

        with self._facts(facts, mask_BT) as watch:
            worker = Thread(target=run)
            worker.start()
            try:
                yield from streamer
            finally:  # a reader that leaves early takes the hooks away: nothing may still run
                left.set()
                worker.join()
        if failed:
            raise failed[0]
        prompt, width = messages[-1]["content"], ids_BT.shape[1]
        self.last = self._answer(prompt, made[0][0, width:], width, watch.log[0])

    def _run(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, max_tokens: int, **more: Any
    ) -> torch.Tensor:
        found: torch.Tensor = self.loaded.model.generate(  # type: ignore[operator]
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=pad_token(self.loaded),
            **more,
        )
        return found

    @contextmanager
    def _facts(self, wanted: bool, mask_BT: torch.Tensor) -> Iterator[Watch]:
        watch = Watch()
        watch.begin(mask_BT)
        facts: Any = nullcontext()
        if wanted:
            facts = attach(self.spec, self.layer, self.view(), watch=watch)
        with facts, contiguous_head(self.loaded.model):
            yield watch

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        if not getattr(self.loaded.tokenizer, "chat_template", None):
            raise UsageError(
                f"The model '{self.loaded.name}' has no chat template.",
                "Ask it with a prompt to continue: revisor ask PROMPT",
            )
        return str(
            self.loaded.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )

    def _encode(self, texts: Sequence[str], *, special: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, T), padded on the left."""
        encoded = [
            self.loaded.tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts
        ]
        ids_BT, mask_BT = padded(encoded, left=True, pad=pad_token(self.loaded))
        return ids_BT.to(self.loaded.device), mask_BT.to(self.loaded.device)

    def _answer(
        self, prompt: str, new_T: torch.Tensor, prompt_tokens: int, hits: Sequence[Hit]
    ) -> Answer:
        ids = new_T.tolist()
        ends = end_tokens(self.loaded)
        length = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        text = self.loaded.tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        counted = [hit for hit in hits if hit.position < prompt_tokens + length]
        used = facts_used(counted, self.fact_of)
        return Answer(prompt=prompt, answer=text, facts_used=used, tokens=length)


def facts_used(hits: Sequence[Hit], fact_of: Callable[[str], Fact | None]) -> tuple[FactUsed, ...]:
    """The facts behind hits, each once, at the first of the tokens at which its key was nearest."""
    used: dict[str, FactUsed] = {}
    for hit in hits:
        fact = fact_of(hit.row_id)
        if fact is None:
            continue
        one = FactUsed(
            id=fact.id,
            subject=fact.subject,
            object=fact.object,
            position=hit.position,
            score=round(hit.cosine, 4),
            threshold=round(hit.threshold, 4),
        )
        if fact.id not in used or one.score > used[fact.id].score:
            used[fact.id] = one
    return tuple(sorted(used.values(), key=lambda one: one.position))
