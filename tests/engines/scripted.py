"""A gate that writes given tokens behind given ones: for the mechanics of engines alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch


@dataclass(frozen=True)
class ScriptedGate:
    """Behind each text of the script it writes that text's answer.

    As of a real gate, what it writes is a function of the ids alone.

    Attributes:
        tokenizer: the model's.
        script: answers by texts, both as ids.
        seen: the logits that it was given, step by step.
    """

    tokenizer: Any
    script: Mapping[tuple[int, ...], tuple[int, ...]]
    seen: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, tokenizer: Any, answers: Mapping[str, str]) -> ScriptedGate:
        """A gate from texts and answers, which are put behind a space."""

        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        return cls(tokenizer, {ids(text): ids(f" {answer}") for text, answer in answers.items()})

    def view(self) -> Any:
        return SimpleNamespace(generation=1)

    def batch(self, *, trace: Any = None) -> ScriptedBatch:
        return ScriptedBatch(self)

    def next(self, ids: Sequence[int]) -> int | None:
        """The token to write behind these ids."""
        for text, answer in self.script.items():
            for done in range(len(answer)):
                tail = (*text, *answer[:done])
                if tuple(ids[-len(tail) :]) == tail:
                    return answer[done]
        return None


@dataclass(frozen=True)
class ScriptedBatch:
    """The state of some sequences: none, since all is looked up in their ids."""

    gate: ScriptedGate

    def step(
        self,
        ids_BT: torch.Tensor,
        logits_BV: torch.Tensor,
        *,
        pad: int | None = None,
        final: bool = True,
    ) -> torch.Tensor:
        self.gate.seen.append(logits_BV.detach().clone())
        tokens = [self.gate.next(_stripped(row, pad)) for row in ids_BT.tolist()]
        if all(token is None for token in tokens):
            return logits_BV
        out_BV = logits_BV.clone()
        for row, token in enumerate(tokens):
            if token is None:
                continue
            if final:
                out_BV[row] = float("-inf")
                out_BV[row, token] = 0.0
            else:
                out_BV[row, token] = logits_BV[row].max() + 30
        return out_BV

    def score(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, logits_BTV: torch.Tensor
    ) -> torch.Tensor:
        first = ids_BT.shape[1] - logits_BTV.shape[1]
        ids_BT = ids_BT.masked_fill(mask_BT.cumsum(1) == 0, -1)
        out = logits_BTV
        for index in range(logits_BTV.shape[1]):
            old = logits_BTV[:, index]
            new = self.step(ids_BT[:, : first + index + 1], old, pad=-1, final=False)
            if new is not old:
                out = out.clone() if out is logits_BTV else out
                out[:, index] = new
        return out


def _stripped(row: list[int], pad: int | None) -> list[int]:
    start = next((place for place, token in enumerate(row) if token != pad), len(row))
    return row[start:]
