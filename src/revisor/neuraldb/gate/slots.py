"""A gate for a server whose KV cache is paged: the texts of a batch, read back from their slots.

What comes in: before each forward pass which tokens it reads, into which slots of the cache, for
which requests, and the view of facts of each. What goes out: the layer's output, edited in place.
What it does not do: know a server (serve/vllm.py does), or choose views.

Token ids are kept by slot, and what fired there. A slot that prefix caching gives to another
request holds the same text under the same facts, so what it was written with is still true; a slot
that is used anew is written before it is read.

B requests, T tokens of a pass, S slots, W blocks of a request, F key width, D hidden width.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from revisor.neuraldb.bank.asked import HISTORY
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.names import NOTHING
from revisor.neuraldb.gate.candidates import Candidates, candidates, joined
from revisor.neuraldb.gate.module import MISS, Hits, match, match_entries


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One forward pass.

    Attributes:
        ids_T: the tokens it reads, request by request.
        slot_T: where their keys and values go.
        start_B: where each request's tokens begin in it, and at the end how many there are: B + 1.
        length_B: tokens of each request after the pass.
        blocks_BW: the blocks of each request, in order.
        views: of each request; None for the unedited model.
    """

    ids_T: torch.Tensor
    slot_T: torch.Tensor
    start_B: Sequence[int]
    length_B: Sequence[int]
    blocks_BW: torch.Tensor
    views: Sequence[View | None]


@dataclass(frozen=True, kw_only=True)
class SlotHit:
    """A row that fired: in which request of the batch, at which position of its text."""

    request: int
    position: int
    row_id: str
    cosine: float
    threshold: float


@dataclass
class _Part:
    """What one view has to do with a pass: whole requests, or what is to be compared."""

    view: View
    token_T: list[torch.Tensor] = field(default_factory=list)
    compared: list[Candidates] = field(default_factory=list)


