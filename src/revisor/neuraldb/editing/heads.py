"""Beginnings that many texts share, read once: sentences that stand before prompts.

A head is read alone, at places 0, 1, ..., which are those it has in every text that begins with
it, whatever padding stands before. So its K/V do not depend on what else is built.

Shapes: B texts, T columns, aligned at their right end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from revisor.models.hooks import head_at
from revisor.models.prefixed import Layers
from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import Context


class Heads:
    """K/V of shared beginnings in a model as it is, kept as long as this object is.

    So many tokens as there are in all heads, each with the model's K/V: 8 texts of 170 tokens take
    0.2 GB of a Llama-3-8B.
    """

    def __init__(self, model: nn.Module, spec: Spec) -> None:
        self.model = model
        self.spec = spec
        self._known: dict[tuple[int, ...], Layers] = {}

    def cache(self, contexts: Sequence[Context], total: int) -> tuple[DynamicCache, int]:
        """What is known of some texts in `total` columns.

        Returns:
            A cache of the first columns, zeros where a text has not begun, and how many they are:
            up to where the first of the texts goes on in its own words. Without any, an empty one.
        """
        lengths = [len(context.ids) + len(context.target) for context in contexts]
        known = total - max(
            length - context.shared for length, context in zip(lengths, contexts, strict=True)
        )
        cache = DynamicCache()
        if known <= 0:
            return cache, 0
        heads: dict[tuple[int, ...], int] = {}  # where each begins among the columns of all heads
        columns = 1  # the first is of zeros: no token
        place_BK = torch.zeros(len(contexts), known, dtype=torch.long)
        for row, (length, context) in enumerate(zip(lengths, contexts, strict=True)):
            start = total - length
            if start >= known:
                continue
            ids = context.ids[: context.shared]
            if ids not in heads:
                heads[ids] = columns
                columns += len(ids)
            place_BK[row, start:] = torch.arange(known - start) + heads[ids]
        if not heads:  # nobody has begun there
            return cache, 0
        read = [self._read(ids) for ids in heads]
        for number, (one, _) in enumerate(read[0]):
            layer = DynamicLayer()
            layer.lazy_initialization(one, one)
            none, here_BK = torch.zeros_like(one[:, :, :1]), place_BK.to(one.device)
            keys, values = (
                torch.cat([none, *(head[number][which] for head in read)], dim=2)[0]
                for which in (0, 1)
            )
            layer.keys, layer.values = (
                part[:, here_BK].transpose(0, 1).contiguous() for part in (keys, values)
            )
            cache.layers.append(layer)
        return cache, known

    def _read(self, ids: tuple[int, ...]) -> Layers:
        if ids not in self._known:
            embeddings: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]
            device = next(embeddings.parameters()).device
            nothing = torch.zeros(0, dtype=torch.long, device=device)
            cache = DynamicCache()
            with head_at(self.model, lambda: (nothing, nothing)):
                self.model(
                    input_ids=torch.tensor([ids], device=device),
                    past_key_values=cache,
                    use_cache=True,
                )
            self._known[ids] = [(part.keys, part.values) for part in cache.layers]
        return self._known[ids]
