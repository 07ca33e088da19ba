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


class Engine(Answering):
    """Answers prompts with the rows in force.

    Args:
        loaded, spec, layer: the model and where its gate is.
        view: tells the rows in force; asked at every call.
        fact_of: the fact of a row id, None if it is not known any more.
    """

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
        """The facts behind hits, each once, at the first of the tokens at which its key was
        nearest."""
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
