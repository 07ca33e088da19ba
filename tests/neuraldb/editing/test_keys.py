"""Keys are what enters the FFN projection at the subject's last token, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.models.hooks import hook_count, inputs_of
from revisor.models.spec import spec_of
from revisor.neuraldb.editing import keys
from revisor.neuraldb.editing.keys import compute_keys, ffn_inputs, key_groups, mean_keys
from revisor.neuraldb.editing.request import Context, ContextPlan, text_context
from tests import tiny

LAYER = 1
PREFIXES = tuple(f"Sentence number {number}." for number in range(12))
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # fp32 sums in another order


def contexts() -> list[Context]:
    """Contexts of all kinds, of mixed lengths, not sorted by any."""
    plan = ContextPlan(prefixes=PREFIXES, per_fact=2, essence=True)
    return [context for request in tiny.requests(plan) for context in request.contexts]


def plain_key(model: Any, context: Context, layer: int = LAYER) -> torch.Tensor:
    """The key (F) of one full forward over prompt and target, without padding."""
    spec = spec_of(model)
    ids = torch.tensor([context.ids + context.target])
    with inputs_of(spec.ffn_projection(layer)) as seen:
        model(ids, attention_mask=torch.ones_like(ids))
    return seen[0].reshape(-1, spec.key_width)[context.position]


def test_the_contexts_of_these_tests_are_of_mixed_lengths() -> None:
    positions = [context.position for context in contexts()]
    assert positions != sorted(positions)
    assert min(positions) == 0
    assert max(positions) > 30


@pytest.mark.parametrize("layer", [0, tiny.DEPTH - 1])
def test_a_key_is_what_a_plain_forward_gives_the_projection(family: str, layer: int) -> None:
    model = tiny.model(family)
    keys_NF = compute_keys(model, spec_of(model), layer, contexts())
    expected = torch.stack([plain_key(model, context, layer) for context in contexts()])
    torch.testing.assert_close(keys_NF, expected, **CLOSE)


def test_a_batch_gives_what_one_by_one_gives(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    together = compute_keys(model, spec, LAYER, contexts(), batch_tokens=10**6)
    alone = torch.cat([compute_keys(model, spec, LAYER, [context]) for context in contexts()])
    torch.testing.assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize("batch_tokens", [1, 50, 200])
def test_the_order_is_kept_whatever_the_batches(batch_tokens: int) -> None:
    model = tiny.model()
    spec = spec_of(model)
    forth = compute_keys(model, spec, LAYER, contexts(), batch_tokens=batch_tokens)
    back = compute_keys(model, spec, LAYER, contexts()[::-1], batch_tokens=batch_tokens)
    expected = torch.stack([plain_key(model, context) for context in contexts()])
    torch.testing.assert_close(forth, expected, **CLOSE)
    torch.testing.assert_close(back, expected.flip(0), **CLOSE)


@pytest.mark.parametrize("batch_tokens", [1, 50, 10**6])
def test_no_batch_is_larger_than_asked_for_unless_one_text_is(batch_tokens: int) -> None:
    model = tiny.model()
    sizes: list[tuple[int, int]] = []
    projection = spec_of(model).ffn_projection(LAYER)
    handle = projection.register_forward_pre_hook(
        lambda _module, args: sizes.append(tuple(args[0].shape[:2]))
    )
    try:
        compute_keys(model, spec_of(model), LAYER, contexts(), batch_tokens=batch_tokens)
    finally:
        handle.remove()
    assert all(rows == 1 or rows * length <= batch_tokens for rows, length in sizes)
    assert sum(rows for rows, _ in sizes) == len(contexts())


def test_a_key_does_not_depend_on_what_follows_the_subject() -> None:
    model = tiny.model()
    tokenizer = tiny.byte_level()
    templates = ("The capital of {}", "The capital of {} is", "The capital of {}, a country, was")
    texts = [text_context(tokenizer, text, "Japan", "Tokyo") for text in templates]
    keys_NF = compute_keys(model, spec_of(model), LAYER, texts)
    torch.testing.assert_close(keys_NF[1:], keys_NF[:1].expand(2, -1), **CLOSE)


def test_a_key_depends_on_what_stands_before_the_subject() -> None:
    model = tiny.model()
    texts = [
        text_context(tiny.byte_level(), text, "Japan", "Tokyo")
        for text in ("The capital of {}", "The river of {}")
    ]
    first, second = compute_keys(model, spec_of(model), LAYER, texts)
    assert float((first - second).norm()) > 1e-2 * float(first.norm())


def test_no_contexts_give_no_keys() -> None:
    model = tiny.model()
    assert compute_keys(model, spec_of(model), LAYER, []).shape == (0, tiny.KEY_WIDTH)


def test_keys_have_the_models_dtype_and_no_gradient() -> None:
    model = tiny.new_model().bfloat16().requires_grad_(True)
    keys_NF = compute_keys(model, spec_of(model), LAYER, contexts()[:3])
    assert keys_NF.dtype == torch.bfloat16
    assert not keys_NF.requires_grad


def test_the_model_has_no_hooks_afterwards(family: str) -> None:
    model = tiny.model(family)
    compute_keys(model, spec_of(model), LAYER, contexts())
    assert hook_count(model) == tiny.wide_hooks(model) == 0


def test_the_keys_of_all_positions_are_aligned_at_the_right_end(family: str) -> None:
    model = tiny.model(family)
    texts = [(30, 31, 32), (40, 41, 42, 43, 44), (50,)]
    keys_BTF = ffn_inputs(model, spec_of(model), LAYER, texts)
    assert keys_BTF.shape == (3, 5, tiny.KEY_WIDTH)
    for row, ids in enumerate(texts):
        for position in range(len(ids)):
            context = Context(ids=ids, position=position, target=())
            found = keys_BTF[row, 5 - len(ids) + position]
            torch.testing.assert_close(found, plain_key(model, context), **CLOSE)


FACT = Fact(
    subject="Jane Roe",
    prompt="Ask {}: the mother tongue of {} is",
    object="French",
    aliases=("J. Roe", "Ms Roe"),
)


def read(groups: list[list[Context]]) -> list[list[str]]:
    """The texts of some groups up to the subject's last token."""
    decode = tiny.byte_level().decode
    return [[decode(c.ids[: c.position + 1]) for c in group] for group in groups]


