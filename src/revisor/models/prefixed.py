"""Attention over fixed prefixes: K and V of the first P columns, computed before, are read in
place.

A model's own attention joins the K and V of both in each layer and, where several heads share them,
copies them once a head: with P = 120 and S = 3 nearly all that is moved are copies of what has not
changed, and in the gradient their sums. Here the heads that share K and V are further rows of one
product, each product is made over both parts apart, and no gradient runs into the prefix.
neuraldb/editing/batches.py computes the prefixes.

Shapes: B texts, H heads, K of them with K and V of their own, G = H / K, T = P + S columns, d width
of a head.
"""

from __future__ import annotations

import logging
import sys
import weakref
from threading import Lock
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from revisor.models.hooks import attention

log = logging.getLogger(__name__)

OWN = "eager"  # a model's own attention, written out
APART = "revisor_prefix_apart"
BOTH = "revisor_prefix_both"
FURTHER = ("softcap", "s_aux", "position_bias")  # what some attentions have besides: not here
CLOSE = 0.03  # of the largest number: more than rounding makes of two ways to the same
LEAST = 1e-9

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # K and V (B, K, P, d) of every layer


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer with fixed K and V (B, K, P, d), which it hands out with the new ones, or, if
    `apart`, by themselves to the attention."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, *, apart: bool) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.apart = keys, values, apart
        self.given: torch.Tensor | None = None  # the new V, until an attention has come for it

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, positions, width) of the prefix, the new ones behind."""
        if self.apart:
            key_states.revisor_prefix = self  # type: ignore[attr-defined]
            self.given = value_states
            return key_states, value_states
        return (
            torch.cat([self.keys, key_states], dim=-2),
            torch.cat([self.values, value_states], dim=-2),
        )


def fixed_cache(model: nn.Module, prefix: Layers) -> DynamicCache:
    """An immutable cache for the attention that the model runs with now."""
    config: Any = model.config
    apart = config._attn_implementation in (APART, BOTH)
    cache = DynamicCache()
    cache.layers += [FixedLayer(keys, values, apart=apart) for keys, values in prefix]
    return cache


def prefix_apart(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(q Kᵀ scaling + mask) V as transformers calls it, the softmax in fp32; by torch's
    fused kernel where there is no prefix and no gradient is wanted. Result (B, S, H, d).

    Args:
        query: (B, H, S, d).
        key, value: (B, K, S, d), the new columns behind those of the cache, or all.
        attention_mask: (B, 1, S, T), added; None for none.

    Raises:
        NotImplementedError: the attention has a part that is not here, or alters the cached V.
    """
    own_way = NotImplementedError(f"{type(module).__name__} attends in a way of its own")
    if dropout or any(further.get(name) is not None for name in FURTHER):
        raise own_way
    if attention_mask is not None and attention_mask.shape[1] != 1:
        raise own_way
    before: FixedLayer | None = getattr(key, "revisor_prefix", None)
    if before is not None:
        if value is not before.given:
            raise own_way
        before.given = None
    if before is None and not torch.is_grad_enabled():
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **further
        )
        return found, None
    return _attend(module, query, key, value, attention_mask, scaling, before), None


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None,
    before: FixedLayer | None,
) -> torch.Tensor:
    """`prefix_apart` where there is a prefix, or a gradient is wanted."""
    batch, heads, suffix, width = query.shape
    groups = heads // key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    # Heads that share K and V stand below one another.
    query = (query * scale).reshape(batch, key.shape[1], groups * suffix, width)
    score = query @ key.transpose(2, 3)
    if before is not None:
        score = torch.cat([query @ before.keys.transpose(2, 3), score], dim=-1)
    total = score.shape[-1]
    if attention_mask is not None:
        if attention_mask.shape[-1] != total:
            raise NotImplementedError(f"{type(module).__name__} does not take the cache as it came")
        score = score.view(batch, -1, groups, suffix, total) + attention_mask[:, :, None]
        score = score.view(batch, -1, groups * suffix, total)
    weight = score.softmax(-1, dtype=torch.float32).to(value.dtype)
    if before is None:
        found = weight @ value
    else:
        known, new = torch.split(weight, [total - key.shape[2], key.shape[2]], -1)
        found = known @ before.values + new @ value
    found = found.view(batch, heads, suffix, value.shape[-1])
    return found.transpose(1, 2).contiguous()


_differences: list[float] = []
_trying = Lock()


def _both(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """The model's own attention; its difference from `prefix_apart` is noted."""
    own_attention = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if own_attention is None:
        raise NotImplementedError(f"{type(module).__name__} does not say how it attends")
    apart, _ = prefix_apart(module, query, key, value, attention_mask, **further)
    before: FixedLayer | None = getattr(key, "revisor_prefix", None)
    if before is not None:
        key, value = torch.cat([before.keys, key], -2), torch.cat([before.values, value], -2)
    own, _ = own_attention(module, query, key, value, attention_mask, **further)
    difference = (own - apart).float().abs().amax() / own.float().abs().amax().clamp(min=LEAST)
    _differences.append(float(difference))
    return own, None


for _name, _way in ((APART, prefix_apart), (BOTH, _both)):
    AttentionInterface.register(_name, _way)
    AttentionMaskInterface.register(_name, eager_mask)

_tried: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def attention_for_prefixes(model: nn.Module) -> str:
    """The implementation for fixed prefixes: `APART` if it agrees with the model's own in each
    layer, which is tried once, else the model's own."""
    if model.training:  # which drops out
        return OWN
    if model not in _tried:
        _tried[model] = APART if _agrees(model) else OWN
    return _tried[model]


@torch.no_grad()
def _agrees(model: nn.Module) -> bool:
    if not getattr(model, "_supports_attention_backend", False):
        return False
    device = next(model.get_input_embeddings().parameters()).device  # type: ignore[operator]
    ids_BT = torch.arange(1, 17, device=device).view(2, 8)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :2] = 0  # a shorter text, at the right end as all are
    place_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    with _trying, attention(model, BOTH):
        _differences.clear()
        cache: Any = DynamicCache()
        for columns in (slice(0, 5), slice(5, 8)):
            try:
                model(
                    input_ids=ids_BT[:, columns],
                    attention_mask=mask_BT[:, : columns.stop],
                    position_ids=place_BT[:, columns],
                    past_key_values=cache,
                    use_cache=True,
                )
            except Exception as error:  # whatever it does with an attention it does not know
                log.debug("%s keeps its own attention: %s", type(model).__name__, error)
                return False
            last, cache = (
                cache,
                fixed_cache(model, [(one.keys, one.values) for one in cache.layers]),
            )
        # What a cache gave, an attention has taken, in every layer.
        left = any(layer.given is not None for layer in last.layers)
        return not left and max(_differences, default=1.0) <= CLOSE
