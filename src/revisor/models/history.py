"""Which tokens a running model has read: those of this call, and those before it.

What comes in: a model. What goes out: a function that gives the ids at any time within a forward
pass. What it does not do: look for anything in them.

With a KV cache a call sees new tokens only, so the earlier ids are kept where their keys and
values are: in a further layer of the same cache. Whatever is done to a cache (beams reordered, a
batch split, tokens cropped) is then done to the ids as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer

from revisor.models.spec import Spec

UNKNOWN = -1  # a token that was read while nobody took note

# The ids (B, T) up to the last token of this call, and how many of its columns are new; None for
# a call on embeddings.
History = Callable[[], "tuple[torch.Tensor, int] | None"]


class _Owner:
    """Tells the ids of one history from those of another."""

    def __deepcopy__(self, _memo: object) -> _Owner:
        return self  # the copy of a prompt's cache goes on with the same text


class _TokenLayer(DynamicLayer):  # type: ignore[misc]
    """Ids in the shape of keys, on the CPU: (B, 1, T, 1)."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, owner: _Owner) -> None:
        super().__init__()
        self.owner = owner

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As of any layer, but keys and values are one: they grow by one copy a token, not two."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self.values = torch.cat([self.keys, key_states], dim=-2)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """As of any layer; the indices may lie beside the model."""
        super().batch_select_indices(indices.to(self.keys.device))


@contextmanager
def token_history(model: nn.Module, spec: Spec, layer: int) -> Iterator[History]:
    """Take note of token ids; they are at hand from the entry of `layer` on.

    A cache that was filled before has `UNKNOWN` in place of its tokens, and so have the columns
    that the attention mask of a call with several tokens leaves out: padding is no text.
    """
    owner = _Owner()
    read: list[torch.Tensor] = []  # ids of this call
    masks: list[torch.Tensor] = []  # and its mask
    known: list[tuple[torch.Tensor, int]] = []
    # Of the mask among the arguments that are given without a name.
    named = list(inspect.signature(model.forward).parameters)
    place = named.index("attention_mask") if "attention_mask" in named else None

    def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        by_place = None if place is None or len(args) <= place else args[place]
        mask = kwargs.get("attention_mask", by_place)
        masks[:] = [mask] if isinstance(mask, torch.Tensor) else []

    def embed(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids_BS = args[0] if args else kwargs["input"]
        # Before the layers are begun: later the CPU would wait for the GPU to have done them.
        read[:] = [ids_BS if torch.compiler.is_compiling() else ids_BS.cpu()]

    def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        known.clear()
        mask = masks.pop() if masks else None
        if not read:
            return
        ids_BS = read.pop()
        cache = next((x for x in (*args, *kwargs.values()) if isinstance(x, Cache)), None)
        past = 0 if cache is None else int(cache.get_seq_length(layer))
        if mask is not None and ids_BS.shape[1] > 1:
            ids_BS = _without_padding(ids_BS, mask, past)
        if cache is None:
            known.append((ids_BS, ids_BS.shape[1]))
            return
        note = _layer_of(cache, owner, len(spec.layers))
        if note.get_seq_length() != past:
            missing = ids_BS.new_full((len(ids_BS), 1, past, 1), UNKNOWN)
            note.lazy_initialization(missing, missing)
            note.keys = note.values = missing
        columns = ids_BS[:, None, :, None]
        if note.is_initialized:  # compiled and other calls keep ids in different places
            columns = columns.to(note.keys.device)
        all_ids, _ = note.update(columns, columns)
        known.append((all_ids[:, 0, :, 0], ids_BS.shape[1]))

    embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    handles = [
        model.register_forward_pre_hook(begin, with_kwargs=True),
        embeddings.register_forward_pre_hook(embed, with_kwargs=True),
        spec.layers[layer].register_forward_pre_hook(enter, with_kwargs=True),
    ]
    try:
        yield lambda: known[0] if known else None
    finally:
        for handle in handles:
            handle.remove()


def _without_padding(ids_BS: torch.Tensor, mask: torch.Tensor, past: int) -> torch.Tensor:
    """New ids, `UNKNOWN` where the mask leaves a column out.

    Args:
        mask: (B, T), 0 for such columns; or as a static cache has it, (B, 1, S, T or more) for each
            new token, false or far below 0.
    """
    end = past + ids_BS.shape[1]
    if mask.dim() == 2 and mask.shape[1] == end:
        seen_BS = mask[:, past:] > 0
    elif mask.dim() == 4 and mask.shape[3] >= end:
        last_BS = mask[:, 0, -1, past:end]
        seen_BS = last_BS if last_BS.dtype == torch.bool else last_BS == 0
    else:
        return ids_BS
    return ids_BS.where(seen_BS.to(ids_BS.device), UNKNOWN)


def _layer_of(cache: Cache, owner: _Owner, depth: int) -> _TokenLayer:
    """The layer of a cache that keeps ids for `owner`, behind those of the model."""
    for layer in cache.layers:
        if isinstance(layer, _TokenLayer) and layer.owner is owner:
            return layer
    # A cache that grows with its first use would give our place to one of the model's layers.
    while cache.layer_class_to_replicate is not None and len(cache.layers) < depth:
        cache.layers.append(cache.layer_class_to_replicate())
    made = _TokenLayer(owner)
    cache.layers.append(made)
    return made
