"""The published way to a residual: one fact at a time, everything in full, at every step.

MEMIT (Meng et al. 2023, eq. 5) takes the optimisation from ROME (Meng et al. 2022, eq. 4);
AlphaEdit and NeuralDB (Fei et al. 2026) take it from MEMIT. With h the layer's output at the last
token of the subject, and δ added to it there, Adam minimises

    mean NLL(object) + kl_weight * KL(edited || base after "{subject} is a") + decay * |δ| / |h|²

over the bare prompt and five prefixed ones, |δ| cut back to clamp * |h| after each step. |δ| is not
squared in the weight decay: at the published weight 0.5 the square would hold the loss above
`STOP_LOSS` and make the reference look slow.

Shapes: B rows (all contexts of the fact), T columns, D hidden width, V vocabulary, M target
positions, E KL prompts. Rows are padded on the right, where a causal model cannot see the padding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from revisor.errors import UsageError
from revisor.models.hooks import Rewrite, outputs_of, rewritten
from revisor.models.padding import padded
from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import ContextPlan, Request

PREFIXED = 5  # contexts beside the bare prompt
STOP_LOSS = 5e-2  # the one reason to leave before the last step


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One fact's residual, fp32, on the CPU; the worst context's mean NLL a target token; whether
    all target tokens are the most probable in every context; and wall time."""

    r_D: torch.Tensor
    nll: float
    greedy: bool
    seconds: float


def published_plan(prefixes: Sequence[str]) -> ContextPlan:
    """The contexts of the published way: the bare prompt, five prefixed ones, the KL prompt."""
    return ContextPlan(prefixes=prefixes, per_fact=PREFIXED, wordings=0, aliases=0, essence=True)


