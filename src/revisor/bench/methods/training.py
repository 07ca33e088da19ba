"""Gradient descent on facts: of one FFN output projection (`ft`) or of all weights (`retrain`).
LoRA shares the loop.

The loss is on the object's tokens alone. Adam works on fp32 copies while the model runs in its own
dtype, so that small steps are not lost in bf16. It stops early when the model says every object
greedily in every context with a mean loss of at most `stop_nll`, in one whole epoch.

Shapes: B rows (contexts), M target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from revisor import data
from revisor.bench.methods.binding import Binding, check_layers, layer_at
from revisor.bench.methods.common import WeightEditor
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.facts.fact import Fact
from revisor.models.hooks import head_at
from revisor.models.load import LoadedModel
from revisor.models.padding import padded
from revisor.neuraldb.editing.request import Context, ContextPlan, Request, make_requests
from revisor.progress import Progress

FT_SHARE = 0.6  # of the depth; see the sweep in benchmarks/sweep_baselines.py


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How parameters are moved.

    Attributes:
        rate: Adam's step at the start; it falls linearly to a tenth over the epochs.
        epochs: most passes over the facts.
        batch: facts a step, with all their contexts.
        stop_nll: mean loss a target token at which training ends early.
        clip: bound of the gradient's norm.
        prefixed: prefixed contexts of a fact beside its bare prompt.
        relative: the rate is a multiple of each parameter's root mean square: one value then
            serves models of any width. No option: it belongs to the method.
    """

    rate: float = 1e-3
    epochs: int = 20
    batch: int = 8
    stop_nll: float = 0.05
    clip: float = 1.0
    prefixed: int = 1
    relative: ClassVar[bool] = False

    def requests(self, facts: Sequence[Fact], tokenizer: Any) -> list[Request]:
        """The texts that facts are learnt in: bare prompt, their own wordings, prefixed ones."""
        plan = ContextPlan(prefixes=data.prefixes(), per_fact=self.prefixed)
        return make_requests(facts, tokenizer, plan)


def target_places(contexts: Sequence[Context]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column (M) of the positions at which the target tokens are said."""
    places = [
        (row, len(context.ids) - 1 + offset)
        for row, context in enumerate(contexts)
        for offset in range(len(context.target))
    ]
    row_M, column_M = torch.tensor(places).unbind(1)
    return row_M, column_M


def target_losses(loaded: LoadedModel, contexts: Sequence[Context]) -> tuple[torch.Tensor, bool]:
    """Each context's mean NLL a target token (B), with gradients; whether all are greedy."""
    ids_BT, mask_BT = padded([context.ids + context.target[:-1] for context in contexts])
    row_M, column_M = (place.to(loaded.device) for place in target_places(contexts))
    id_M = torch.tensor([token for c in contexts for token in c.target], device=loaded.device)
    with head_at(loaded.model, lambda: (row_M, column_M)):
        said = loaded.model(
            input_ids=ids_BT.to(loaded.device),
            attention_mask=mask_BT.to(loaded.device),
            use_cache=False,
        )
    logits_MV = said.logits[0].float()
    nll_M = F.cross_entropy(logits_MV, id_M, reduction="none")
    count_B = torch.bincount(row_M, minlength=len(contexts))
    nll_B = torch.zeros(len(contexts), device=nll_M.device).index_add(0, row_M, nll_M) / count_B
    return nll_B, bool((logits_MV.argmax(-1) == id_M).all())


def train(
    loaded: LoadedModel,
    requests: Sequence[Request],
    parameters: Sequence[nn.Parameter],
    masters: Sequence[torch.Tensor],
    options: TrainOptions,
    *,
    publish: Callable[[], None] | None = None,
    title: str,
) -> None:
    """Move fp32 masters, in place, until the model says the facts; `parameters` are the model's,
    into which `publish` writes masters that are not the same tensors."""
    scales = [float(m.square().mean().sqrt()) if options.relative else 1.0 for m in masters]
    adam = torch.optim.Adam([{"params": [m]} for m in masters])
    order = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with Progress(title, total=options.epochs * len(requests), unit="facts") as progress:
            for epoch in range(options.epochs):
                rate = options.rate * (1 - 0.9 * epoch / options.epochs)
                for group, scale in zip(adam.param_groups, scales, strict=True):
                    group["lr"] = rate * scale
                total, learnt = 0.0, True
                shuffled = torch.randperm(len(requests), generator=order).tolist()
                for start in range(0, len(shuffled), options.batch):
                    part = shuffled[start : start + options.batch]
                    contexts = [c for i in part for c in requests[i].contexts if c.target]
                    nll_B, greedy = target_losses(loaded, contexts)
                    gradients = torch.autograd.grad(nll_B.mean(), list(parameters))
                    total += float(nll_B.detach().mean()) * len(part)
                    learnt = learnt and greedy
                    _step(adam, masters, gradients, options.clip)
                    if publish is not None:
                        publish()
                    progress.advance(len(part))
                if learnt and total / len(requests) <= options.stop_nll:
                    break
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


def _step(
    adam: torch.optim.Optimizer,
    masters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    clip: float,
) -> None:
    """One step of Adam on the masters, with the gradient's norm clipped."""
    norm = torch.stack([g.float().norm() for g in gradients]).norm()
    scale = (clip / norm.clamp(min=1e-12)).clamp(max=1.0)
    for master, gradient in zip(masters, gradients, strict=True):
        master.grad = gradient.to(master) * scale.to(master)
    adam.step()
    adam.zero_grad()


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(TrainOptions):
    """Continued training of all weights; the rate is relative."""

    relative: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class FtOptions(RetrainOptions):
    """Fine-tuning of one FFN output projection (None: at 0.6 of the depth); the rate is
    relative."""

    layer: int | None = None
    rate: float = 0.04
    epochs: int = 30


class TuningEditor(WeightEditor):
    """Fine-tuning of one layer or of all weights, by the kind of its options."""

    def __init__(self, binding: Binding, options: RetrainOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        self.layer: int | None = None
        if isinstance(options, FtOptions):
            layer = layer_at(binding, FT_SHARE) if options.layer is None else options.layer
            (self.layer,) = check_layers(binding, (layer,))

    def _changed(self) -> Iterable[nn.Parameter]:
        if self.layer is None:
            return self.loaded.model.parameters()
        return [projection_weight(self.spec.ffn_projection(self.layer))]

    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        requests = self.options.requests(facts, self.loaded.tokenizer)
        with weights.swapped():
            train(
                self.loaded,
                requests,
                weights.parameters,
                weights.masters,
                self.options,
                publish=weights.publish,
                title=self.name,
            )
