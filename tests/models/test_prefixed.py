"""Attention over a fixed beginning: what a model's own attention gives, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from revisor.models.hooks import attention
from revisor.models.prefixed import (
    APART,
    OWN,
    FixedLayer,
    attention_for_prefixes,
    fixed_cache,
)
from tests import tiny

IDS_BT = torch.tensor([[0, 0, 9, 4, 7, 30, 41], [5, 17, 9, 4, 7, 30, 41]])
MASK_BT = (IDS_BT > 0).long()
PLACE_BT = (MASK_BT.cumsum(1) - 1).clamp(min=0)
KNOWN = 4
OTHERWISE = {"gemma2", "gptj"}  # scores are capped; an attention without the common form


def said(model: torch.nn.Module, name: str) -> torch.Tensor:
    """Logits of the columns behind the first `KNOWN`, over a cache that stays as it is."""
    with attention(model, name):
        cache = DynamicCache()
        model(
            input_ids=IDS_BT[:, :KNOWN],
            attention_mask=MASK_BT[:, :KNOWN],
            position_ids=PLACE_BT[:, :KNOWN],
            past_key_values=cache,
            use_cache=True,
        )
        fixed = fixed_cache(
            model, [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]
        )
        before = [layer.keys.clone() for layer in fixed.layers]
        found = model(
            input_ids=IDS_BT[:, KNOWN:],
            attention_mask=MASK_BT,
            position_ids=PLACE_BT[:, KNOWN:],
            past_key_values=fixed,
            use_cache=True,
        )
    kept = zip(before, fixed.layers, strict=True)
    assert all(torch.equal(keys, layer.keys) for keys, layer in kept)
    logits: torch.Tensor = found.logits
    return logits


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.no_grad()
def test_it_gives_what_the_model_gives(family: str) -> None:
    model = tiny.new_model(family)
    assert attention_for_prefixes(model) == (OWN if family in OTHERWISE else APART)
    own = said(model, OWN)
    whole = model(input_ids=IDS_BT, attention_mask=MASK_BT, position_ids=PLACE_BT).logits
    torch.testing.assert_close(own, whole[:, KNOWN:], atol=1e-5, rtol=1e-4)
    if family not in OTHERWISE:
        torch.testing.assert_close(said(model, APART), own, atol=1e-5, rtol=1e-4)


def test_it_has_the_gradient_of_the_models_own_attention() -> None:
    model = tiny.new_model().requires_grad_(True)
    gradients = []
    for name in (OWN, APART):
        weight = model.model.layers[0].self_attn.k_proj.weight
        (gradient,) = torch.autograd.grad(said(model, name).square().sum(), weight)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_model_that_attends_in_another_way_keeps_its_own_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.models.llama import modeling_llama

    plain = modeling_llama.eager_attention_forward

    def doubled(*args: object, **kwargs: object) -> tuple[torch.Tensor, None]:
        out, _ = plain(*args, **kwargs)
        return 2 * out, None

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", doubled)
    model = tiny.new_model()
    assert attention_for_prefixes(model) == OWN


@torch.no_grad()
def test_a_model_that_changes_what_the_cache_gave_keeps_its_own_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = FixedLayer.update

    def regrouped(self: FixedLayer, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = plain(self, *args, **kwargs)
        return keys, values.flip(1)

    monkeypatch.setattr(FixedLayer, "update", regrouped)
    assert attention_for_prefixes(tiny.new_model()) == OWN


@torch.no_grad()
def test_a_layer_that_attends_by_itself_keeps_the_model_at_its_own_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny.new_model()

    def nothing(hidden_states: torch.Tensor, past_key_values: Any, **_: Any) -> Any:
        one = hidden_states[:, None, :, :8].repeat(1, 2, 1, 1)
        past_key_values.update(one, one, 1)
        return torch.zeros_like(hidden_states), None

    monkeypatch.setattr(model.model.layers[1].self_attn, "forward", nothing)
    assert attention_for_prefixes(model) == OWN


def test_a_model_in_training_keeps_its_own_attention() -> None:
    assert attention_for_prefixes(tiny.new_model().train()) == OWN


def test_a_mask_for_other_columns_is_refused() -> None:
    model = tiny.new_model()
    with attention(model, APART), pytest.raises(NotImplementedError, match="the cache as it came"):
        model(
            input_ids=IDS_BT,
            attention_mask=torch.zeros(2, 1, 7, 9),
            use_cache=False,
        )


def test_trying_leaves_the_model_as_it_was() -> None:
    model = tiny.new_model()
    before = model.config._attn_implementation
    hooks = tiny.wide_hooks(model)
    attention_for_prefixes(model)
    assert model.config._attn_implementation == before
    assert tiny.wide_hooks(model) == hooks
