"""Batches of requests, run once: everything that a step of the optimisation reads.

What comes in: requests and one layer of a frozen model. What goes out: batches whose prefix (K/V),
lower layers and places are ready. What it does not do: optimise (values.py), or choose what goes
together (pacing.py).

Shapes: B rows (all contexts of all requests), T columns of which S are suffix, D hidden width, M
target positions, W rows with a target, E rows without, V vocabulary. Rows are aligned at their
right end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.cache_utils import DynamicCache

from revisor.models.hooks import head_at, inputs_of, outputs_of
from revisor.models.prefixed import Layers, fixed_cache
from revisor.models.spec import Spec
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.pacing import Pace, Part, alike, cost_of
from revisor.neuraldb.editing.request import Context, Request

CHAT_SLACK = 5.0  # a chat template opens an answer in many ways: its loss falls slowly


@dataclass
class Batch:
    """A batch ready to be optimised: everything that a step reads."""

    ids_BS: torch.Tensor
    mask_BT: torch.Tensor
    place_BS: torch.Tensor  # position ids of the suffix
    owner_B: torch.Tensor  # index of the request a row belongs to
    column_B: torch.Tensor  # suffix column of the subject's last token
    slack_B: torch.Tensor  # how many times `stop_nll` a row may lose and still have converged
    weight_B: torch.Tensor  # a row's share in its request's loss
    entering_BSD: torch.Tensor  # what enters the layer
    prefix: Layers  # K/V of every layer
    target_row_M: torch.Tensor
    target_column_M: torch.Tensor
    target_id_M: torch.Tensor
    written_row_W: torch.Tensor  # rows with a target; what follows it is in the last column
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
            slack_B=self.slack_B[kept],
            weight_B=self.weight_B[kept],
            entering_BSD=self.entering_BSD[kept],
            prefix=[(k[kept.to(k.device)], v[kept.to(v.device)]) for k, v in self.prefix],
            target_row_M=new_row[self.target_row_M[target]],
            target_column_M=self.target_column_M[target],
            target_id_M=self.target_id_M[target],
            written_row_W=new_row[self.written_row_W[keep_B[self.written_row_W]]],
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
        slack_B=both("slack_B"),
        weight_B=both("weight_B"),
        entering_BSD=both("entering_BSD"),
        prefix=[
            (torch.cat([k, other_k]), torch.cat([v, other_v]))
            for (k, v), (other_k, other_v) in zip(a.prefix, b.prefix, strict=True)
        ],
        target_row_M=both("target_row_M", rows),
        target_column_M=both("target_column_M"),
        target_id_M=both("target_id_M"),
        written_row_W=both("written_row_W", rows),
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
    written = [sum(1 for c in request.contexts if c.target) for request in requests]
    lengths = [len(context.ids) + len(context.target) for _, context in rows]
    total = max(lengths)
    suffix = max(context.suffix for _, context in rows)
    cut = total - suffix
    ids_BT = torch.zeros(len(rows), total, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), total, dtype=torch.long)
    columns, target_row, target_column, target_id = [], [], [], []
    written_row: list[int] = []
    essence_row: list[int] = []
    for row, ((_, context), length) in enumerate(zip(rows, lengths, strict=True)):
        start = total - length
        ids_BT[row, start:] = torch.tensor(context.ids + context.target)
        mask_BT[row, start:] = 1
        columns.append(start + context.position - cut)
        (written_row if context.target else essence_row).append(row)
        for offset, token in enumerate(context.target):
            target_row.append(row)
            target_column.append(start + len(context.ids) - 1 + offset - cut)
            target_id.append(token)
    ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
    place_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    prefix = _prefix(
        model, spec, [context for _, context in rows], ids_BT[:, :cut], mask_BT, place_BT, heads, at
    )
    essence_row_E = torch.tensor(essence_row, dtype=torch.long, device=device)
    last_E = torch.full_like(essence_row_E, suffix - 1)
    batch = Batch(
        ids_BS=ids_BT[:, cut:],
        mask_BT=mask_BT,
        place_BS=place_BT[:, cut:],
        owner_B=torch.tensor([i for i, _ in rows], device=device),
        column_B=torch.tensor(columns, device=device),
        slack_B=torch.tensor(
            [CHAT_SLACK if context.kind == "chat" else 1.0 for _, context in rows], device=device
        ),
        weight_B=torch.tensor([1 / max(1, written[i]) for i, _ in rows], device=device),
        entering_BSD=torch.empty(0),
        prefix=prefix,
        target_row_M=torch.tensor(target_row, dtype=torch.long, device=device),
        target_column_M=torch.tensor(target_column, dtype=torch.long, device=device),
        target_id_M=torch.tensor(target_id, dtype=torch.long, device=device),
        written_row_W=torch.tensor(written_row, dtype=torch.long, device=device),
        essence_row_E=essence_row_E,
        essence_base_EV=None,
    )
    on = layer + 1 == len(spec.layers) or bool(essence_row)
    leaves = outputs_of(spec.layers[layer]) if on else inputs_of(spec.layers[layer + 1], stop=True)
    with (
        leaves as leaving,
        inputs_of(spec.layers[layer]) as entering,
        head_at(model, lambda: (essence_row_E, last_E)),
    ):
        said = model(
            input_ids=batch.ids_BS,
            attention_mask=mask_BT,
            position_ids=batch.place_BS,
            past_key_values=fixed_cache(model, prefix),
            use_cache=True,
        )
        if essence_row:
            batch.essence_base_EV = said.logits[0].float().log_softmax(-1)
    batch.entering_BSD = entering[0]
    norm_B = leaving[0][torch.arange(len(rows)), batch.column_B.to(leaving[0].device)]
    return batch, norm_B.float().norm(dim=-1).to(device)


def _prefix(
    model: nn.Module,
    spec: Spec,
    contexts: Sequence[Context],
    ids_BP: torch.Tensor,
    mask_BT: torch.Tensor,
    place_BT: torch.Tensor,
    heads: Heads,
    at: Pace,
) -> Layers:
    """K/V of the first P columns. Rows go together that have about as many columns of their own,
    which others have not read for them."""
    cut, total = ids_BP.shape[1], mask_BT.shape[1]
    nothing = torch.zeros(0, dtype=torch.long, device=ids_BP.device)
    if not cut:  # K/V of no tokens, for prompts that begin with the subject's last token
        cache = DynamicCache()
        with head_at(model, lambda: (nothing, nothing)):
            model(input_ids=ids_BP.new_zeros(len(ids_BP), 1), past_key_values=cache, use_cache=True)
        return [(part.keys[:, :, :0], part.values[:, :, :0]) for part in _own_layers(cache, spec)]
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
        for number, layer in enumerate(_own_layers(cache, spec)):
            if len(found) == number:
                found.append(
                    (_zeros(layer.keys, len(own), cut), _zeros(layer.values, len(own), cut))
                )
            for whole, part in zip(found[number], (layer.keys, layer.values), strict=True):
                part = part[:, :, :cut]  # others may have read more of these rows
                whole[here.to(whole.device), :, cut - part.shape[2] :] = part
    return found


def _own_layers(cache: DynamicCache, spec: Spec) -> Sequence[Any]:
    """Those of the model: an attached gate keeps token ids behind them."""
    return cache.layers[: len(spec.layers)]  # type: ignore[no-any-return]


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """K or V of tokens that there are not."""
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])
