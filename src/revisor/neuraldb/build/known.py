"""Facts that a model knows by itself: it says their object greedily after the bare prompt."""

from __future__ import annotations

from collections.abc import Sequence

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.score import score_targets
from revisor.progress import Progress

BATCH = 256


def known_facts(loaded: LoadedModel, facts: Sequence[Fact]) -> set[str]:
    """The ids of the facts that the model says without any help."""
    known: set[str] = set()
    with Progress("Asking the base model", total=len(facts), unit="facts") as progress:
        for start in range(0, len(facts), BATCH):
            part = facts[start : start + BATCH]
            requests = make_requests(part, loaded.tokenizer, ContextPlan(wordings=0, aliases=0))
            scores = score_targets(loaded, [request.contexts[0] for request in requests])
            known.update(fact.id for fact, score in zip(part, scores, strict=True) if score.greedy)
            progress.advance(len(part))
    return known
