"""The gate: one pure function from keys to residuals (Fei et al. 2026, eq. 6).

    g(k) = r_j 1[cos(k, k_j) > γ_j],   j = argmax_i cos(k, k_i)

with a threshold an entry; the paper has the same γ in all. Nothing here has a shape or a branch
that depends on the data while `torch.compile` traces, so that one graph holds it.

T tokens, F width of a raw key.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.search import nearest, unit

MISS = -1


@dataclass(frozen=True, kw_only=True)
class Hits:
    """The row that fires at each of T tokens, or `MISS`; the cosine with the nearest entry, whether
    or not it fires, and that entry's threshold."""

    row_T: torch.Tensor
    cosine_T: torch.Tensor
    gamma_T: torch.Tensor

    def fired(self) -> torch.Tensor:
        """The tokens at which a row fires, ascending."""
        return (self.row_T != MISS).nonzero().squeeze(1)


def match(k_TF: torch.Tensor, view: View) -> Hits:
    """The row that each raw key hits, in a view that is not empty."""
    query_TE = unit(k_TF)
    if view.coarse is None or torch.compiler.is_compiling():
        cosine_T, entry_T = nearest(query_TE, view.keys_ME)
    else:
        cosine_T, entry_T = view.coarse.nearest(query_TE, view.keys_ME)
    gamma_T = view.gamma_M[entry_T]
    row_T = torch.where(cosine_T > gamma_T, view.row_M[entry_T].long(), MISS)
    return Hits(row_T=row_T, cosine_T=cosine_T, gamma_T=gamma_T)
