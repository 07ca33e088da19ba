"""Logits processors of transformers that write facts.

Letters: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor

from revisor.engines.bindings import PAD, Binding, Call, Writing, changed
from revisor.errors import UsageError

if TYPE_CHECKING:
    from revisor.gate.gate import FactGate
    from revisor.gate.trace import Trace


class FactLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Writes facts from the list of processors that is passed to `generate`.

    It sees the logits after the processors that transformers puts before the caller's (repetition
    penalty, bias, guidance); `attached` does not have this limit. One object serves any number of
    calls and threads; each call has the facts that are in force when it begins.

    Args:
        tokenizer: the model's; tells the token with which prompts are padded on the left.
        trace: receives the decisions.

    Raises:
        UsageError: no tokenizer.
    """

    supports_continuous_batching = False

    def __init__(self, gate: FactGate, tokenizer: Any, trace: Trace | None = None) -> None:
        check_tokenizer(tokenizer)
        self._gate = gate
        self._pad: int | None = tokenizer.pad_token_id
        self._trace = trace
        self._calls = threading.local()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) of the token after `input_ids` (B, T)."""
        prompt_BP: torch.Tensor | None = getattr(self._calls, "prompt_BP", None)
        if prompt_BP is None or not _continues(input_ids, prompt_BP):
            self._calls.prompt_BP = input_ids
            self._calls.batch = self._gate.batch(trace=self._trace)
        new_BV: torch.Tensor = self._calls.batch.step(input_ids, scores, pad=self._pad)
        return new_BV


class GateProcessor(LogitsProcessor):  # type: ignore[misc]
    """The gates of one `generate` call, as its first processor: it sees raw logits. `mask_BT` is 0
    where prompts are padded, None if they are not."""

    def __init__(
        self, bindings: tuple[Binding, ...], call: Call, mask_BT: torch.Tensor | None
    ) -> None:
        self._writing = Writing(bindings=bindings)
        self._call = call
        padding_BT = None if mask_BT is None else leading(mask_BT)
        self._padding_BT = padding_BT if padding_BT is not None and padding_BT.any() else None
        self.written: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V); the same tensor where nothing is written."""
        new_BV = self._writing.step(self._text(input_ids), scores)
        self.written = None
        if new_BV is scores:
            return scores
        self.written = changed(new_BV, scores), new_BV
        return new_BV

    def _text(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """The ids of the whole text, with padding marked."""
        if self._call.before is not None:
            before_BP, mask_BP = (repeated(part, ids_BT) for part in self._call.before)
            before_BP = before_BP.masked_fill(leading(mask_BP), PAD)
            ids_BT = torch.cat([before_BP, ids_BT], dim=1)
        if self._padding_BT is None:
            return ids_BT
        padding_BT = repeated(self._padding_BT, ids_BT)
        width = min(padding_BT.shape[1], ids_BT.shape[1])
        ids_BT = ids_BT.clone()
        ids_BT[:, :width].masked_fill_(padding_BT[:, :width], PAD)
        return ids_BT


class WholeFacts(LogitsProcessor):  # type: ignore[misc]
    """The last processor: where rules such as `no_repeat_ngram_size` leave a row without any token,
    what the fact wrote is restored, so that no fact is cut in two."""

    def __init__(self, facts: GateProcessor) -> None:
        self._facts = facts

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V), in which every row has a token to choose."""
        if self._facts.written is None:
            return scores
        rows_B, new_BV = self._facts.written
        if scores.shape != new_BV.shape:
            return scores
        lost_B = rows_B & ~torch.isfinite(scores).any(dim=-1)
        return torch.where(lost_B[:, None], new_BV, scores) if bool(lost_B.any()) else scores


def leading(mask_BT: torch.Tensor) -> torch.Tensor:
    """Where padding on the left is: bool (B, T)."""
    return mask_BT.cumsum(dim=1) == 0


def repeated(part_BT: torch.Tensor, ids_BT: torch.Tensor) -> torch.Tensor:
    """Rows of the prompts, repeated where each has several continuations."""
    times = max(1, len(ids_BT) // len(part_BT))
    return part_BT.repeat_interleave(times, dim=0).to(ids_BT.device)


def _continues(ids_BT: torch.Tensor, prompt_BP: torch.Tensor) -> bool:
    """Whether the rows are a call's prompts with more tokens behind them."""
    width = prompt_BP.shape[1]
    longer = ids_BT.shape[1] > width and len(ids_BT) == len(prompt_BP)
    return longer and torch.equal(ids_BT[:, :width], prompt_BP)


def check_tokenizer(tokenizer: Any) -> None:
    """Raise UsageError for what is no tokenizer."""
    if not hasattr(tokenizer, "get_vocab"):
        raise UsageError(
            f"A {type(tokenizer).__name__} is no tokenizer.", "Pass the model, then its tokenizer."
        )
