"""Where thresholds come from: text without the facts.

What comes in: cosines of keys that must not match, and of keys that must. What goes out: γ, for a
whole bank or for each entry. What it does not do: run a model; all here is arithmetic on cosines.

Two things make a token match a row wrongly. A similar name (`BBC Radio 3` for `BBC Radio 4`) is
a matter of one threshold for all, the floor. A key that resembles ordinary tokens, as that of a
subject at the very start of a text does, is a matter of that entry: its own threshold is raised
above whatever it matches in background text.
"""

from __future__ import annotations

import torch

CEILING = 0.9995  # an entry that is raised this far still matches the very text it was taken from
MARGIN = 0.03  # above the nearest background key


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


def gamma_for_rate(cosine_T: torch.Tensor, per_million: float) -> float:
    """The γ at which at most `per_million` of a million of these tokens fire.

    Args:
        cosine_T: each token's best cosine with any entry, on text that states none of the facts.
        per_million: the dial.
    """
    allowed = int(len(cosine_T) * per_million / 1e6)
    if allowed >= len(cosine_T):
        return -1.0
    return float(cosine_T.sort(descending=True).values[allowed])


def entry_gammas(nearest_M: torch.Tensor, floor: float) -> torch.Tensor:
    """Each entry's threshold: the floor, raised where background text comes close.

    Args:
        nearest_M: best cosine of each entry with background tokens that do not name its subject.
        floor: γ for entries that nothing comes close to.

    Returns:
        `MARGIN` above the nearest, but at most halfway between it and 1.
    """
    raised_M = torch.minimum(nearest_M + MARGIN, (1 + nearest_M) / 2)
    return raised_M.clamp(min=floor, max=max(CEILING, floor))
