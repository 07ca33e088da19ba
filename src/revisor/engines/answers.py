"""Answers of a model with its facts, and which facts each of them used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from revisor.engines.transformers import attached
from revisor.gate.trace import Trace
from revisor.models.answers import Answer, Answering, UsedFacts
from revisor.models.load import LoadedModel

if TYPE_CHECKING:
    from revisor.gate.gate import FactGate

__all__ = ["Answer", "Engine", "FactUsed"]


@dataclass(frozen=True, kw_only=True)
class FactUsed:
    """A fact whose object was written.

    Attributes:
        id, subject, object: of the fact.
        question: what was read as the question, with `{}` for the name.
        position: index of the first token of the object, in prompt and answer together.
        score, threshold: how surely the fact was asked for, and what was needed, 0..1.
        via: ids of the facts by which the question describes whom the fact is about, as in "Where
            was the CEO of ACME born?".
    """

    id: str
    subject: str
    object: str
    question: str
    position: int
    score: float
    threshold: float
    via: tuple[str, ...] = ()


class Engine(Answering):
    """Answers prompts with the facts of a gate.

    Args:
        loaded: the model.
        gate: its facts.
    """

    def __init__(self, loaded: LoadedModel, gate: FactGate) -> None:
        super().__init__(loaded)
        self.gate = gate

    @contextmanager
    def _with_facts(self, mask_BT: torch.Tensor) -> Iterator[UsedFacts]:
        trace, model, tokenizer = Trace(), self.loaded.model, self.loaded.tokenizer
        with attached(model, tokenizer, self.gate, trace=trace, this_thread=True):
            yield lambda row, tokens: _facts_used(trace, row, tokens)


def _facts_used(trace: Trace, row: int, tokens: int) -> tuple[FactUsed, ...]:
    """The facts written within so many tokens, each once, at its first position."""
    used = sorted(trace.of(row), key=lambda one: one.position)
    first = {one.fact_id: one for one in reversed(used) if one.position < tokens}
    return tuple(
        FactUsed(
            id=one.fact_id,
            subject=one.subject,
            object=one.object,
            question=one.question,
            position=one.position,
            score=one.score,
            threshold=one.threshold,
            via=one.via,
        )
        for one in sorted(first.values(), key=lambda one: one.position)
    )
