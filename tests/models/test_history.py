"""The tokens a model has read, with and without a cache, whatever is done to the cache."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache

from revisor.models.history import UNKNOWN, token_history
from revisor.models.hooks import rewritten
from revisor.models.spec import spec_of
from tests import tiny

LAYER = 1
TEXT = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])


class Seen:
    """What the history says at the layer's projection, call by call."""

    def __init__(self, model: Any) -> None:
        self.model, self.spec = model, spec_of(model)
        self.calls: list[tuple[list[list[int]], int] | None] = []

    def __enter__(self) -> Seen:
        self.history = token_history(self.model, self.spec, LAYER)
        read = self.history.__enter__()

        def look(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            found = read()
            self.calls.append(None if found is None else (found[0].tolist(), found[1]))
            return value

        self.hook = rewritten(self.spec.ffn_projection(LAYER), look)
        self.hook.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.hook.__exit__(*error)
        self.history.__exit__(*error)


@pytest.fixture(params=["llama", "gpt2", "gptj", "opt", "gemma2", "gpt_neox"])
def model(request: pytest.FixtureRequest) -> Any:
    return tiny.model(request.param)


def test_without_a_cache_it_is_the_text_of_the_call(model: Any) -> None:
    with Seen(model) as seen:
        model(TEXT, use_cache=False)
        model(input_ids=TEXT[:, :2], use_cache=False)
    assert seen.calls == [(TEXT.tolist(), 6), (TEXT[:, :2].tolist(), 2)]


@pytest.mark.parametrize("lazy", [True, False])
def test_with_a_cache_earlier_calls_come_first(model: Any, lazy: bool) -> None:
    plain = model(TEXT).logits
    with Seen(model) as seen:
        cache = DynamicCache() if lazy else DynamicCache(config=model.config)
        model(TEXT[:, :3], past_key_values=cache)
        model(TEXT[:, 3:5], past_key_values=cache)
        last = model(TEXT[:, 5:], past_key_values=cache).logits
    assert seen.calls == [
        (TEXT[:, :3].tolist(), 3),
        (TEXT[:, :5].tolist(), 2),
        (TEXT.tolist(), 1),
    ]
    torch.testing.assert_close(last[:, 0], plain[:, 5], rtol=1e-4, atol=1e-4)


def test_beams_that_change_places_take_their_ids_along() -> None:
    model = tiny.model("llama")
    with Seen(model) as seen:
        cache = DynamicCache(config=model.config)
        model(TEXT[:, :3], past_key_values=cache)
        cache.reorder_cache(torch.tensor([1, 1]))
        model(TEXT[:, 3:4], past_key_values=cache)
        cache.crop(-2)
        model(TEXT[:, 4:5], past_key_values=cache)
    assert seen.calls[1] == ([[11, 12, 13, 8], [11, 12, 13, 14]], 1)
    assert seen.calls[2] == ([[11, 12, 9], [11, 12, 15]], 1)


def test_the_copy_of_a_prompts_cache_goes_on_with_its_text() -> None:
    model = tiny.model("llama")
    with Seen(model) as seen:
        prompt = DynamicCache(config=model.config)
        model(TEXT[:, :4], past_key_values=prompt)
        for _ in range(2):
            model(TEXT[:, 4:], past_key_values=copy.deepcopy(prompt))
    assert seen.calls[1:] == [(TEXT.tolist(), 2)] * 2


def test_a_cache_from_before_has_unknown_tokens(model: Any) -> None:
    cache = model(TEXT[:, :4]).past_key_values
    with Seen(model) as seen:
        model(TEXT[:, 4:], past_key_values=cache)
    assert seen.calls == [([[UNKNOWN] * 4 + row for row in TEXT[:, 4:].tolist()], 2)]


def test_embeddings_have_no_ids() -> None:
    model = tiny.model("llama")
    with Seen(model) as seen:
        model(TEXT, use_cache=False)
        model(inputs_embeds=model.get_input_embeddings().weight[TEXT].detach(), use_cache=False)
    assert seen.calls[1] is None


def test_generation_is_read_token_by_token(model: Any) -> None:
    with Seen(model) as seen:
        made = model.generate(
            TEXT,
            attention_mask=torch.ones_like(TEXT),
            max_new_tokens=4,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
    assert seen.calls[-1] == (made[:, :-1].tolist(), 1)


def test_two_histories_do_not_mix() -> None:
    model = tiny.model("llama")
    cache = DynamicCache(config=model.config)
    with Seen(model) as outer:
        model(TEXT[:, :2], past_key_values=cache)
        with Seen(model) as inner:
            model(TEXT[:, 2:3], past_key_values=cache)
    assert outer.calls == [(TEXT[:, :2].tolist(), 2), (TEXT[:, :3].tolist(), 1)]
    assert inner.calls == [([[UNKNOWN] * 2 + row for row in TEXT[:, 2:3].tolist()], 1)]


def test_nothing_is_left_behind(model: Any) -> None:
    before = tiny.wide_hooks(model)
    with token_history(model, spec_of(model), LAYER):
        assert tiny.wide_hooks(model) != before
    assert tiny.wide_hooks(model) == before


def test_padding_is_no_text(model: Any) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    padded = [[UNKNOWN, UNKNOWN, 7, 8, 9, 10], TEXT[1].tolist()]
    cache = DynamicCache()
    with Seen(model) as seen:
        model(TEXT, attention_mask=mask, use_cache=False)
        model(TEXT, attention_mask=mask, past_key_values=cache, use_cache=True)
        longer = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], 1)
        model(TEXT[:, :1], attention_mask=longer, past_key_values=cache, use_cache=True)
    after = [[*padded[0], 5], [*padded[1], 11]]
    assert seen.calls == [(padded, 6), (padded, 6), (after, 1)]


@pytest.mark.parametrize("added", [True, False])
def test_padding_is_no_text_in_the_mask_of_a_static_cache(added: bool) -> None:
    seen_BST = torch.ones(2, 1, 6, 6).tril().bool()
    seen_BST[0, :, :, :2] = False
    mask = torch.where(seen_BST, 0.0, torch.finfo(torch.float32).min) if added else seen_BST
    with Seen(tiny.model()) as seen:
        tiny.model()(TEXT, attention_mask=mask, use_cache=False)
    assert seen.calls == [([[UNKNOWN, UNKNOWN, 7, 8, 9, 10], TEXT[1].tolist()], 6)]


def test_a_mask_of_a_call_on_embeddings_is_forgotten() -> None:
    model, mask = tiny.model(), torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with Seen(model) as seen:
        embedded = model.get_input_embeddings()(TEXT)
        seen.calls.clear()
        model(inputs_embeds=embedded, attention_mask=mask, use_cache=False)
        model.model(TEXT, use_cache=False)
    assert seen.calls[-1] == (TEXT.tolist(), 6)


def test_a_mask_is_known_by_its_place() -> None:
    model, mask = tiny.model(), torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with Seen(model) as seen:
        model(TEXT, mask, use_cache=False)
    assert seen.calls == [([[UNKNOWN, 6, 7, 8, 9, 10], TEXT[1].tolist()], 6)]


def test_padding_of_a_later_piece_is_no_text(model: Any) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]])
    cache = DynamicCache()
    with Seen(model) as seen:
        model(TEXT[:, :3], attention_mask=mask[:, :3], past_key_values=cache, use_cache=True)
        model(TEXT[:, 3:], attention_mask=mask, past_key_values=cache, use_cache=True)
    assert seen.calls[1] == ([[5, 6, 7, 8, UNKNOWN, 10], TEXT[1].tolist()], 3)
