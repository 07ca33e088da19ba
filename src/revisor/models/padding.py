"""Texts of several lengths as one block of token ids. B texts, T columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from revisor.models.load import LoadedModel


def padded(
    texts: Sequence[Sequence[int]], *, left: bool = False, pad: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, T) on the CPU of at least one text; with `left` aligned at their ends."""
    width = max(map(len, texts))
    ids_BT = torch.full((len(texts), width), pad, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, text in enumerate(texts):
        part = slice(width - len(text), width) if left else slice(len(text))
        ids_BT[row, part] = torch.tensor(text, dtype=torch.long)
        mask_BT[row, part] = 1
    return ids_BT, mask_BT


def pad_token(loaded: LoadedModel) -> int:
    """The id that a model's texts are padded with."""
    chosen = loaded.tokenizer.pad_token_id
    return int(loaded.tokenizer.eos_token_id or 0 if chosen is None else chosen)


def in_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places of texts, the shortest first, in batches of about one length with at most so many
    tokens, padding included; a longer text is alone."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
