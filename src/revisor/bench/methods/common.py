"""What methods that leave something in the model share: the check after a fit, refusals, texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import torch

from revisor import data
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.weights import EditedWeights
from revisor.bench.protocol import Failure
from revisor.errors import NotSupported
from revisor.facts.fact import Fact
from revisor.models.hooks import inputs_of, outputs_of
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import Context, ContextPlan, Request, make_requests
from revisor.neuraldb.editing.score import score_contexts

KEY_PREFIXES = 5  # prefixed texts beside the bare prompt in which a value is optimised


def locate_plan(prefixed: int = KEY_PREFIXES) -> ContextPlan:
    """The texts of the locate-then-edit methods: as `neuraldb` has them."""
    return ContextPlan(prefixes=data.prefixes(), per_fact=prefixed, chat=False, essence=True)


def apart_from_opening(request: Request) -> Request:
    """The request without the texts whose first token is the subject's last, if others are left.

    In a model that puts no token before a text, all first tokens have nearly one key, whoever the
    subject is, and every later token attends to them. A weight that gives that key a fact's value
    gives it to every text: one such fact spoils all others.
    """
    kept = tuple(c for c in request.contexts if c.position > 0 or not c.target)
    return replace(request, contexts=kept) if any(c.target for c in kept) else request


def trained_plan(prefixed: int, *, chat: bool) -> ContextPlan:
    """The texts of the trained methods: bare prompt, the fact's own wordings, prefixed ones."""
    return ContextPlan(prefixes=data.prefixes(), per_fact=prefixed, chat=chat)


def unsaid(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    attached: Callable[[], AbstractContextManager[None]],
) -> list[Failure]:
    """The facts whose object the model does not say greedily to their own bare prompt."""
    plan = ContextPlan(wordings=0, aliases=0, chat=False)
    contexts = [request.contexts[0] for request in make_requests(facts, loaded.tokenizer, plan)]
    with attached():
        scores = score_contexts(loaded, contexts)
    return [
        Failure(fact_id=fact.id, fault=f"not said after the edit (loss {score.nll:.2f} a token)")
        for fact, score in zip(facts, scores, strict=True)
        if not score.greedy
    ]


@torch.no_grad()
def leaving_at(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    contexts: Sequence[Context],
    *,
    batch_tokens: int = 4096,
) -> torch.Tensor:
    """What leaves a decoder layer at each context's subject: (N, D), fp32, on the CPU."""
    out_ND = torch.empty(len(contexts), spec.hidden_width)
    order = sorted(range(len(contexts)), key=lambda i: contexts[i].position)
    for part in _parts(order, lambda i: contexts[i].position + 1, batch_tokens):
        longest = max(contexts[i].position + 1 for i in part)
        ids_BT = torch.zeros(len(part), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, index in enumerate(part):
            end = contexts[index].position + 1
            ids_BT[row, :end] = torch.tensor(contexts[index].ids[:end])
            mask_BT[row, :end] = 1
        at_B = mask_BT.sum(1) - 1
        with _leaving(spec, layer) as seen:
            loaded.model(
                input_ids=ids_BT.to(loaded.device),
                attention_mask=mask_BT.to(loaded.device),
                use_cache=False,
            )
        out_ND[torch.tensor(part)] = seen[0].cpu().float()[torch.arange(len(part)), at_B]
    return out_ND


def _parts(
    order: Sequence[int], length: Callable[[int], int], batch_tokens: int
) -> Iterator[list[int]]:
    """Indices in batches; `order` ascends by length."""
    part: list[int] = []
    for index in order:
        if part and (len(part) + 1) * length(index) > batch_tokens:
            yield part
            part = []
        part.append(index)
    if part:
        yield part


@contextmanager
def _leaving(spec: Spec, layer: int) -> Iterator[list[torch.Tensor]]:
    """The output of a layer; the layers above are not run."""
    if layer + 1 < spec.depth:
        with inputs_of(spec.layers[layer + 1], stop=True) as seen:
            yield seen
    else:
        with outputs_of(spec.layers[layer]) as seen:
            yield seen


class WeightEditor:
    """The part of an `Editor` that every method with changed weights shares.

    Args:
        binding: the model.
        name: of the method.

    Attributes:
        weights: the changed weights; None before the first fit.
    """

    def __init__(self, binding: Binding, name: str) -> None:
        self.name = name
        self.binding = binding
        self.loaded, self.spec = binding.loaded, binding.spec
        self.weights: EditedWeights | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the changed weights; on exit it has its own tensors again."""
        if self.weights is None:
            yield
            return
        with self.weights.swapped():
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
