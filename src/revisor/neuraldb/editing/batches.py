"""Batches of requests, run once: everything that a step of the optimisation reads, ready.

Shapes: B rows (all contexts of all requests), T columns of which S are suffix, D hidden width, M
target positions, E rows without one, V vocabulary. Rows are aligned at their right end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.cache_utils import DynamicCache

from revisor.models.hooks import head_at, inputs_of, outputs_of
from revisor.models.padding import padded
from revisor.models.prefixed import Layers, fixed_cache
from revisor.models.spec import Spec
from revisor.neuraldb.editing.pacing import Part
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

    def rows(self, keep_B: torch.Tensor) -> Batch:
        """Only the rows of a mask."""
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
            owner_B=self.owner_B[kept],
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


@torch.no_grad()
def prepare(
    model: nn.Module,
    spec: Spec,
    layer: int,
    rows: Sequence[Part],
    requests: Sequence[Request],
) -> tuple[Batch, torch.Tensor]:
    """Run some rows of some requests once; the batch, and |h| (B), the norm of the layer's output
    at the subject."""
    device = next(model.get_input_embeddings().parameters()).device  # type: ignore[operator]
    batch = _laid_out(rows, requests, device)
    suffix = batch.ids_BS.shape[1]
    cut = batch.mask_BT.shape[1] - suffix
    batch.prefix = _prefix(model, [context for _, context in rows], batch.mask_BT, cut)
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
    """The tokens of some rows and the places in them; nothing has been run yet."""
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
    return (mask_BT.cumsum(1) - 1).clamp(min=0)


def _prefix(
    model: nn.Module, contexts: Sequence[Context], mask_BT: torch.Tensor, cut: int
) -> Layers:
    """K/V of the first `cut` columns."""
    ids_BT, _ = padded([c.ids + c.target for c in contexts], left=True)
    read = max(1, cut)  # K/V of no tokens, for prompts that begin with the subject's last token
    ids_BP, nothing = ids_BT[:, :read].to(mask_BT.device), torch.zeros_like(mask_BT[0, :0])
    cache = DynamicCache()
    with head_at(model, lambda: (nothing, nothing)):
        model(
            input_ids=ids_BP,
            attention_mask=mask_BT[:, :read],
            position_ids=_places(mask_BT)[:, :read],
            past_key_values=cache,
            use_cache=True,
        )
    return [(part.keys[:, :, :cut], part.values[:, :, :cut]) for part in cache.layers]
