"""What the optimisation of a residual minimises, and how it changes with the logits.

What comes in: logits at the positions that count, and what shall be said there. What goes out: the
losses, and the gradient of their weighted sum with respect to the logits, in closed form. What it
does not do: run a model, or step (values.py).

With p the softmax of a position's logits, y its target, o the tokens that may follow an object, and
q what the unedited model says,

    -log p_y             has the gradient  p - 1_y,
    -log Σ_o p           has the gradient  p - 1_o p / Σ_o p,
    Σ q (log q - log p)  has the gradient  p - q.

The positions are worked off a few at a time: a vocabulary is long, and each pass over more logits
than a processor keeps at hand costs a journey to memory.

Shapes: M positions with a target, E whose distribution is to stay, W behind an object; N = M + E +
W in this order; V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

NEAR = 1 << 18  # logits worked off at once on a CPU: what its nearer caches hold
WIDE = 1 << 27  # and on a GPU
LEAST = 1e-38  # of a probability, before its logarithm is taken


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What shall be said at N positions.

    Attributes:
        id_M: the target tokens.
        weight_M: weight of each -log p in the sum.
        stay_EV: log-probabilities of the unedited model; None where there are no such positions.
        stay_weight: weight of each Kullback-Leibler divergence.
        open_V: 1 where a token may follow an object, 0 where it would carry its last word on.
        weight_W: weight of each -log of what may follow.
    """

    id_M: torch.Tensor
    weight_M: torch.Tensor
    stay_EV: torch.Tensor | None
    stay_weight: float
    open_V: torch.Tensor | None
    weight_W: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How far what is said is from what shall be.

    Attributes:
        nll_M: -log p of each target token, in nats.
        top_M: it is more probable than every other token.
        ends_W: -log of the probability that an object ends where it ends, in nats.
        pull_NV: the gradient of the weighted sum with respect to the logits, in their dtype.
    """

    nll_M: torch.Tensor
    top_M: torch.Tensor
    ends_W: torch.Tensor
    pull_NV: torch.Tensor


@torch.no_grad()
def objective(logits_NV: torch.Tensor, wanted: Wanted) -> Objective:
    """Losses and gradient at all positions, in fp32."""
    count_M, count_W = len(wanted.id_M), len(wanted.weight_W)
    count_E = len(logits_NV) - count_M - count_W
    said_MV, stays_EV, after_WV = torch.split(logits_NV, [count_M, count_E, count_W])
    pull_NV = torch.empty_like(logits_NV)
    pull_MV, pull_EV, pull_WV = torch.split(pull_NV, [count_M, count_E, count_W])
    nll_M = torch.empty(count_M, device=logits_NV.device)
    top_M = torch.empty(count_M, dtype=torch.bool, device=logits_NV.device)
    ends_W = torch.empty(count_W, device=logits_NV.device)
    for here in _pieces(said_MV):
        nll_M[here], top_M[here] = _say(
            said_MV[here], wanted.id_M[here], wanted.weight_M[here], pull_MV[here]
        )
    for here in _pieces(stays_EV):
        assert wanted.stay_EV is not None
        _stay(stays_EV[here], wanted.stay_EV[here], wanted.stay_weight, pull_EV[here])
    for here in _pieces(after_WV):
        assert wanted.open_V is not None
        ends_W[here] = _end(after_WV[here], wanted.open_V, wanted.weight_W[here], pull_WV[here])
    return Objective(nll_M=nll_M, top_M=top_M, ends_W=ends_W, pull_NV=pull_NV)


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


def _end(
    logits_NV: torch.Tensor, open_V: torch.Tensor, weight_N: torch.Tensor, pull_NV: torch.Tensor
) -> torch.Tensor:
    """-log of the probability of what may follow."""
    z_NV = _own(logits_NV)
    total_N = _exponentials(z_NV, z_NV.amax(1))
    open_N = (z_NV @ open_V).clamp(min=LEAST)
    rise_NV = torch.outer(-weight_N / open_N, open_V).add_((weight_N / total_N)[:, None])
    pull_NV.copy_(z_NV.mul_(rise_NV))
    return total_N.log() - open_N.log()


def _own(logits_NV: torch.Tensor) -> torch.Tensor:
    """A copy in fp32."""
    return logits_NV.to(torch.float32, copy=True)
