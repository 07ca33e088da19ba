"""Answers of a model with its facts, and which facts each of them used.

Letters: B prompts, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import torch

from revisor.engines.transformers import attached
from revisor.errors import UsageError
from revisor.gate.trace import Trace
from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel, end_tokens

if TYPE_CHECKING:
    from revisor.gate.gate import FactGate
    from revisor.gate.trace import Used


@dataclass(frozen=True, kw_only=True)
class FactUsed:
    """A fact whose object was written.

    Attributes:
        id, subject, object: of the fact.
        question: what was read as the question, with `{}` for the name.
        position: index of the first token of the object, in prompt and answer together.
        score, threshold: how surely the fact was asked for, and what that had to reach.
    """

    id: str
    subject: str
    object: str
    question: str
    position: int
    score: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered.

    Attributes:
        prompt: as it was given.
        answer: the continuation, stripped.
        facts_used: each once, where it was first written, in text order.
        tokens: tokens generated.
    """

    prompt: str
    answer: str
    facts_used: tuple[FactUsed, ...]
    tokens: int


class Engine:
    """Answers prompts greedily, in batches or piece by piece. Safe for threads, but for `last`.

    Args:
        loaded: the model.
        gate: its facts.
    """

    def __init__(self, loaded: LoadedModel, gate: FactGate) -> None:
        self.loaded = loaded
        self.gate = gate
        self.last: Answer | None = None

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 24,
        facts: bool = True,
        chat: bool = False,
    ) -> list[Answer]:
        """Answer a batch.

        Args:
            prompts: texts to continue.
            max_tokens: tokens an answer may have.
            facts: False for the model by itself.
            chat: put each prompt as a user's turn into the model's chat template.

        Raises:
            UsageError: an empty prompt, or `chat` with a model that has no chat template.
        """
        if not prompts:
            return []
        for prompt in prompts:
            if not prompt.strip():
                raise UsageError("The prompt is empty.", "Write something for the model to read.")
        texts = (
            [self._render([{"role": "user", "content": prompt}]) for prompt in prompts]
            if chat
            else list(prompts)
        )
        ids_BT, mask_BT = self._encode(texts, special=not chat)
        trace = Trace()
        out_BT = self._run(ids_BT, mask_BT, trace if facts else None, max_new_tokens=max_tokens)
        width = ids_BT.shape[1]
        return [
            self._answer(prompt, out_BT[row, width:], int(mask_BT[row].sum()), trace.of(row))
            for row, prompt in enumerate(prompts)
        ]

    def stream(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int = 256, facts: bool = True
    ) -> Iterator[str]:
        """An answer in a chat, piece by piece; `last` is the whole answer afterwards.

        A reader that leaves early ends the generation.

        Raises:
            UsageError: the model has no chat template.
        """
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        ids_BT, mask_BT = self._encode([self._render(messages)], special=False)
        streamer = TextIteratorStreamer(
            self.loaded.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        trace = Trace()
        made: SimpleQueue[torch.Tensor | BaseException] = SimpleQueue()
        left = Event()

        def stop(now_BT: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(now_BT),), left.is_set(), device=now_BT.device)

        def run() -> None:
            try:
                made.put(
                    self._run(
                        ids_BT,
                        mask_BT,
                        trace if facts else None,
                        max_new_tokens=max_tokens,
                        streamer=streamer,
                        stopping_criteria=StoppingCriteriaList([stop]),
                    )
                )
            except BaseException as error:
                made.put(error)
            finally:
                streamer.end()

        worker = Thread(target=run)
        worker.start()
        try:
            yield from streamer
        finally:
            left.set()
            worker.join()
        out = made.get()
        if isinstance(out, BaseException):
            raise out
        width = ids_BT.shape[1]
        prompt = messages[-1]["content"]
        self.last = self._answer(prompt, out[0, width:], width, trace.of(0))

    def _run(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, trace: Trace | None, **options: Any
    ) -> torch.Tensor:
        """Prompts and answers (B, T); without a trace the model answers by itself."""
        model: Any = self.loaded.model
        batch = contiguous_head(model) if len(ids_BT) > 1 else nullcontext()
        block: AbstractContextManager[Any] = nullcontext()
        if trace is not None:
            block = attached(model, self.loaded.tokenizer, self.gate, trace=trace, this_thread=True)
        with batch, block:
            out_BT: torch.Tensor = model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                do_sample=False,
                pad_token_id=self._pad,
                **options,
            )
        return out_BT

    @property
    def _pad(self) -> int:
        tokenizer = self.loaded.tokenizer
        chosen = tokenizer.pad_token_id
        return int(tokenizer.eos_token_id or 0 if chosen is None else chosen)

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
        width = max(len(ids) for ids in encoded)
        ids_BT = torch.full((len(texts), width), self._pad, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(encoded):
            ids_BT[row, width - len(ids) :] = torch.tensor(ids)
            mask_BT[row, width - len(ids) :] = 1
        return ids_BT.to(self.loaded.device), mask_BT.to(self.loaded.device)

    def _answer(
        self, prompt: str, new_T: torch.Tensor, prompt_tokens: int, used: Sequence[Used]
    ) -> Answer:
        ids = new_T.tolist()
        ends = end_tokens(self.loaded)
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self.loaded.tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        first = {one.fact_id: one for one in sorted(used, key=lambda one: -one.position)}
        facts = tuple(
            FactUsed(
                id=one.fact_id,
                subject=one.subject,
                object=one.object,
                question=one.question,
                position=one.position,
                score=one.score,
                threshold=one.threshold,
            )
            for one in sorted(first.values(), key=lambda one: one.position)
            if one.position < prompt_tokens + length
        )
        return Answer(prompt=prompt, answer=text, facts_used=facts, tokens=length)
