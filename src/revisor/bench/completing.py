"""Answers in batches, greedy or sampled, each until it stops by itself or its budget is spent.

An answer stops by itself at the model's end of text, or at the end of the first line that says
anything. Decoding is transformers' own `generate` with a KV cache, batched with left padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel, end_tokens
from revisor.models.padding import pad_token, padded

BATCH_TOKENS = 8192  # of prompts, padding included
BATCH_ROWS = 128
TOP_K = 5  # of sampled text, as in Meng et al. 2022


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What follows a prompt; `ids` include the end-of-text token."""

    ids: tuple[int, ...]
    text: str


class Completer:
    """Completes prompts with one model; what depends on its vocabulary is worked out once."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        budgets: Sequence[int],
        *,
        by_line: bool = True,
        sample_seed: int | None = None,
        look_at: Callable[[Sequence[int], torch.Tensor], None] | None = None,
    ) -> list[Completion]:
        """Go on from each prompt (token ids, at least one), in the order given.

        Args:
            budgets: most tokens of each answer.
            by_line: stop at the end of the first line that is not blank.
            sample_seed: sample among the `TOP_K` most probable tokens instead of taking the first.
            look_at: called for each batch with the indices of its prompts and the logits (B, V)
                of the first token after each.
        """
        # Rows of one budget end together; among those, rows of one length need no padding.
        order = sorted(range(len(prompts)), key=lambda i: (budgets[i], len(prompts[i])))
        found: list[Completion | None] = [None] * len(prompts)
        start = 0
        while start < len(order):
            stop = start + 1
            longest = len(prompts[order[start]])
            while stop < len(order) and stop - start < BATCH_ROWS:
                longest = max(longest, len(prompts[order[stop]]))
                if (stop + 1 - start) * longest > BATCH_TOKENS:
                    break
                stop += 1
            part = order[start:stop]
            answers = self._batch(
                [prompts[i] for i in part],
                [budgets[i] for i in part],
                by_line,
                sample_seed,
                None if look_at is None else _First(part, look_at),
            )
            for index, answer in zip(part, answers, strict=True):
                found[index] = answer
            start = stop
        return [answer for answer in found if answer is not None]

    def _batch(
        self,
        prompts: Sequence[Sequence[int]],
        budgets: Sequence[int],
        by_line: bool,
        sample_seed: int | None,
        first: _First | None,
    ) -> list[Completion]:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        pad = pad_token(self.loaded)
        ids_BT, mask_BT = padded(prompts, left=True, pad=pad)
        width, device = ids_BT.shape[1], self.loaded.device
        how: dict[str, Any] = {"do_sample": False}
        if sample_seed is not None:
            how = {"do_sample": True, "top_k": TOP_K, "top_p": 1.0, "temperature": 1.0}
        enough = _Enough(width, budgets, self._breaks_V if by_line else None, self._blank_V)
        cuda = [device] if device.type == "cuda" else []
        with (
            contiguous_head(self.loaded.model),
            torch.random.fork_rng(devices=cuda, enabled=sample_seed is not None),
        ):
            if sample_seed is not None:
                torch.manual_seed(sample_seed)
            out_BT = self.loaded.model.generate(  # type: ignore[operator]
                input_ids=ids_BT.to(device),
                attention_mask=mask_BT.to(device),
                max_new_tokens=max(budgets),
                pad_token_id=pad,
                stopping_criteria=StoppingCriteriaList([enough]),
                logits_processor=LogitsProcessorList([] if first is None else [first]),
                **how,
            )
        new_BT = out_BT[:, width:].tolist()
        return [
            self._completion(row[:length])
            for row, length in zip(new_BT, enough.lengths, strict=True)
        ]

    def _completion(self, ids: Sequence[int]) -> Completion:
        ends = end_tokens(self.loaded)
        end = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        text = self.loaded.tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Completion(ids=tuple(ids[:end]), text=text)

    @cached_property
    def _pieces(self) -> list[str]:
        size = self.loaded.model.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
        return list(self.loaded.tokenizer.batch_decode([[token] for token in range(size)]))

    @cached_property
    def _breaks_V(self) -> torch.Tensor:  # noqa: N802  (V is a shape suffix)
        return torch.tensor(["\n" in piece for piece in self._pieces], device=self.loaded.device)

    @cached_property
    def _blank_V(self) -> torch.Tensor:  # noqa: N802
        """Which tokens are blank."""
        return torch.tensor(
            [not piece.strip() for piece in self._pieces], device=self.loaded.device
        )


class _First:
    """Shows the logits of the first token of a batch, and changes none."""

    def __init__(
        self, part: Sequence[int], look_at: Callable[[Sequence[int], torch.Tensor], None]
    ) -> None:
        self._part, self._look_at = part, look_at
        self._seen = False

    def __call__(self, _ids_BT: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:  # noqa: N803
        if not self._seen:
            self._seen = True
            self._look_at(self._part, logits_BV)
        return logits_BV


class _Enough:
    """Stops each row of a batch at its budget, or at the end of its first non-blank line."""

    def __init__(
        self,
        width: int,
        budgets: Sequence[int],
        breaks_V: torch.Tensor | None,  # noqa: N803
        blank_V: torch.Tensor,  # noqa: N803
    ) -> None:
        self.lengths = list(budgets)
        self._width = width
        self._breaks_V, self._blank_V = breaks_V, blank_V
        self._budget_B = torch.tensor(budgets, device=blank_V.device)
        self._said_B = torch.zeros_like(self._budget_B, dtype=torch.bool)
        self._done_B = torch.zeros_like(self._said_B)

    def __call__(self, ids_BT: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        count = ids_BT.shape[1] - self._width
        last_B = ids_BT[:, -1]
        self._said_B |= ~self._blank_V[last_B]
        done_B = count >= self._budget_B
        if self._breaks_V is not None:
            done_B = done_B | (self._breaks_V[last_B] & self._said_B)
        for row in (done_B & ~self._done_B).nonzero().squeeze(1).tolist():
            self.lengths[row] = count
        self._done_B |= done_B
        return self._done_B.clone()
