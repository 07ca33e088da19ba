"""What the optimisation of a residual minimises, with its gradient in closed form.

With p the softmax of a position's logits, y its target, and q what the unedited model says,

    -log p_y             has the gradient  p - 1_y,
    Σ q (log q - log p)  has the gradient  p - q.

The positions are worked off a few at a time: a vocabulary is long, and each pass over more logits
than a processor keeps at hand costs a journey to memory.

Shapes: M positions with a target, E whose distribution is to stay; N = M + E in this order; V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

NEAR = 1 << 18  # logits worked off at once on a CPU: what its nearer caches hold
WIDE = 1 << 27  # and on a GPU


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall be said at N positions.

    Attributes:
        id_M: the target tokens.
        weight_M: weight of each -log p in the sum.
        stay_EV: log-probabilities of the unedited model; None where there are no such positions.
        stay_weight: weight of each Kullback-Leibler divergence.
    """

    id_M: torch.Tensor
    weight_M: torch.Tensor
    stay_EV: torch.Tensor | None
    stay_weight: float


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How far what is said is from what shall be.

    Attributes:
        nll_M: -log p of each target token, in nats.
        top_M: it is more probable than every other token.
        pull_NV: the gradient of the weighted sum with respect to the logits, in their dtype.
    """

    nll_M: torch.Tensor
    top_M: torch.Tensor
    pull_NV: torch.Tensor


@torch.no_grad()
def objective(logits_NV: torch.Tensor, wanted: Wanted) -> Objective:
    """Losses and gradient at all positions, in fp32."""
    count_M = len(wanted.id_M)
    counts = [count_M, len(logits_NV) - count_M]
    said_MV, stays_EV = torch.split(logits_NV, counts)
    pull_NV = torch.empty_like(logits_NV)
    pull_MV, pull_EV = torch.split(pull_NV, counts)
    nll_M = torch.empty(count_M, device=logits_NV.device)
    top_M = torch.empty(count_M, dtype=torch.bool, device=logits_NV.device)
    for here in _pieces(said_MV):
        nll_M[here], top_M[here] = _say(
            said_MV[here], wanted.id_M[here], wanted.weight_M[here], pull_MV[here]
        )
    for here in _pieces(stays_EV):
        assert wanted.stay_EV is not None
        _stay(stays_EV[here], wanted.stay_EV[here], wanted.stay_weight, pull_EV[here])
    return Objective(nll_M=nll_M, top_M=top_M, pull_NV=pull_NV)


def _pieces(logits_NV: torch.Tensor) -> list[slice]:
    at_once = NEAR if logits_NV.device.type == "cpu" else WIDE
    step = max(1, at_once // logits_NV.shape[1])
    return [slice(first, first + step) for first in range(0, len(logits_NV), step)]


def _exponentials(z_NV: torch.Tensor, top_N: torch.Tensor) -> torch.Tensor:
    """e^(z - top) in place of z; the sums (N)."""
    return z_NV.sub_(top_N[:, None]).exp_().sum(1)


def _say(
    logits_NV: torch.Tensor, id_N: torch.Tensor, weight_N: torch.Tensor, pull_NV: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of target tokens, and whether each is above all others."""
    z_NV, id_N1 = _own(logits_NV), id_N[:, None]
    z_N1 = z_NV.gather(1, id_N1)
    others_N = z_NV.scatter_(1, id_N1, float("-inf")).amax(1)
    z_NV.scatter_(1, id_N1, z_N1)
    z_N = z_N1[:, 0]
    top_N = torch.maximum(z_N, others_N)
    total_N = _exponentials(z_NV, top_N)
    pull_NV.copy_(
        z_NV.mul_((weight_N / total_N)[:, None]).scatter_add_(1, id_N1, -weight_N[:, None])
    )
    return total_N.log() + top_N - z_N, z_N > others_N


def _stay(
    logits_NV: torch.Tensor, base_NV: torch.Tensor, weight: float, pull_NV: torch.Tensor
) -> None:
    z_NV = _own(logits_NV)
    total_N1 = _exponentials(z_NV, z_NV.amax(1))[:, None]
    pull_NV.copy_(z_NV.div_(total_N1).sub_(base_NV.exp()).mul_(weight))


def _own(logits_NV: torch.Tensor) -> torch.Tensor:
    """A copy in fp32."""
    return logits_NV.to(torch.float32, copy=True)
