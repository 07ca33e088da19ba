"""R: the residuals that make the model say new objects, by batched optimisation.

The residual is added to the FFN's output of `layer` at the subject's last token and minimises, over
the contexts of a request (Fei et al. 2026, section 4; Meng et al. 2023, eq. 5)

    mean NLL(object) + kl_weight * KL(base || edited after "{subject} is a")

under |r| <= clamp * |h|, with h the layer's output there. What makes it fast: everything before the
subject's last token and below the layer is computed once and reused (K/V of the prefix, input of
the layer); a batch holds many facts, sorted by length; logits are computed at target positions
only; a fact that has converged leaves its batch.

Shapes: n requests in a batch, B rows (all contexts of all requests), P prefix and S suffix columns,
D hidden width, M target positions, V vocabulary. Rows are aligned at their right end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from revisor.models.hooks import attention, ffn_rewritten, head_at, replayed
from revisor.models.prefixed import attention_for_prefixes, fixed_cache
from revisor.models.spec import Spec
from revisor.neuraldb.editing.batches import Batch, prepare
from revisor.neuraldb.editing.pacing import Pace, grouped, pace, parts
from revisor.neuraldb.editing.request import Request

LEAVE_SHARE = 0.2  # a batch is compacted when this share of it has converged


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What one pass says of n requests: the summed loss, with its graph, and for each its worst
    context's NLL a token, whether all losses are low enough, and whether all tokens are greedy."""

    loss: torch.Tensor
    nll_n: torch.Tensor
    low_n: torch.Tensor
    greedy_n: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """How residuals are optimised.

    Attributes:
        steps: most Adam steps. What has not converged by then keeps its best; the build asks each
            fact through the gate and optimises longer where it does not answer (check.py).
        rate: Adam's step, in units of |h| / sqrt(D).
        clamp: most |r|, as a multiple of |h|.
        kl_weight: weight of the KL term on contexts without a target.
        stop_nll: a fact has converged when every context says every target token greedily with at
            most this mean NLL a token.
        batch_tokens: suffix tokens in a batch on a CPU, all contexts counted (see `pace`).
    """

    steps: int = 24
    rate: float = 1.0
    clamp: float = 3.0
    kl_weight: float = 0.0625
    stop_nll: float = 0.1
    batch_tokens: int = 2048


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Residuals (fp32) of n requests in order, with the worst context's mean NLL a target token,
    whether all target tokens of all contexts are greedy, and the steps spent."""

    R_ND: torch.Tensor
    nll_N: torch.Tensor
    greedy_N: torch.Tensor
    steps_N: torch.Tensor


def compute_residuals(
    model: nn.Module,
    spec: Spec,
    layer: int,
    requests: Sequence[Request],
    settings: ValueSettings | None = None,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Residuals:
    """Optimise one residual a request; the model is unchanged afterwards.

    A batch gives what single requests give within the rounding of the model's dtype: no term of the
    loss mixes requests. `on_done` is told how many more requests are finished.
    """
    settings = settings or ValueSettings()
    count = len(requests)
    result = Residuals(
        R_ND=torch.zeros(count, spec.hidden_width),
        nll_N=torch.full((count,), float("inf")),
        greedy_N=torch.zeros(count, dtype=torch.bool),
        steps_N=torch.zeros(count, dtype=torch.long),
    )
    with attention(model, attention_for_prefixes(model)):
        measure = pace(model, spec, layer, settings.batch_tokens)
        for batch in grouped(requests, measure):
            chosen = [requests[i] for i in batch]
            part = _optimise(model, spec, layer, chosen, settings, measure)
            index = torch.tensor(batch)
            result.R_ND[index], result.nll_N[index] = part.R_ND, part.nll_N
            result.greedy_N[index], result.steps_N[index] = part.greedy_N, part.steps_N
            if on_done:
                on_done(len(batch))
    return result


def _optimise(
    model: nn.Module,
    spec: Spec,
    layer: int,
    requests: Sequence[Request],
    settings: ValueSettings,
    measure: Pace,
) -> Residuals:
    """Adam on one batch, whose rows leave once their request has converged."""
    prepared = [prepare(model, spec, layer, rows, requests) for rows in parts(requests, measure)]
    batches = [batch for batch, _ in prepared]
    device = batches[0].owner_B.device
    count, width = len(requests), spec.hidden_width
    owner_B = torch.cat([batch.owner_B for batch in batches])
    norm_B = torch.cat([norm_B for _, norm_B in prepared])
    total_n = torch.zeros(count, device=device).index_add_(0, owner_B, norm_B)
    scale_n = total_n / torch.bincount(owner_B, minlength=count).clamp(min=1)
    out = Residuals(
        R_ND=torch.zeros(count, width),
        nll_N=torch.full((count,), float("inf")),
        greedy_N=torch.zeros(count, dtype=torch.bool),
        steps_N=torch.zeros(count, dtype=torch.long),
    )
    unit_n1 = scale_n[:, None] / width**0.5
    u_nD = torch.zeros(count, width, device=device, requires_grad=True)  # in units of |h| / sqrt(D)
    adam = torch.optim.Adam([u_nD], lr=settings.rate)
    active = torch.ones(count, dtype=torch.bool, device=device)
    there = active  # in the batches
    for step in range(1, settings.steps + 2):
        R_nD = u_nD * unit_n1
        outcomes = [_forward(model, spec, layer, b, R_nD, settings) for b in batches]
        nll_n = torch.stack([one.nll_n for one in outcomes]).amax(0)
        greedy_n = torch.stack([one.greedy_n for one in outcomes]).all(0)
        done = greedy_n & torch.stack([one.low_n for one in outcomes]).all(0)
        _record(out, active, R_nD.detach(), nll_n, greedy_n)
        active = active & ~done
        if step > settings.steps or not bool(active.any()):
            break
        out.steps_N[active.cpu()] += 1
        (u_nD.grad,) = torch.autograd.grad([one.loss for one in outcomes], u_nD)
        adam.step()
        with torch.no_grad():  # back inside the bound
            limit = settings.clamp * width**0.5
            u_nD *= (limit / u_nD.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1)
        if float((~active[there]).float().mean()) >= LEAVE_SHARE:
            there = active
            batches = [
                batch.rows(active[batch.owner_B])
                for batch in batches
                if bool(active[batch.owner_B].any())
            ]
    return out


def _record(
    out: Residuals,
    active: torch.Tensor,
    R_nD: torch.Tensor,
    nll_n: torch.Tensor,
    greedy_n: torch.Tensor,
) -> None:
    """Keep the best residual so far: greedy before not greedy, then the lower loss."""
    index = active.nonzero().squeeze(1).cpu()
    nll, greedy = nll_n[active].cpu(), greedy_n[active].cpu()
    known, won = out.nll_N[index], out.greedy_N[index]
    better = (greedy & ~won) | ((greedy == won) & (nll < known))
    where = index[better]
    out.R_ND[where] = R_nD[active].cpu()[better]
    out.nll_N[where], out.greedy_N[where] = nll[better], greedy[better]


def _forward(
    model: nn.Module,
    spec: Spec,
    layer: int,
    batch: Batch,
    R_nD: torch.Tensor,
    settings: ValueSettings,
) -> _Outcome:
    """One pass through the upper layers with these residuals."""
    rows, suffix = batch.ids_BS.shape
    where_B = torch.arange(rows, device=R_nD.device) * suffix + batch.column_B

    def add(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        flat = value.reshape(-1, value.shape[-1])
        push = R_nD[batch.owner_B].to(device=flat.device, dtype=flat.dtype)
        return flat.index_add(0, where_B.to(flat.device), push).view_as(value)

    pick_row = torch.cat([batch.target_row_M, batch.essence_row_E])
    last = torch.full_like(batch.essence_row_E, suffix - 1)
    pick_column = torch.cat([batch.target_column_M, last])
    with (
        replayed(spec, layer, lambda: batch.entering_BSD),
        ffn_rewritten(spec, layer, add),
        head_at(model, lambda: (pick_row, pick_column)),
    ):
        output = model(
            input_ids=batch.ids_BS,
            attention_mask=batch.mask_BT,
            position_ids=batch.place_BS,
            past_key_values=fixed_cache(model, batch.prefix),
            use_cache=True,
        )
    return _outcome(output.logits, batch, len(R_nD), settings)


def _outcome(
    logits_1NV: torch.Tensor,  # noqa: N803
    batch: Batch,
    count: int,
    settings: ValueSettings,
) -> _Outcome:
    rows, device = len(batch.ids_BS), logits_1NV.device
    id_M, row_M = batch.target_id_M, batch.target_row_M
    counts = [len(id_M), len(batch.essence_row_E)]
    said_MV, stays_EV = torch.split(logits_1NV[0].float(), counts)
    nll_M = F.cross_entropy(said_MV, id_M, reduction="none")
    tokens_B = torch.bincount(row_M, minlength=rows).clamp(min=1)
    nll_B = torch.zeros(rows, device=device).index_add(0, row_M, nll_M) / tokens_B
    loss = (batch.weight_B * nll_B).sum()
    if batch.essence_base_EV is not None:
        now_EV, base_EV = stays_EV.log_softmax(-1), batch.essence_base_EV
        kl = F.kl_div(now_EV, base_EV, log_target=True, reduction="sum")  # KL(base || now)
        loss = loss + settings.kl_weight * kl
    nll_B, said_MV = nll_B.detach(), said_MV.detach()
    z_M1 = said_MV.gather(1, id_M[:, None])
    top_M = z_M1[:, 0] > said_MV.scatter(1, id_M[:, None], float("-inf")).amax(1)
    worst_n = torch.zeros(count, device=device).scatter_reduce(0, batch.owner_B, nll_B, "amax")
    hit_B = torch.ones(rows, device=device)
    hit_B = hit_B.scatter_reduce(0, row_M, top_M.float(), "amin")
    hit_n = torch.ones(count, device=device).scatter_reduce(0, batch.owner_B, hit_B, "amin")
    late_B = (nll_B > settings.stop_nll).float()
    late_n = torch.zeros(count, device=device).scatter_reduce(0, batch.owner_B, late_B, "amax")
    return _Outcome(
        loss=loss,
        nll_n=worst_n,
        low_n=late_n == 0,
        greedy_n=hit_n > 0,
    )