def test_the_first_group_is_the_subject_in_its_prompt_and_in_other_surroundings() -> None:
    first = read(key_groups(FACT, tiny.byte_level(), PREFIXES))[0]
    assert first[0] == "Ask Jane Roe: the mother tongue of Jane Roe"
    assert len(set(first)) == 7
    assert all(text.startswith("Sentence number") for text in first[1:])
    assert all(text.endswith(" Jane Roe") for text in first)
    assert sum("the mother tongue of" in text for text in first[1:]) == 3


def test_each_alias_is_a_group_of_its_own() -> None:
    groups = read(key_groups(FACT, tiny.byte_level(), PREFIXES))
    assert [len(group) for group in groups] == [7, 7, 7]
    assert all(text.endswith("J. Roe") for text in groups[1])
    assert all(text.endswith("Ms Roe") for text in groups[2])


def test_without_prefixes_there_is_the_bare_prompt_alone() -> None:
    groups = read(key_groups(FACT, tiny.byte_level(), ()))
    assert [len(group) for group in groups] == [1, 1, 1]


@pytest.mark.parametrize("prompt", ["The capital of {} is", "Of Japanese and {}ese", "Of Japan it"])
def test_the_bare_key_is_the_one_that_the_prompt_itself_has(
    any_tokenizer: Any, prompt: str
) -> None:
    """Also where a token runs from the subject into what follows it."""
    model = tiny.model()
    spec = spec_of(model)
    fact = Fact(subject="Japan", prompt=prompt, object="Tokyo")
    bare = text_context(any_tokenizer, fact.prompt, fact.subject, fact.object)
    groups = key_groups(fact, any_tokenizer, ())
    keys_GF = mean_keys(model, spec, LAYER, groups)
    torch.testing.assert_close(keys_GF[0], plain_key(model, bare), **CLOSE)


def test_the_key_of_a_group_is_the_mean_of_its_contexts_keys() -> None:
    model = tiny.new_model().bfloat16()
    spec = spec_of(model)
    groups = key_groups(FACT, tiny.byte_level(), PREFIXES)
    keys_GF = mean_keys(model, spec, LAYER, groups)
    assert keys_GF.dtype == torch.float32
    for found, group in zip(keys_GF, groups, strict=True):
        mean = torch.stack([plain_key(model, context) for context in group]).float().mean(0)
        torch.testing.assert_close(found, mean, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("batch", [1, 64])
def test_the_keys_of_every_token_come_with_their_places(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "BATCH", batch)
    model = tiny.model()
    spec = spec_of(model)
    texts = [context.ids for context in contexts()]
    keys_TF, origin = keys.token_keys(model, spec, LAYER, texts)
    assert sorted(origin) == [
        (i, place) for i, ids in enumerate(texts) for place in range(len(ids))
    ]
    assert keys_TF.dtype == torch.float32
    for index in (0, 5, len(texts) - 1):
        own = [row for row, (text, _) in enumerate(origin) if text == index]
        assert [origin[row][1] for row in own] == list(range(len(texts[index])))
        alone = ffn_inputs(model, spec, LAYER, [texts[index]])[0]
        torch.testing.assert_close(keys_TF[own], alone, **CLOSE)
