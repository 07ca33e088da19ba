"""Batches of requests, run once: everything that a step of the optimisation reads, ready.

Shapes: B rows (all contexts of all requests), T columns of which S are suffix, D hidden width, M
target positions, E rows without one, V vocabulary. Rows are aligned at their
right end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import DynamicCache

from revisor.models.hooks import head_at, inputs_of, outputs_of
from revisor.models.padding import padded
from revisor.models.prefixed import Layers, fixed_cache
from revisor.models.spec import Spec
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.pacing import Pace, Part, alike, cost_of
from revisor.neuraldb.editing.request import Context, Request


@dataclass
class Batch:
    """A batch ready to be optimised: everything that a step reads."""

    ids_BS: torch.Tensor
    mask_BT: torch.Tensor
    place_BS: torch.Tensor  # position ids of the suffix
    owner_B: torch.Tensor  # index of the request a row belongs to
    column_B: torch.Tensor  # suffix column of the subject's last token
    weight_B: torch.Tensor  # a row's share in its request's loss
    entering_BSD: torch.Tensor  # what enters the layer
    prefix: Layers  # K/V of every layer
    target_row_M: torch.Tensor
    target_column_M: torch.Tensor
    target_id_M: torch.Tensor
    essence_row_E: torch.Tensor
    essence_base_EV: torch.Tensor | None  # log-probabilities of the unedited model

    @property
    def size(self) -> tuple[int, int, int]:
        """B, S and P, the columns of the prefix."""
        rows, suffix = self.ids_BS.shape
        return rows, suffix, self.mask_BT.shape[1] - suffix

    def padded(self, prefix: int, suffix: int) -> Batch:
        """The same with as many columns, the further ones masked, ahead of what is there."""
        _, own_suffix, own_prefix = self.size
        ahead, between = prefix - own_prefix, suffix - own_suffix
        known_BP, new_BS = torch.split(self.mask_BT, [own_prefix, own_suffix], 1)
        return replace(
            self,
            ids_BS=F.pad(self.ids_BS, (between, 0)),
            mask_BT=torch.cat([F.pad(known_BP, (ahead, 0)), F.pad(new_BS, (between, 0))], 1),
            place_BS=F.pad(self.place_BS, (between, 0)),
            column_B=self.column_B + between,
            entering_BSD=F.pad(self.entering_BSD, (0, 0, between, 0)),
            prefix=[
                (F.pad(k, (0, 0, ahead, 0)), F.pad(v, (0, 0, ahead, 0))) for k, v in self.prefix
            ],
            target_column_M=self.target_column_M + between,
        )

    def rows(self, keep_B: torch.Tensor, renumber: torch.Tensor) -> Batch:
        """Only the rows in `keep_B` (a mask); requests renumbered by `renumber`."""
        kept = keep_B.nonzero().squeeze(1)
        new_row = torch.full((len(keep_B),), -1, dtype=torch.long, device=keep_B.device)
        new_row[kept] = torch.arange(len(kept), device=keep_B.device)
        target = keep_B[self.target_row_M]
        essence = keep_B[self.essence_row_E]
        base = self.essence_base_EV
        return Batch(
            ids_BS=self.ids_BS[kept],
            mask_BT=self.mask_BT[kept],
            place_BS=self.place_BS[kept],
            owner_B=renumber[self.owner_B[kept]],
            column_B=self.column_B[kept],
            weight_B=self.weight_B[kept],
            entering_BSD=self.entering_BSD[kept],
            prefix=[(k[kept.to(k.device)], v[kept.to(v.device)]) for k, v in self.prefix],
            target_row_M=new_row[self.target_row_M[target]],
            target_column_M=self.target_column_M[target],
            target_id_M=self.target_id_M[target],
            essence_row_E=new_row[self.essence_row_E[essence]],
            essence_base_EV=None if base is None else base[essence],
        )


def merged(batches: Sequence[Batch], at: Pace) -> list[Batch]:
    """The same rows in fewer passes where that costs less: few are left of each."""
    left = list(batches)
    while len(left) > 1:
        pairs = list(combinations(range(len(left)), 2))
        saved = [_saved(left[one], left[other], at) for one, other in pairs]
        best = max(range(len(pairs)), key=saved.__getitem__)
        if saved[best] <= 0:
            break
        one, other = pairs[best]
        both = _joined(left[one], left[other])
        left = [batch for place, batch in enumerate(left) if place not in pairs[best]] + [both]
    return left


def _saved(one: Batch, other: Batch, at: Pace) -> float:
    """What it saves in a step to run two batches as one, in suffix tokens."""
    rows, suffix, prefix = zip(one.size, other.size, strict=True)
    apart = sum(cost_of(B, S, P + S, at) for B, S, P in (one.size, other.size))
    columns = max(prefix) + max(suffix)
    if columns > at.window:
        return 0.0
    return apart - cost_of(sum(rows), max(suffix), columns, at)


def _joined(one: Batch, other: Batch) -> Batch:
    """Two batches of one group of requests as one, the narrower padded ahead of its prefix and of
    its suffix."""
    (rows, *_), suffix, prefix = one.size, *map(max, one.size[1:], other.size[1:])
    a, b = one.padded(prefix, suffix), other.padded(prefix, suffix)

    def both(name: str, shift: int = 0) -> torch.Tensor:
        return torch.cat([getattr(a, name), getattr(b, name) + shift])

    base = [part.essence_base_EV for part in (a, b) if part.essence_base_EV is not None]
    return Batch(
        ids_BS=both("ids_BS"),
        mask_BT=both("mask_BT"),
        place_BS=both("place_BS"),
        owner_B=both("owner_B"),
        column_B=both("column_B"),
        weight_B=both("weight_B"),
        entering_BSD=both("entering_BSD"),
        prefix=[
            (torch.cat([k, other_k]), torch.cat([v, other_v]))
            for (k, v), (other_k, other_v) in zip(a.prefix, b.prefix, strict=True)
        ],
        target_row_M=both("target_row_M", rows),
        target_column_M=both("target_column_M"),
        target_id_M=both("target_id_M"),
        essence_row_E=both("essence_row_E", rows),
        essence_base_EV=torch.cat(base) if base else None,
    )


@torch.no_grad()
def prepare(
    model: nn.Module,
    spec: Spec,
    layer: int,
    rows: Sequence[Part],
    requests: Sequence[Request],
    heads: Heads,
    at: Pace,
) -> tuple[Batch, torch.Tensor]:
    """Run some rows of some requests once; what they share with others was read before.

    Returns:
        The batch, and |h| (B): the norm of the layer's output at the subject.
    """
    device = next(model.get_input_embeddings().parameters()).device  # type: ignore[operator]
    batch = _laid_out(rows, requests, device)
    suffix = batch.ids_BS.shape[1]
    cut = batch.mask_BT.shape[1] - suffix
    contexts = [context for _, context in rows]
    batch.prefix = _prefix(model, spec, contexts, batch.mask_BT, cut, heads, at)
    essence_row_E = batch.essence_row_E
    last_E = torch.full_like(essence_row_E, suffix - 1)
    on = layer + 1 == len(spec.layers) or bool(len(essence_row_E))
    leaves = outputs_of(spec.layers[layer]) if on else inputs_of(spec.layers[layer + 1], stop=True)
    with (
        leaves as leaving,
        inputs_of(spec.layers[layer]) as entering,
        head_at(model, lambda: (essence_row_E, last_E)),
    ):
        output = model(
            input_ids=batch.ids_BS,
            attention_mask=batch.mask_BT,
            position_ids=batch.place_BS,
            past_key_values=fixed_cache(model, batch.prefix),
            use_cache=True,
        )
        if len(essence_row_E):
            batch.essence_base_EV = output.logits[0].float().log_softmax(-1)
    batch.entering_BSD = entering[0]
    norm_B = leaving[0][torch.arange(len(rows)), batch.column_B.to(leaving[0].device)]
    return batch, norm_B.float().norm(dim=-1).to(device)


def _laid_out(rows: Sequence[Part], requests: Sequence[Request], device: torch.device) -> Batch:
    """The tokens of some rows and where things are in them; nothing has been run yet."""
    written = [sum(1 for c in request.contexts if c.target) for request in requests]
    total = max(len(context.ids) + len(context.target) for _, context in rows)
    cut = total - max(context.suffix for _, context in rows)
    ids_BT, mask_BT = padded([c.ids + c.target for _, c in rows], left=True)
    columns, target_row, target_column, target_id = [], [], [], []
    essence_row: list[int] = []
    for row, (_, context) in enumerate(rows):
        start = total - len(context.ids) - len(context.target)
        columns.append(start + context.position - cut)
        if not context.target:
            essence_row.append(row)
        for offset, token in enumerate(context.target):
            target_row.append(row)
            target_column.append(start + len(context.ids) - 1 + offset - cut)
            target_id.append(token)

    def there(numbers: Sequence[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    return Batch(
        ids_BS=ids_BT[:, cut:].to(device),
        mask_BT=mask_BT.to(device),
        place_BS=_places(mask_BT)[:, cut:].to(device),
        owner_B=there([i for i, _ in rows]),
        column_B=there(columns),
        weight_B=torch.tensor([1 / max(1, written[i]) for i, _ in rows], device=device),
        entering_BSD=torch.empty(0),
        prefix=[],
        target_row_M=there(target_row),
        target_column_M=there(target_column),
        target_id_M=there(target_id),
        essence_row_E=there(essence_row),
        essence_base_EV=None,
    )


def _places(mask_BT: torch.Tensor) -> torch.Tensor:
    """Position ids under a mask."""
    return (mask_BT.cumsum(1) - 1).clamp(min=0)


def _prefix(
    model: nn.Module,
    spec: Spec,
    contexts: Sequence[Context],
    mask_BT: torch.Tensor,
    cut: int,
    heads: Heads,
    at: Pace,
) -> Layers:
    """K/V of the first `cut` columns. Rows go together that have about as many columns of their
    own, which others have not read for them."""
    total = mask_BT.shape[1]
    ids_BT, _ = padded([c.ids + c.target for c in contexts], left=True)
    ids_BP, place_BT = ids_BT[:, :cut].to(mask_BT.device), _places(mask_BT)
    nothing = torch.zeros(0, dtype=torch.long, device=ids_BP.device)
    if not cut:  # K/V of no tokens, for prompts that begin with the subject's last token
        cache = DynamicCache()
        with head_at(model, lambda: (nothing, nothing)):
            model(input_ids=ids_BP.new_zeros(len(ids_BP), 1), past_key_values=cache, use_cache=True)
        return [(part.keys[:, :, :0], part.values[:, :, :0]) for part in cache.layers]
    lengths = [len(context.ids) + len(context.target) for context in contexts]
    own = [
        max(0, cut - (total - length + context.shared))
        for length, context in zip(lengths, contexts, strict=True)
    ]
    found: Layers = []
    for members in alike(own, at):
        here = torch.tensor(members, device=ids_BP.device)
        cache, known = heads.cache([contexts[row] for row in members], total)
        # Nobody has begun ahead of the first column.
        first = known or max(0, cut - max(own[row] for row in members))
        if first < cut:
            with head_at(model, lambda: (nothing, nothing)):
                model(
                    input_ids=ids_BP[here, first:],
                    attention_mask=mask_BT[here, first - known : cut],
                    position_ids=place_BT[here, first:cut],
                    past_key_values=cache,
                    use_cache=True,
                )
        for number, layer in enumerate(cache.layers):
            if len(found) == number:
                found.append(
                    (_zeros(layer.keys, len(own), cut), _zeros(layer.values, len(own), cut))
                )
            for whole, part in zip(found[number], (layer.keys, layer.values), strict=True):
                part = part[:, :, :cut]  # others may have read more of these rows
                whole[here.to(whole.device), :, cut - part.shape[2] :] = part
    return found


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """K or V of tokens that there are not."""
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])
