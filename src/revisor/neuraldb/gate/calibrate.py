"""Where thresholds come from: text without the facts.

What comes in: cosines of keys that must not match, and of keys that must. What goes out: γ for a
whole bank. What it does not do: run a model; all here is arithmetic on cosines.
"""

from __future__ import annotations

import torch


def separating_gamma(same_P: torch.Tensor, other_P: torch.Tensor) -> float:
    """The γ of the best balanced accuracy between same and similar subjects.

    Args:
        same_P: best cosine of a paraphrase with its own row, a prompt each.
        other_P: best cosine of any token of a prompt about a similar subject, with any row.

    Returns:
        The middle of the best values of γ.
    """
    grid_G = torch.arange(0.30, 0.985, 0.005)
    missed_G = (same_P[None, :] <= grid_G[:, None]).float().mean(1)
    false_G = (other_P[None, :] > grid_G[:, None]).float().mean(1)
    cost_G = missed_G + false_G
    best_G = (cost_G <= cost_G.min() + 1e-6).nonzero().squeeze(1)
    return round(float(grid_G[best_G].mean()), 4)


def floor_gamma(same_P: torch.Tensor, other_P: torch.Tensor, *, false_share: float) -> float:
    """The floor of thresholds: where the two separate best, or higher to keep the quiet.

    Args:
        same_P, other_P: as in `separating_gamma`.
        false_share: of the prompts about similar subjects at most this share may fire. A false
            fire makes the model say something untrue, a missed paraphrase leaves it as it was.
    """
    quiet = float(torch.quantile(other_P, 1 - false_share))
    return round(max(separating_gamma(same_P, other_P), quiet), 4)


def balanced_accuracy(same_P: torch.Tensor, other_P: torch.Tensor, gamma: float) -> float:
    """Mean of: paraphrases that fire, and prompts about similar subjects that stay quiet."""
    fires = (same_P > gamma).float().mean()
    quiet = (other_P <= gamma).float().mean()
    return float((fires + quiet) / 2)


def recalling_gamma(same_P: torch.Tensor, *, missed: float) -> float:
    """The threshold of a bank that goes by names, where only senses are left to tell apart.

    Args:
        same_P: best cosine of a paraphrase with its own row, a prompt each.
        missed: share of the paraphrases that may stay below.
    """
    return round(float(torch.quantile(same_P, missed)), 4)
