"""The gate: one pure function from keys to residuals.

What comes in: keys k (T, F) of any tokens, the token ids that end there, and a `View` of a bank.
What goes out: which row each token hits, and the residual to add. What it does not do: touch a
model (attach.py) or remember anything (watch.py).

    g(k) = r_j 1[cos(k, k_j) > γ_j],   j = argmax_i cos(k, k_i)      (Fei et al. 2026, eq. 6)

with a threshold an entry rather than one for all. In a named bank i runs over the entries of those
rows alone whose subject's name ends at the token; in the paper's over all. A row that is one of
several facts about its subject is compared at the tokens after the name instead, by what is asked
there (candidates.py); where it waits until an answer is due, only where the key says that it is.
While `torch.compile` traces, nothing here has a shape or a branch that depends on the data, so that
one graph holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from revisor.errors import UsageError
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import waits
from revisor.neuraldb.bank.names import NameIndex
from revisor.neuraldb.bank.search import nearest
from revisor.neuraldb.gate.candidates import Candidates, candidates, everywhere

MISS = -1
UNSEEN = -1.0  # the cosine of a token that ends no name: it was compared with nothing


@dataclass(frozen=True, kw_only=True)
class Hits:
    """What the gate decided for T tokens: where entries are, which is not on a GPU in a view that
    goes by names, unless a compiled graph decides.

    Attributes:
        row_T: index of the row that fires, or `MISS`.
        cosine_T: cosine with the nearest entry compared, whether or not it fires; `UNSEEN` if none.
        gamma_T: that entry's threshold.
        compared: some token was compared with some entry; where none was, nothing can have fired.
    """

    row_T: torch.Tensor
    cosine_T: torch.Tensor
    gamma_T: torch.Tensor
    compared: bool = True

    def fired(self) -> torch.Tensor:
        """The tokens at which a row fires, rising."""
        if not self.compared:
            return self.row_T.new_zeros(0)
        return (self.row_T != MISS).nonzero().squeeze(1)


def match(k_TF: torch.Tensor, view: View, ids_BT: torch.Tensor | None = None) -> Hits:
    """Which row each key hits. The view must not be empty.

    Args:
        k_TF: raw keys.
        view: the rows.
        ids_BT: the texts whose last tokens these are, each row's T / B of them, in order; only a
            named bank needs them.

    Raises:
        UsageError: a named bank without ids.
    """
    if view.names is None:
        query_TE = view.encoder.encode(k_TF)
        if view.coarse is None or torch.compiler.is_compiling():
            cosine_T, entry_T = nearest(query_TE, view.keys_ME)
        else:
            cosine_T, entry_T = view.coarse.nearest(query_TE, view.keys_ME)
        gamma_T = view.gamma_M[entry_T]
        row_T = torch.where(cosine_T > gamma_T, view.row_M[entry_T].long(), MISS)
        return Hits(row_T=row_T, cosine_T=cosine_T, gamma_T=gamma_T)
    if ids_BT is None:
        raise UsageError(
            "The bank goes by subjects' names and was given no token ids.",
            "Run the model on input_ids, not on inputs_embeds.",
        )
    if torch.compiler.is_compiling():
        return _match_named_densely(k_TF, view, view.names, ids_BT)
    return _match_named(k_TF, view, view.names, ids_BT)


def _match_named(k_TF: torch.Tensor, view: View, names: NameIndex, ids_BT: torch.Tensor) -> Hits:
    """As `match`, over the entries of the rows that are named."""

    due = Due(k_TF, view)
    new = len(k_TF) // len(ids_BT)
    return match_entries(k_TF, view, candidates(view, names, ids_BT, new, due), due)


class Due:
    """Where an answer is due, told where entries are. It is looked for once at all tokens, or, if
    nobody asks for those, at a few."""

    def __init__(self, k_TF: torch.Tensor, view: View) -> None:
        self._k_TF, self._view = k_TF, view
        self._found_T: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        """At all tokens (T)."""
        if self._found_T is None:
            self._found_T = self._look(self._k_TF)
        return self._found_T

    def at(self, token_C: torch.Tensor) -> torch.Tensor:
        """At these tokens (C)."""
        if self._found_T is not None:
            return self._found_T[token_C]
        seen_S, owner_C = torch.unique(token_C, return_inverse=True)
        return self._look(self._k_TF[seen_S.to(self._k_TF.device)])[owner_C]

    def _look(self, k_SF: torch.Tensor) -> torch.Tensor:
        return self._view.encoder.due(k_SF).to(self._view.gamma_M.device)


def fires(k_TF: torch.Tensor, view: View, compared: Candidates) -> torch.Tensor:
    """Of each candidate whether its row would fire there, were it alone (C)."""
    cosine_C = _cosines(k_TF, view, compared, Due(k_TF, view))
    return cosine_C > view.gamma_M[compared.entry_C]


def _cosines(k_TF: torch.Tensor, view: View, compared: Candidates, due: Due) -> torch.Tensor:
    """How near each candidate is (C); `UNSEEN` where it waits until an answer is due."""
    keys_CW = view.keys_ME[compared.entry_C]
    cosine_C = compared.asked_C
    width = keys_CW.shape[1] - view.encoder.asked_width
    if bool(keys_CW[:, :width].any()):  # some entry is compared as a whole
        seen_S, owner_C = torch.unique(compared.token_C, return_inverse=True)
        query_SE = view.encoder.encode(k_TF[seen_S.to(k_TF.device)]).to(keys_CW.device)
        cosine_C = cosine_C + (query_SE[owner_C] * keys_CW[:, :width]).sum(1)
    if view.encoder.hears:
        due_C = due.at(compared.token_C) | compared.opening_C
        cosine_C = torch.where(waits(keys_CW[:, -1]) & ~due_C, UNSEEN, cosine_C)
    return cosine_C


def match_entries(
    k_TF: torch.Tensor, view: View, compared: Candidates, due: Due | None = None
) -> Hits:
    """Which row each key hits, of the entries that are compared with it.

    Args:
        due: of these keys, if somebody has looked already.
    """
    device = view.gamma_M.device
    hits = _no_hits(len(k_TF), device, compared=len(compared) > 0)
    if not hits.compared:
        return hits
    entry_C = compared.entry_C
    seen_S, owner_C = torch.unique_consecutive(compared.token_C, return_inverse=True)
    cosine_C = _cosines(k_TF, view, compared, due or Due(k_TF, view))
    best_S = torch.full((len(seen_S),), UNSEEN * 2, device=device)
    best_S = best_S.scatter_reduce(0, owner_C, cosine_C, "amax")
    # Of equal cosines the first entry wins.
    first_C = torch.where(cosine_C == best_S[owner_C], entry_C, len(view.keys_ME))
    entry_S = torch.full((len(seen_S),), len(view.keys_ME), device=device)
    entry_S = entry_S.scatter_reduce(0, owner_C, first_C, "amin")
    gamma_S = view.gamma_M[entry_S]
    hits.row_T[seen_S] = torch.where(best_S > gamma_S, view.row_M[entry_S].long(), MISS)
    hits.cosine_T[seen_S] = best_S
    hits.gamma_T[seen_S] = torch.where(best_S > UNSEEN, gamma_S, 0.0)
    return hits


def _match_named_densely(
    k_TF: torch.Tensor, view: View, names: NameIndex, ids_BT: torch.Tensor
) -> Hits:
    """The same without a shape that depends on the data, for compiled graphs."""
    device = k_TF.device
    view = replace(
        view,
        keys_ME=view.keys_ME[:].to(device),
        gamma_M=view.gamma_M.to(device),
        row_M=view.row_M.to(device),
    )
    names, ids_BT = names.to(device), ids_BT.to(device)
    keys_MW, query_TE = view.keys_ME[:], view.encoder.encode(k_TF)
    new = len(k_TF) // len(ids_BT)
    cosine_TM = query_TE @ keys_MW[:, : query_TE.shape[1]].T
    if view.encoder.hears:
        named_TM, asked_TM, opening_T = everywhere(view, names, ids_BT, new)
        waiting_TM = waits(keys_MW[:, -1]) & ~(view.encoder.due(k_TF) | opening_T)[:, None]
        named_TM, cosine_TM = named_TM & ~waiting_TM, cosine_TM + asked_TM
    else:
        at_ON, _, _ = names.everywhere(ids_BT, new)
        at_BPN = at_ON.view(len(ids_BT), -1, at_ON.shape[1])
        named_TM = at_BPN[:, -new:].flatten(0, 1)[:, view.row_M]
    cosine_T, entry_T = torch.where(named_TM, cosine_TM, 2 * UNSEEN).max(dim=1)
    seen_T = named_TM.any(1)
    gamma_T = view.gamma_M[entry_T]
    return Hits(
        row_T=torch.where(seen_T & (cosine_T > gamma_T), view.row_M[entry_T].long(), MISS),
        cosine_T=torch.where(seen_T, cosine_T, UNSEEN),
        gamma_T=torch.where(seen_T, gamma_T, 0.0),
    )


def _no_hits(count: int, device: torch.device, *, compared: bool = False) -> Hits:
    unseen_T = torch.full((count,), UNSEEN, device=device)
    return Hits(
        row_T=torch.full_like(unseen_T, MISS, dtype=torch.long),
        cosine_T=unseen_T,
        gamma_T=torch.zeros_like(unseen_T),
        compared=compared,
    )


def gate(
    k_TF: torch.Tensor, view: View, ids_BT: torch.Tensor | None = None
) -> tuple[torch.Tensor, Hits]:
    """The residual to add at each token, exact zeros where nothing fires.

    Args:
        k_TF, view, ids_BT: see `match`.

    Returns:
        delta_TD in the view's dtype, and the hits. An empty view gives zeros.
    """
    if view.empty:
        return _zeros(k_TF, view), _no_hits(len(k_TF), view.gamma_M.device)
    hits = match(k_TF, view, ids_BT)
    if torch.compiler.is_compiling():
        residual_TD = view.R_ND[hits.row_T.clamp(min=0)].to(view.dtype)
        fired_T1 = (hits.row_T != MISS)[:, None]
        return torch.where(fired_T1, residual_TD, torch.zeros_like(residual_TD)), hits
    delta_TD = _zeros(k_TF, view)
    token_H = hits.fired()
    if len(token_H):
        delta_TD[token_H] = residuals(hits, view, token_H)
    return delta_TD, hits


def residuals(hits: Hits, view: View, token_H: torch.Tensor) -> torch.Tensor:
    """What is added at tokens that fire (H, D), in the view's dtype; no other row is touched."""
    return view.R_ND[hits.row_T[token_H]].to(view.dtype)


def _zeros(k_TF: torch.Tensor, view: View) -> torch.Tensor:
    return torch.zeros(len(k_TF), view.R_ND.shape[1], dtype=view.dtype, device=k_TF.device)
