"""The gate: one pure function from keys to residuals.

What comes in: keys k (T, F) of any tokens and a `View` of a bank. What goes out: which row each
token hits, and the residual to add. What it does not do: touch a model (attach.py) or remember
anything (watch.py).

    g(k) = r_j 1[cos(k, k_j) > γ_j],   j = argmax_i cos(k, k_i)      (Fei et al. 2026, eq. 6)

with a threshold an entry rather than one for all. Without data-dependent branches, so that
`torch.compile` keeps it in one graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from revisor.bank.bank import View
from revisor.bank.search import nearest

MISS = -1


@dataclass(frozen=True, kw_only=True)
class Hits:
    """What the gate decided for T tokens.

    Attributes:
        row_T: index of the row that fires, or `MISS`.
        cosine_T: cosine with the nearest entry, whether or not it fires.
        gamma_T: that entry's threshold.
    """

    row_T: torch.Tensor
    cosine_T: torch.Tensor
    gamma_T: torch.Tensor


def match(k_TF: torch.Tensor, view: View) -> Hits:
    """Which row each key hits. The view must not be empty."""
    cosine_T, entry_T = nearest(view.encoder.encode(k_TF), view.keys_ME)
    gamma_T = view.gamma_M[entry_T]
    row_T = torch.where(cosine_T > gamma_T, view.row_M[entry_T], MISS)
    return Hits(row_T=row_T, cosine_T=cosine_T, gamma_T=gamma_T)


def gate(k_TF: torch.Tensor, view: View) -> tuple[torch.Tensor, Hits]:
    """The residual to add at each token, exact zeros where nothing fires.

    Returns:
        delta_TD in the dtype of the view's residuals, and the hits. An empty view gives zeros.
    """
    if view.empty:
        zeros = k_TF.new_zeros(len(k_TF))
        none = torch.full_like(zeros, MISS, dtype=torch.long)
        return view.R_ND.new_zeros(len(k_TF), view.R_ND.shape[1]), Hits(
            row_T=none, cosine_T=zeros.float(), gamma_T=zeros.float()
        )
    hits = match(k_TF, view)
    residual_TD = view.R_ND[hits.row_T.clamp(min=0)]
    fired = hits.row_T != MISS
    return torch.where(fired[:, None], residual_TD, torch.zeros_like(residual_TD)), hits
