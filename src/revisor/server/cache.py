"""The keys and values of sequences that decode together; each joins and leaves when it likes.

Every layer keeps all positions, those with a sliding window too: their masks cut the window, and a
row can be padded or taken out without knowing the layer. B rows, T columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache


class RowsCache:
    """A cache whose rows come and go.

    Attributes:
        cache: for `past_key_values`; None while there are no rows.
        mask_BT: 1 where a column is a token of that row, 0 where it is padding.
    """

    def __init__(self) -> None:
        self.cache: DynamicCache | None = None
        self.mask_BT = torch.zeros(0, 0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.mask_BT)

    def join(self, prompt: DynamicCache, *, copies: int = 1) -> None:
        """Add the rows of one prompt's cache, `copies` times, below those that are there."""
        width = prompt.get_seq_length()
        device = prompt.layers[0].keys.device
        mask_BT = torch.ones(copies, width, dtype=torch.long, device=device)
        if self.cache is None:
            self.cache, self.mask_BT = _repeated(prompt, copies), mask_BT
            return
        here = self.mask_BT.shape[1]
        wider = max(here, width)
        self.mask_BT = torch.cat(
            [_padded(self.mask_BT, wider - here, dim=1), _padded(mask_BT, wider - width, dim=1)]
        )
        for mine, new in zip(self.cache.layers, prompt.layers, strict=True):
            for name in ("keys", "values"):
                old = _padded(getattr(mine, name), wider - here, dim=-2)
                added = _padded(getattr(new, name), wider - width, dim=-2)
                added = added.expand(copies, *added.shape[1:])
                setattr(mine, name, torch.cat([old, added]))

    def grow(self) -> None:
        """A column of tokens was decoded: every row has one more."""
        one_B1 = torch.ones(len(self), 1, dtype=torch.long, device=self.mask_BT.device)
        self.mask_BT = torch.cat([self.mask_BT, one_B1], dim=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows leave, and the columns that nobody is left in."""
        if self.cache is None or len(rows) == len(self):
            return
        if not rows:
            self.cache, self.mask_BT = None, self.mask_BT[:0, :0]
            return
        index = torch.tensor(rows, device=self.mask_BT.device)
        mask_BT = self.mask_BT[index]
        first = int(mask_BT.amax(0).argmax())
        self.mask_BT = mask_BT[:, first:]
        for layer in self.cache.layers:
            layer.keys = layer.keys[index.to(layer.keys.device), :, first:]
            layer.values = layer.values[index.to(layer.values.device), :, first:]


def _repeated(prompt: DynamicCache, copies: int) -> DynamicCache:
    if copies > 1:
        prompt.batch_repeat_interleave(copies)
    return prompt


def _padded(tensor: torch.Tensor, columns: int, *, dim: int) -> torch.Tensor:
    """Zeros on the left of a dimension."""
    if columns == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = columns
    return torch.cat([tensor.new_zeros(shape), tensor], dim=dim)
