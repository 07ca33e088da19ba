"""Answers of a model, in batches or piece by piece, whatever gives the model its facts.

Decoding is transformers' own `generate`, greedy, with padding on the left.

Letters: B prompts, T tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import torch

from revisor.errors import UsageError
from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel, end_tokens
from revisor.models.padding import pad_token, padded

# Of a row of a batch, the facts that were used among so many of its tokens, in text order.
UsedFacts = Callable[[int, int], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered.

    Attributes:
        prompt: as it was given.
        answer: the continuation, stripped.
        facts_used: each once, in text order; empty with the facts off.
        tokens: number of tokens generated.
    """

    prompt: str
    answer: str
    facts_used: tuple[Any, ...]
    tokens: int


class Answering(ABC):
    """Answers prompts greedily, in batches or piece by piece; `last` is the latest streamed answer.
    Safe for threads, but for `last`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.last: Answer | None = None

    @abstractmethod
    def _with_facts(self, mask_BT: torch.Tensor) -> AbstractContextManager[UsedFacts]:
        """The model with its facts, in this thread, for a batch under this mask."""

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
        if isinstance(prompts, str):
            raise UsageError("The prompts are one text, not several.", "Write [prompt].")
        if not all(prompt.strip() for prompt in prompts):
            raise UsageError("The prompt is empty.", "Write something for the model to read.")
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        texts = [self._render(turn) for turn in turns] if chat else list(prompts)
        ids_BT, mask_BT = self._encode(texts, special=not chat)
        out_BT, used = self._run(ids_BT, mask_BT, facts, max_new_tokens=max_tokens)
        width, tokens_B = ids_BT.shape[1], mask_BT.sum(1).tolist()
        return [
            self._answer(prompt, out_BT[row, width:], tokens_B[row], row, used)
            for row, prompt in enumerate(prompts)
        ]

    def stream(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int = 256, facts: bool = True
    ) -> Iterator[str]:
        """An answer in a chat, piece by piece; `last` is the whole answer afterwards.

        Closing the iterator early ends the generation.

        Raises:
            UsageError: the model has no chat template.
        """
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        ids_BT, mask_BT = self._encode([self._render(messages)], special=False)
        streamer = TextIteratorStreamer(
            self.loaded.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        made: SimpleQueue[tuple[torch.Tensor, UsedFacts] | BaseException] = SimpleQueue()
        left = Event()

        def stop(now_BT: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(now_BT),), left.is_set(), device=now_BT.device)

        def run() -> None:
            options = {"streamer": streamer, "stopping_criteria": StoppingCriteriaList([stop])}
            try:
                made.put(self._run(ids_BT, mask_BT, facts, max_new_tokens=max_tokens, **options))
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
        found = made.get()
        if isinstance(found, BaseException):
            raise found
        (out_BT, used), width = found, ids_BT.shape[1]
        self.last = self._answer(messages[-1]["content"], out_BT[0, width:], width, 0, used)

    def _run(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, facts: bool, **options: Any
    ) -> tuple[torch.Tensor, UsedFacts]:
        """Prompts and answers (B, T), and which facts they used."""
        model: Any = self.loaded.model
        batch = contiguous_head(model) if len(ids_BT) > 1 else nullcontext()
        block = self._with_facts(mask_BT) if facts else nullcontext(lambda _row, _tokens: ())
        with batch, block as used:
            out_BT = model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                do_sample=False,
                pad_token_id=pad_token(self.loaded),
                **options,
            )
        return out_BT, used

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
        self, prompt: str, new_T: torch.Tensor, prompt_tokens: int, row: int, used: UsedFacts
    ) -> Answer:
        ids, ends = new_T.tolist(), end_tokens(self.loaded)
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self.loaded.tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        facts = used(row, prompt_tokens + length)
        return Answer(prompt=prompt, answer=text, facts_used=facts, tokens=length)