class SlotGate:
    """Remembers ids by slot, and edits a layer's output.

    Args:
        slots: S, of the whole cache.
        block: slots of a block.
        device: of the cache.
    """

    def __init__(self, *, slots: int, block: int, device: torch.device) -> None:
        self.block = block
        self.ids_S = torch.full((slots,), NOTHING, dtype=torch.long, device=device)
        self._fired_S = torch.zeros(slots, dtype=torch.bool, device=device)
        self._hit_at: dict[int, SlotHit] = {}  # by slot, true where it fired
        self._batch: Batch | None = None
        self._parts: list[_Part] = []
        self.hits: list[SlotHit] = []

    def begin(self, batch: Batch) -> None:
        """Take note of a pass; `edit` is called once during it.

        Raises:
            RuntimeError: the slots of the new tokens are not where their requests' blocks are.
        """
        self._batch, self._parts, self.hits = batch, [], []
        self.ids_S[batch.slot_T] = batch.ids_T.long()
        self._fired_S[batch.slot_T] = False
        parts: dict[int, _Part] = {}
        groups: dict[tuple[int, int], list[int]] = {}
        for request, view in enumerate(batch.views):
            new = batch.start_B[request + 1] - batch.start_B[request]
            if view is None or view.empty or new == 0:
                continue
            part = parts.setdefault(id(view), _Part(view=view))
            if view.names is None:
                part.token_T.append(torch.arange(*batch.start_B[request : request + 2]))
            else:
                groups.setdefault((id(view), new), []).append(request)
        for (view_id, new), requests in groups.items():
            self._compare(parts[view_id], batch, requests, new)
        self._parts = [part for part in parts.values() if part.token_T or part.compared]

    def _compare(self, part: _Part, batch: Batch, requests: list[int], new: int) -> None:
        """Look up the names that end in some requests of equally many new tokens."""
        names = part.view.names
        assert names is not None
        ids_BT = self.texts(batch, requests, new + HISTORY, new)
        found = candidates(part.view, names, ids_BT, new)
        if len(found):
            start_B = torch.tensor(
                [batch.start_B[i] for i in requests], device=found.token_C.device
            )
            token_C = start_B[found.token_C // new] + found.token_C % new
            part.compared.append(replace(found, token_C=token_C))

    def texts(self, batch: Batch, requests: list[int], width: int, new: int) -> torch.Tensor:
        """The last `width` tokens of some requests, `NOTHING` before they begin: (B, width)."""
        device = self.ids_S.device
        length_B = torch.tensor([batch.length_B[i] for i in requests], device=device)
        place_BT = length_B[:, None] - width + torch.arange(width, device=device)
        inside_BT = place_BT >= 0
        block_BT = batch.blocks_BW[requests].long().gather(1, (place_BT.clamp(min=0)) // self.block)
        slot_BT = block_BT * self.block + place_BT.clamp(min=0) % self.block
        given = [torch.arange(*batch.start_B[i : i + 2], device=device) for i in requests]
        if not torch.equal(slot_BT[:, -new:].reshape(-1), batch.slot_T[torch.cat(given)].long()):
            raise RuntimeError("the cache's slots are not laid out as its blocks say")
        return torch.where(inside_BT, self.ids_S[slot_BT], NOTHING)

    def recall(self, batch: Batch, request: int, count: int) -> list[SlotHit]:
        """What fired in the first tokens of a request when their slots were written."""
        place_T = torch.arange(count, device=self.ids_S.device)
        block_T = batch.blocks_BW[request].long()[place_T // self.block]
        slot_T = block_T * self.block + place_T % self.block
        place_H = self._fired_S[slot_T].nonzero().squeeze(1)
        return [
            replace(self._hit_at[slot], request=request, position=place)
            for place, slot in zip(place_H.tolist(), slot_T[place_H].tolist(), strict=True)
        ]

    def edit(self, key_TF: torch.Tensor, value_TD: torch.Tensor) -> None:
        """Add, in place, the residuals of the rows that fire in this pass. It may be padded."""
        if self._batch is None:
            return
        batch, count = self._batch, self._batch.start_B[-1]
        for part in self._parts:
            if part.view.names is None:
                token_T = torch.cat(part.token_T).to(key_TF.device)
                hits = match(key_TF[token_T], part.view)
                self._add(batch, part.view, hits, token_T, value_TD)
            elif part.compared:
                hits = match_entries(key_TF[:count], part.view, joined(part.compared))
                self._add(batch, part.view, hits, None, value_TD)

    def needs_keys(self) -> bool:
        """Whether `edit` has anything to compare in this pass; the same wherever the pass runs."""
        return bool(self._parts)

    def end(self) -> list[SlotHit]:
        """End the pass; what fired in it."""
        hits, self.hits = self.hits, []
        self._batch, self._parts = None, []
        return hits

    def _add(
        self,
        batch: Batch,
        view: View,
        hits: Hits,
        token_T: torch.Tensor | None,
        value_TD: torch.Tensor,
    ) -> None:
        fired_H = (hits.row_T != MISS).nonzero().squeeze(1)
        if not len(fired_H):
            return
        row_H = hits.row_T[fired_H]
        where_H = fired_H.to(value_TD.device) if token_T is None else token_T[fired_H]
        value_TD[where_H] = value_TD[where_H] + view.R_ND[row_H].to(value_TD.dtype)
        slot_H = batch.slot_T[where_H]
        self._fired_S[slot_H] = True
        told = zip(
            where_H.tolist(),
            slot_H.tolist(),
            row_H.tolist(),
            hits.cosine_T[fired_H].tolist(),
            hits.gamma_T[fired_H].tolist(),
            strict=True,
        )
        for token, slot, row, cosine, threshold in told:
            request = bisect_right(batch.start_B, token) - 1
            last = batch.start_B[request + 1]
            hit = SlotHit(
                request=request,
                position=batch.length_B[request] - (last - token),
                row_id=view.ids[row],
                cosine=cosine,
                threshold=threshold,
            )
            self._hit_at[slot] = hit
            self.hits.append(hit)