def published_residual(
    model: nn.Module,
    spec: Spec,
    layer: int,
    request: Request,
    *,
    steps: int = 25,
    rate: float = 0.5,
    clamp: float = 4.0,
    kl_weight: float = 0.0625,
    decay: float = 0.5,
) -> PublishedResult:
    """Optimise one fact's residual as published; the model is unchanged afterwards.

    Args:
        model: published with fp32 weights.
        request: a fact with the contexts of `published_plan`.
        steps: passes through the model; the last one measures what the steps before it made.
        rate: Adam's step, in the units of h.
        clamp: |δ| at most, as a multiple of |h| (the bare prompt's).
        kl_weight, decay: weights of the two terms beside the NLL.

    Raises:
        UsageError: no step, a context list without a target or a KL prompt, an unknown layer.
    """
    started = time.perf_counter()
    if steps < 1:
        raise UsageError(f"{steps} steps optimise nothing.", "Give at least 1.")
    device = next(model.get_input_embeddings().parameters()).device  # type: ignore[operator]
    rows = _pad(request, device)
    delta_D = torch.zeros(spec.hidden_width, device=device, requires_grad=True)
    adam = torch.optim.Adam([delta_D], lr=rate)
    norm = torch.ones((), device=device)  # |h|
    base_EV = torch.empty(0, device=device)  # log-probabilities after the KL prompt, unedited
    with torch.enable_grad(), rewritten(spec.ffn_projection(layer), _adding(delta_D, rows)):
        for step in range(steps):
            with outputs_of(spec.layers[layer]) as leaving:
                target_MV, now_EV = _said(model, rows)
            if step == 0:  # δ is zero: what is seen here is the unedited model
                norm = leaving[0][0, rows.position_B[0]].to(device).float().norm()
                base_EV = now_EV.detach()
            nll_M = F.cross_entropy(target_MV, rows.target_id_M, reduction="none")
            nll_C = _mean_by_row(nll_M, rows.target_row_M)
            # kl_div(input, target) is KL(target || input).
            kl = F.kl_div(base_EV, now_EV, log_target=True, reduction="batchmean")
            loss = nll_C.mean() + kl_weight * kl + decay * delta_D.norm() / norm.square()
            if float(loss.detach()) < STOP_LOSS or step == steps - 1:
                break
            (delta_D.grad,) = torch.autograd.grad(loss, delta_D)
            adam.step()
            with torch.no_grad():
                delta_D.mul_((clamp * norm / delta_D.norm().clamp(min=1e-9)).clamp(max=1))
    return PublishedResult(
        r_D=delta_D.detach().cpu(),
        nll=float(nll_C.detach().max()),
        greedy=bool((target_MV.argmax(-1) == rows.target_id_M).all()),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """All contexts of one fact as one padded batch; the bare prompt is row 0."""

    ids_BT: torch.Tensor
    mask_BT: torch.Tensor
    place_BT: torch.Tensor  # position ids
    position_B: torch.Tensor  # column of the subject's last token
    target_row_M: torch.Tensor
    target_column_M: torch.Tensor  # the column whose logits say the target token
    target_id_M: torch.Tensor
    essence_row_E: torch.Tensor
    essence_column_E: torch.Tensor


def _adding(delta_D: torch.Tensor, rows: _Rows) -> Rewrite:
    """A rewrite that adds δ at the last token of the subject in every context."""
    at_B = torch.arange(len(rows.position_B), device=delta_D.device) * rows.ids_BT.shape[1]
    at_B = at_B + rows.position_B

    def add(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        flat = value.reshape(-1, value.shape[-1])
        push = delta_D.to(device=flat.device, dtype=flat.dtype).expand(len(at_B), -1)
        return flat.index_add(0, at_B.to(flat.device), push).view_as(value)

    return add


def _said(model: nn.Module, rows: _Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the target tokens (M, V), and log-probabilities after the KL prompts (E, V)."""
    logits_BTV = model(
        input_ids=rows.ids_BT,
        attention_mask=rows.mask_BT,
        position_ids=rows.place_BT,
        use_cache=False,
    ).logits
    target_MV = logits_BTV[rows.target_row_M, rows.target_column_M].float()
    essence_EV = logits_BTV[rows.essence_row_E, rows.essence_column_E].float()
    return target_MV, essence_EV.log_softmax(-1)


def _pad(request: Request, device: torch.device) -> _Rows:
    contexts = request.contexts
    ids_BT, mask_BT = padded([context.ids + context.target[:-1] for context in contexts])
    target: list[tuple[int, int, int]] = []
    essence: list[tuple[int, int]] = []
    for row, context in enumerate(contexts):
        last = len(context.ids) - 1
        target += [(row, last + offset, token) for offset, token in enumerate(context.target)]
        if not context.target:
            essence.append((row, last))
    if not target or not essence:
        raise UsageError(
            f"The request for '{request.fact.text}' lacks contexts with a target or a KL prompt.",
            "Make it with make_requests(facts, tokenizer, published_plan(prefixes)).",
        )
    target_M3 = torch.tensor(target, device=device)
    essence_E2 = torch.tensor(essence, device=device)
    return _Rows(
        ids_BT=ids_BT.to(device),
        mask_BT=mask_BT.to(device),
        place_BT=torch.arange(ids_BT.shape[1], device=device).expand(len(contexts), -1),
        position_B=torch.tensor([context.position for context in contexts], device=device),
        target_row_M=target_M3[:, 0],
        target_column_M=target_M3[:, 1],
        target_id_M=target_M3[:, 2],
        essence_row_E=essence_E2[:, 0],
        essence_column_E=essence_E2[:, 1],
    )


def _mean_by_row(nll_M: torch.Tensor, row_M: torch.Tensor) -> torch.Tensor:
    """Mean NLL a token of each context that has a target."""
    tokens_B = torch.bincount(row_M)
    total_B = torch.zeros(len(tokens_B), device=nll_M.device).index_add(0, row_M, nll_M)
    return total_B[tokens_B > 0] / tokens_B[tokens_B > 0]
