"""Nearest keys in two steps: a coarse look at a few lists of short codes, then the keys themselves.

What comes in: unit keys, and unit queries. What goes out: for each query the best cosine and the
index of its key, as search.py gives them; almost always the same ones. What it does not do: decide
where it is good enough (the caller measures, see `agreement`).

Keys are projected on the W directions in which they are longest (the first eigenvectors of their
second moment), dealt into lists by the nearest of C centres there, and kept as codes of 8 bits.
A query looks through the codes of the lists whose centres are nearest to it; the best of them are
compared again as whole keys, so that a cosine that comes out is exact. It costs C + P M / C short
products a query for P lists of M keys, which grows as the root of M.

Shapes: E width of a key, T queries, M keys, W width of a code, C lists, P lists looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from revisor.bank.search import nearest
from revisor.bank.vectors import Matrix, Packed, chunks, stored

FROM = 20_000  # keys from which this is faster than looking at all of them (docs/scale.md)
WIDTH = 128
SAMPLE = 1 << 15  # keys on which directions and centres are learnt
ROUNDS = 6  # of moving the centres
PROBES = 16  # lists looked at, at first
COMPARED = 64  # keys compared whole
ENOUGH = 0.999  # share of decisions that must be those of the exact search


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """An index over keys.

    Attributes:
        direction_EW: what keys are projected on.
        centre_CW: the middle of each list.
        start_C: where each list begins in `codes_MW`; its end is the next one's start, or M.
        codes_MW: projected keys, list by list.
        entry_M: the key that each code is of.
        probes: P.
    """

    direction_EW: torch.Tensor
    centre_CW: torch.Tensor
    start_C: torch.Tensor
    codes_MW: Packed
    entry_M: torch.Tensor
    probes: int = PROBES

    def nearest(self, q_TE: torch.Tensor, keys_ME: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
        """cosine_T and entry_T, as `search.nearest` over all keys would mostly give them."""
        q_TW = q_TE @ self.direction_EW
        lists_TP = _scores(q_TW, self.centre_CW).topk(min(self.probes, len(self.start_C))).indices
        stop_C = torch.cat([self.start_C[1:], self.start_C.new_tensor([len(self.entry_M)])])
        found = [
            self._one(q_TE[t], q_TW[t], self.start_C[lists_P], stop_C[lists_P], keys_ME)
            for t, lists_P in enumerate(lists_TP)
        ]
        cosine_T = torch.stack([cosine for cosine, _ in found])
        return cosine_T, torch.stack([entry for _, entry in found])

    def _one(
        self,
        q_E: torch.Tensor,
        q_W: torch.Tensor,
        start_P: torch.Tensor,
        stop_P: torch.Tensor,
        keys_ME: Matrix,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        size_P = stop_P - start_P
        first_P = size_P.cumsum(0) - size_P
        place_L = torch.arange(int(size_P.sum()), device=q_E.device)
        place_L += (start_P - first_P).repeat_interleave(size_P)
        if not len(place_L):
            return q_E.new_tensor(-1.0), self.entry_M.new_zeros(()).long()
        best_L = (self.codes_MW[place_L] @ q_W).topk(min(COMPARED, len(place_L))).indices
        # Of equal cosines the first entry wins.
        entry_L = self.entry_M[place_L[best_L]].long().sort().values
        cosine, place = (keys_ME[entry_L] @ q_E).max(dim=0)
        return cosine, entry_L[place]

    def to(self, device: torch.device) -> Coarse:
        return replace(
            self,
            direction_EW=self.direction_EW.to(device),
            centre_CW=self.centre_CW.to(device),
            start_C=self.start_C.to(device),
            codes_MW=self.codes_MW.to(device),
            entry_M=self.entry_M.to(device),
        )


def learn(keys_ME: Matrix, *, seed: int = 0) -> Coarse:
    """An index over keys; the same for the same keys and seed."""
    draw = torch.Generator().manual_seed(seed)
    count, width = keys_ME.shape
    some_SE = keys_ME[torch.randperm(count, generator=draw)[:SAMPLE]]
    _, vectors_EE = torch.linalg.eigh(some_SE.T @ some_SE)
    direction_EW = vectors_EE[:, -min(WIDTH, width) :].contiguous()
    some_SW = some_SE @ direction_EW
    lists = min(max(1, round(2 * count**0.5)), len(some_SW))
    centre_CW = _centres(some_SW, lists, draw)
    projected = [part[:] @ direction_EW for part in chunks(keys_ME)]
    list_M = torch.cat([_scores(part, centre_CW).argmax(1) for part in projected])
    entry_M = list_M.argsort(stable=True)
    size_C = torch.bincount(list_M, minlength=lists)
    codes = [stored(part, 8) for part in projected]
    packed = [part for part in codes if isinstance(part, Packed)]
    return Coarse(
        direction_EW=direction_EW,
        centre_CW=centre_CW,
        start_C=size_C.cumsum(0) - size_C,
        codes_MW=Packed(
            codes_NB=torch.cat([part.codes_NB for part in packed])[entry_M],
            scale_N=torch.cat([part.scale_N for part in packed])[entry_M],
        ),
        entry_M=entry_M.int(),
    )


def _scores(x_SW: torch.Tensor, centre_CW: torch.Tensor) -> torch.Tensor:
    """Greater for nearer centres: (S, C)."""
    return x_SW @ centre_CW.T - centre_CW.square().sum(1) / 2


def _centres(x_SW: torch.Tensor, lists: int, draw: torch.Generator) -> torch.Tensor:
    centre_CW = x_SW[torch.randperm(len(x_SW), generator=draw)[:lists]].clone()
    for _ in range(ROUNDS):
        nearest_S = torch.cat([_scores(part, centre_CW).argmax(1) for part in x_SW.split(1 << 12)])  # type: ignore[no-untyped-call]
        size_C1 = torch.bincount(nearest_S, minlength=lists)[:, None]
        sum_CW = torch.zeros_like(centre_CW).index_add_(0, nearest_S, x_SW)
        centre_CW = torch.where(size_C1 > 0, sum_CW / size_C1.clamp(min=1), centre_CW)
    return centre_CW


def good_enough(
    keys_ME: Matrix, gamma_M: torch.Tensor, row_M: torch.Tensor, queries_TE: torch.Tensor
) -> tuple[Coarse | None, float]:
    """An index whose decisions are those of the exact search, and how many of them are.

    More lists are looked at until `ENOUGH` decisions agree; None if all lists would not do.
    """
    exact = nearest(queries_TE, keys_ME)
    index = learn(keys_ME)
    while True:
        found = index.nearest(queries_TE, keys_ME)
        share = agreement(found, exact, gamma_M, row_M)
        if share >= ENOUGH:
            return index, share
        if index.probes >= len(index.start_C):
            return None, share
        index = replace(index, probes=2 * index.probes)


def agreement(
    found: tuple[torch.Tensor, torch.Tensor],
    exact: tuple[torch.Tensor, torch.Tensor],
    gamma_M: torch.Tensor,
    row_M: torch.Tensor,
) -> float:
    """The share of queries at which both fire the same row, or neither fires any."""
    one, other = (
        torch.where(cosine_T > gamma_M[entry_T], row_M[entry_T].long(), -1)
        for cosine_T, entry_T in (found, exact)
    )
    return float((one == other).float().mean())
