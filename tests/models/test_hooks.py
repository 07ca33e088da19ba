"""Context managers that reach into a running model, and leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from revisor.models.hooks import (
    attention,
    ffn_rewritten,
    head_at,
    hook_count,
    inputs_of,
    outputs_of,
    replayed,
    rewritten,
)
from revisor.models.spec import spec_of
from tests import tiny

IDS_BT = torch.stack([torch.arange(20, 32), torch.arange(300, 312)])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # fp32 sums in another order


def rewrite_nothing(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return value


MANAGERS: dict[str, Callable[[Any, Any], AbstractContextManager[Any]]] = {
    "inputs_of": lambda model, spec: inputs_of(spec.ffn_projection(1)),
    "inputs_of, stopping": lambda model, spec: inputs_of(spec.ffn_projection(1), stop=True),
    "outputs_of": lambda model, spec: outputs_of(spec.layers[1]),
    "rewritten": lambda model, spec: rewritten(spec.ffn_projection(1), rewrite_nothing),
    "ffn_rewritten": lambda model, spec: ffn_rewritten(spec, 1, rewrite_nothing),
    "replayed": lambda model, spec: replayed(spec, 2, lambda: torch.zeros(2, 12, 32)),
    "head_at": lambda model, spec: head_at(model, lambda: (torch.tensor([0]), torch.tensor([3]))),
    "attention": lambda model, spec: attention(model, "eager"),
}


@pytest.fixture(params=MANAGERS)
def manager(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    return MANAGERS[request.param]


def traces(model: Any) -> tuple[int, int, str]:
    return hook_count(model), tiny.wide_hooks(model), model.config._attn_implementation


def test_a_manager_leaves_no_trace(manager: Callable[[Any, Any], Any]) -> None:
    model = tiny.model()
    before, logits = traces(model), model(IDS_BT).logits
    with manager(model, spec_of(model)):
        assert traces(model) != before
        model(IDS_BT)
    assert traces(model) == before
    assert torch.equal(model(IDS_BT).logits, logits)


def test_a_manager_leaves_no_trace_after_an_exception(manager: Callable[[Any, Any], Any]) -> None:
    model = tiny.model()
    before, logits = traces(model), model(IDS_BT).logits
    with pytest.raises(ZeroDivisionError), manager(model, spec_of(model)):
        raise ZeroDivisionError
    assert traces(model) == before
    assert torch.equal(model(IDS_BT).logits, logits)


def test_a_manager_leaves_the_hooks_of_others_alone() -> None:
    model = tiny.new_model()
    spec = spec_of(model)
    spec.ffn_projection(1).register_forward_hook(lambda *_: None)
    for make in MANAGERS.values():
        with make(model, spec):
            pass
    assert hook_count(model) == 1


def test_a_fresh_model_has_no_hooks_and_each_manager_counts() -> None:
    model = tiny.model()
    spec = spec_of(model)
    assert hook_count(model) == 0
    with inputs_of(spec.ffn_projection(0)), outputs_of(spec.layers[0]):
        assert hook_count(model) == 2


def test_what_a_layer_puts_out_enters_the_next(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    with outputs_of(spec.layers[0]) as leaving, inputs_of(spec.layers[1]) as entering:
        model(IDS_BT)
    assert torch.equal(leaving[0], entering[0])


def test_every_call_is_collected() -> None:
    model = tiny.model()
    with inputs_of(spec_of(model).ffn_projection(0)) as seen:
        model(IDS_BT)
        model(IDS_BT[:1])
    assert [len(key) for key in seen] == [2, 1]


def test_a_pass_that_stops_at_a_projection_gives_the_key_of_a_full_one(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    for layer in range(spec.depth):
        with inputs_of(spec.ffn_projection(layer)) as full:
            model(IDS_BT)
        with inputs_of(spec.ffn_projection(layer), stop=True) as stopped:
            model(IDS_BT)
        assert torch.equal(full[0], stopped[0])


def test_a_pass_that_stops_runs_nothing_above() -> None:
    model = tiny.model()
    spec = spec_of(model)
    with outputs_of(spec.layers[1]) as above, inputs_of(spec.ffn_projection(0), stop=True) as seen:
        model(IDS_BT)
    assert len(seen) == 1
    assert above == []


def test_an_output_rewritten_to_itself_changes_nothing(family: str) -> None:
    model = tiny.model(family)
    logits = model(IDS_BT).logits
    with rewritten(spec_of(model).ffn_projection(1), rewrite_nothing):
        assert torch.equal(model(IDS_BT).logits, logits)


def test_a_rewrite_sees_the_key_and_its_projection(family: str) -> None:
    model = tiny.model(family)
    projection = spec_of(model).ffn_projection(1)
    with inputs_of(projection) as keys, outputs_of(projection) as values:
        model(IDS_BT)
    given: list[torch.Tensor] = []

    def note(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        given.extend((key, value))
        return value

    with rewritten(projection, note):
        model(IDS_BT)
    assert torch.equal(given[0], keys[0])
    assert torch.equal(given[1], values[0])


def test_what_is_added_at_one_token_changes_no_token_before_it(family: str) -> None:
    model = tiny.model(family)

    def push(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        pushed = value.clone()
        pushed.view(2, 12, -1)[:, 5, ::2] += 1.0  # not a constant, which a LayerNorm takes away
        return pushed

    plain = model(IDS_BT).logits
    with rewritten(spec_of(model).ffn_projection(1), push):
        pushed = model(IDS_BT).logits
    assert torch.equal(pushed[:, :5], plain[:, :5])
    assert ((pushed[:, 5:] - plain[:, 5:]).abs().amax(-1) > 1e-3).all()


def test_the_head_at_chosen_positions_says_what_the_full_head_says_there(family: str) -> None:
    model = tiny.model(family)
    rows, columns = torch.tensor([1, 0, 1, 0]), torch.tensor([11, 0, 4, 7])
    full = model(IDS_BT).logits
    with head_at(model, lambda: (rows, columns)):
        picked = model(IDS_BT).logits
    assert picked.shape == (1, 4, tiny.VOCABULARY)
    torch.testing.assert_close(picked[0], full[rows, columns], **CLOSE)


def test_the_logits_of_gemma2_are_capped_in_the_tests() -> None:
    """Otherwise the test above would not show that the cap is applied behind the head."""
    assert tiny.model("gemma2").config.final_logit_softcapping == 10.0
    assert 2.0 < float(tiny.model("gemma2")(IDS_BT).logits.abs().max()) < 10.0


def test_the_head_at_no_position_gives_no_logits(family: str) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    with head_at(tiny.model(family), lambda: (nothing, nothing)):
        assert tiny.model(family)(IDS_BT).logits.shape == (1, 0, tiny.VOCABULARY)


def test_upper_layers_replayed_from_their_input_say_what_the_full_model_says(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    full = model(IDS_BT).logits
    for layer in range(1, spec.depth):
        with inputs_of(spec.layers[layer]) as entering:
            model(IDS_BT)
        with replayed(spec, layer, lambda entering=entering: entering[0]):
            again = model(IDS_BT).logits
        torch.testing.assert_close(again, full, **CLOSE)


def test_a_replay_runs_no_lower_layer_and_needs_no_real_tokens(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    full = model(IDS_BT).logits
    with inputs_of(spec.layers[2]) as entering:
        model(IDS_BT)
    with (
        replayed(spec, 2, lambda: entering[0]),
        inputs_of(spec.ffn_projection(0)) as lowest,
        inputs_of(spec.ffn_projection(1)) as lower,
    ):
        again = model(torch.full_like(IDS_BT, 7)).logits
    assert lowest == lower == []
    torch.testing.assert_close(again, full, **CLOSE)


def test_a_replay_of_the_first_layer_replaces_the_embeddings() -> None:
    model = tiny.model()
    spec = spec_of(model)
    with inputs_of(spec.layers[0]) as entering:
        full = model(IDS_BT).logits
    with replayed(spec, 0, lambda: entering[0]):
        again = model(torch.full_like(IDS_BT, 7)).logits
    torch.testing.assert_close(again, full, **CLOSE)


def test_gradients_flow_into_what_is_replayed() -> None:
    model = tiny.model()
    hidden = torch.zeros(2, 12, tiny.HIDDEN_WIDTH, requires_grad=True)
    with replayed(spec_of(model), 1, lambda: hidden):
        model(IDS_BT).logits.sum().backward()
    assert hidden.grad is not None
    assert float(hidden.grad.abs().sum()) > 0


def test_another_attention_runs_inside_and_says_the_same(family: str) -> None:
    model = tiny.model(family)
    plain = model(IDS_BT).logits
    with attention(model, "eager"):
        assert model.config._attn_implementation == "eager"
        torch.testing.assert_close(model(IDS_BT).logits, plain, **CLOSE)


def test_what_is_added_to_the_ffn_is_added_to_the_residual_stream_as_it_is(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    r_D = torch.linspace(-1, 1, spec.hidden_width)
    keys: list[torch.Tensor] = []

    def add(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        keys.append(key)
        return value + r_D

    with outputs_of(spec.layers[1]) as before, inputs_of(spec.ffn_projection(1)) as plain:
        model(IDS_BT)
    with outputs_of(spec.layers[1]) as after, ffn_rewritten(spec, 1, add):
        model(IDS_BT)
    moved = (after[0] - before[0]).reshape(-1, spec.hidden_width)
    torch.testing.assert_close(moved, r_D.expand_as(moved), rtol=1e-4, atol=1e-4)
    assert len(keys) == 1
    assert torch.equal(keys[0], plain[0])
    assert hook_count(model) == 0
