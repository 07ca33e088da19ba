"""Answers of a model with the rows in force, and which facts fired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from revisor.facts.fact import Fact
from revisor.models.answers import Answering, UsedFacts
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.watch import Hit, Watch


@dataclass(frozen=True, kw_only=True)
class FactUsed:
    """A fact whose row fired at the token `position`, counted in prompt and answer together;
    `score` and `threshold` are the match's cosine and γ."""

    id: str
    subject: str
    object: str
    position: int
    score: float
    threshold: float


class Engine(Answering):
    """Answers prompts with the rows in force, which `view` tells at every call; `fact_of` gives a
    row's fact, None if it is unknown by now."""

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        layer: int,
        view: Callable[[], View],
        fact_of: Callable[[str], Fact | None],
    ) -> None:
        super().__init__(loaded)
        self.spec = spec
        self.layer = layer
        self.view = view
        self.fact_of = fact_of

    @contextmanager
    def _with_facts(self, mask_BT: torch.Tensor) -> Iterator[UsedFacts]:
        watch = Watch()
        watch.begin(mask_BT)
        with attach(self.spec, self.layer, self.view(), watch=watch):
            yield lambda row, tokens: self._facts_used(watch.log[row], tokens)

    def _facts_used(self, hits: Sequence[Hit], tokens: int) -> tuple[FactUsed, ...]:
        """The facts behind hits, each once, at the first of the tokens with its highest cosine."""
        used: dict[str, FactUsed] = {}
        for hit in hits:
            fact = self.fact_of(hit.row_id) if hit.position < tokens else None
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
