"""What methods that leave something in the model share: the check after a fit, refusals, texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from revisor import data
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.moments import TOKENS
from revisor.bench.methods.weights import EditedWeights
from revisor.bench.protocol import Failure
from revisor.errors import NotSupported
from revisor.facts.fact import Fact
from revisor.models.hooks import inputs_of, outputs_of
from revisor.models.load import LoadedModel
from revisor.models.padding import in_batches, padded
from revisor.models.spec import Spec
from revisor.neuraldb.editing.keys import BATCH_TOKENS
from revisor.neuraldb.editing.request import Context, ContextPlan, Request, make_requests
from revisor.neuraldb.editing.residuals import ValueSettings
from revisor.neuraldb.editing.score import score_targets


@dataclass(frozen=True, kw_only=True)
class ValueOptions:
    """What methods that optimise target values share (see also `ValueSettings`): prefixed contexts
    beside a fact's bare prompt, and background tokens that C is measured on."""

    prefixed: int = 5
    steps: int = 25
    rate: float = 0.3
    clamp: float = 0.75
    kl_weight: float = 0.0625
    moment_tokens: int = TOKENS

    def values(self) -> ValueSettings:
        """How target values are optimised."""
        return ValueSettings(
            steps=self.steps,
            rate=self.rate,
            clamp=self.clamp,
            kl_weight=self.kl_weight,
        )

    def requests(self, facts: Sequence[Fact], tokenizer: Any) -> list[Request]:
        """The facts' texts, as `neuraldb` has them."""
        plan = ContextPlan(prefixes=data.prefixes(), per_fact=self.prefixed, essence=True)
        return [apart_from_opening(one) for one in make_requests(facts, tokenizer, plan)]


def apart_from_opening(request: Request) -> Request:
    """The request without the texts whose first token is the subject's last, if others are left.

    In a model that puts no token before a text, all first tokens have nearly one key, whoever the
    subject is, and every later token attends to them. A weight that gives that key a fact's value
    gives it to every text: one such fact spoils all others.
    """
    kept = tuple(c for c in request.contexts if c.position > 0 or not c.target)
    return replace(request, contexts=kept) if any(c.target for c in kept) else request


def unsaid(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    attached: Callable[[], AbstractContextManager[None]],
) -> list[Failure]:
    """The facts whose object the model does not say greedily to their own bare prompt."""
    plan = ContextPlan(wordings=0, aliases=0)
    contexts = [request.contexts[0] for request in make_requests(facts, loaded.tokenizer, plan)]
    with attached():
        scores = score_targets(loaded, contexts)
    return [
        Failure(fact_id=fact.id, fault=f"not said after the edit (loss {score.nll:.2f} a token)")
        for fact, score in zip(facts, scores, strict=True)
        if not score.greedy
    ]


@torch.no_grad()
def leaving_at(
    loaded: LoadedModel, spec: Spec, layer: int, contexts: Sequence[Context]
) -> torch.Tensor:
    """What leaves a decoder layer at each context's subject: (N, D), fp32, on the CPU."""
    out_ND = torch.empty(len(contexts), spec.hidden_width)
    for part in in_batches([context.position + 1 for context in contexts], BATCH_TOKENS):
        texts = [contexts[i].ids[: contexts[i].position + 1] for i in part]
        ids_BT, mask_BT = padded(texts)
        with _leaving(spec, layer) as seen:
            loaded.model(
                input_ids=ids_BT.to(loaded.device),
                attention_mask=mask_BT.to(loaded.device),
                use_cache=False,
            )
        last_B = mask_BT.sum(1) - 1
        out_ND[torch.tensor(part)] = seen[0].cpu().float()[torch.arange(len(part)), last_B]
    return out_ND


@contextmanager
def _leaving(spec: Spec, layer: int) -> Iterator[list[torch.Tensor]]:
    """The output of a layer; the layers above are not run."""
    if layer + 1 < spec.depth:
        with inputs_of(spec.layers[layer + 1], stop=True) as seen:
            yield seen
    else:
        with outputs_of(spec.layers[layer]) as seen:
            yield seen


class WeightEditor(ABC):
    """What methods with changed weights share of an `Editor`; no `weights` before the first fit."""

    def __init__(self, binding: Binding, name: str) -> None:
        self.name = name
        self.binding = binding
        self.loaded, self.spec = binding.loaded, binding.spec
        self.weights: EditedWeights | None = None

    @abstractmethod
    def _changed(self) -> Iterable[nn.Parameter]:
        """The parameters that it changes; called once, on the unedited model."""

    @abstractmethod
    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        """Write facts into the weights as they are now."""

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Write facts into the model as edited so far; returns those that it does not say then."""
        if not facts:
            return []
        if self.weights is None:
            self.weights = EditedWeights(self._changed())
        self._write(facts, self.weights)
        return unsaid(self.loaded, facts, self.attached)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the changed weights; on exit it has its own tensors again."""
        with nullcontext() if self.weights is None else self.weights.swapped():
            yield

    def undo(self, ids: object) -> None:
        """Raises `NotSupported`: a weight holds all facts at once."""
        raise NotSupported(
            f"'{self.name}' cannot take single facts out of the weights again.",
            "Fit a new editor on the facts that shall stay, or use 'revisor', 'grace' or 'rag'.",
        )

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is: the facts are in the weights."""
        return prompt

    @property
    def stored_bytes(self) -> int:
        """The changed weights in the model's dtype."""
        return 0 if self.weights is None else self.weights.stored_bytes
