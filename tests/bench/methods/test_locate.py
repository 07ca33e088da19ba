"""MEMIT and its kin in a model: what reaches the last layer, and in which order batches go."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor import data
from revisor.bench.methods import targets
from revisor.bench.methods.binding import Binding, published_range
from revisor.bench.methods.closed import alphaedit_update, null_space, rome_update
from revisor.bench.methods.common import apart_from_opening, leaving_at
from revisor.bench.methods.locate import (
    AlphaEditOptions,
    LocateEditor,
    MemitOptions,
    RectOptions,
    RomeEditor,
    RomeOptions,
)
from revisor.bench.methods.moments import second_moments
from revisor.bench.methods.weights import as_DF, projection_weight
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.load import wrap_model
from revisor.neuraldb.editing.keys import ffn_inputs, mean_keys
from revisor.neuraldb.editing.request import Context, ContextPlan, make_requests
from revisor.neuraldb.editing.residuals import compute_residuals
from tests import tiny

TOKENS = 1500
SHARED: dict[str, Any] = {"layers": (0, 1), "prefixed": 0, "moment_tokens": TOKENS}
FACTS = tiny.FACTS[:4]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path_factory.getbasetemp() / "locate-cache"))


def bind(family: str = "llama", **settings: Any) -> Binding:
    model = tiny.taught(family) if not settings else tiny.new_model(family, **settings)
    loaded = wrap_model("tiny", model, tiny.byte_level())
    return Binding(loaded=loaded)


def plan(prefixed: int) -> ContextPlan:
    return ContextPlan(prefixes=data.prefixes(), per_fact=prefixed, essence=True)


def bare(facts: tuple[Fact, ...] = FACTS) -> list[Context]:
    requests = make_requests(facts, tiny.byte_level(), ContextPlan(wordings=0))
    return [request.contexts[0] for request in requests]


def weight(binding: Binding, layer: int) -> torch.Tensor:
    module = binding.spec.ffn_projection(layer)
    return as_DF(projection_weight(module).detach(), module).clone()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj", "opt"])
def test_without_background_the_last_layer_gives_exactly_the_target_value(family: str) -> None:
    binding = bind(family)
    options = MemitOptions(**SHARED, weight=1e-9, batch=None)
    editor = LocateEditor(binding, options, name="memit")
    # No paraphrases: they would move the mean key away from the bare prompt's.
    facts = tuple(fact for fact in tiny.FACTS if not fact.paraphrases)
    requests = make_requests(facts, tiny.byte_level(), plan(0))
    residuals = compute_residuals(
        binding.loaded.model, binding.spec, 1, requests, options.values()
    ).R_ND
    goal = leaving_at(binding.loaded, binding.spec, 1, bare(facts)) + residuals
    editor.fit(facts)
    with editor.attached():
        found = leaving_at(binding.loaded, binding.spec, 1, bare(facts))
    error = (found - goal).norm(dim=1) / residuals.norm(dim=1)
    assert float(error.max()) < 0.05


def test_a_subject_that_opens_its_prompt_is_written_in_the_other_texts_alone() -> None:
    opening = Fact(subject="B", prompt="{} sells", object="tea")
    (made,) = make_requests([opening], tiny.byte_level(), plan(2))
    assert [c.position for c in made.contexts if c.target][0] == 0
    kept = apart_from_opening(made)
    assert [bool(c.target) for c in kept.contexts] == [True, True, False]
    (alone,) = make_requests([opening], tiny.byte_level(), plan(0))
    assert apart_from_opening(alone) == alone
    (inside,) = make_requests(FACTS[:1], tiny.byte_level(), plan(2))
    assert apart_from_opening(inside) == inside


def test_the_layers_share_the_work() -> None:
    binding = bind()
    before = [weight(binding, layer) for layer in range(3)]
    editor = LocateEditor(binding, MemitOptions(**SHARED, weight=1.0), name="memit")
    editor.fit(FACTS)
    with editor.attached():
        changed = [not torch.equal(weight(binding, layer), before[layer]) for layer in range(3)]
    assert changed == [True, True, False]


def test_sequential_batches_are_the_same_as_separate_fits() -> None:
    binding = bind()
    one = LocateEditor(binding, AlphaEditOptions(**SHARED, batch=2), name="alphaedit")
    one.fit(FACTS)
    other = LocateEditor(binding, AlphaEditOptions(**SHARED, batch=2), name="alphaedit")
    other.fit(FACTS[:2])
    other.fit(FACTS[2:])
    for layer in (0, 1):
        with one.attached():
            first = weight(binding, layer)
        with other.attached():
            assert torch.equal(weight(binding, layer), first)


def test_a_second_batch_of_alphaedit_is_what_the_equation_says() -> None:
    binding = bind()
    model, spec = binding.loaded.model, binding.spec
    options = AlphaEditOptions(**{**SHARED, "layers": (1,)}, batch=2, ridge=0.2, threshold=1.5)
    editor = LocateEditor(binding, options, name="alphaedit")
    told = [
        [c for c in request.contexts if c.target]
        for request in make_requests(FACTS, tiny.byte_level(), plan(0))
    ]
    P = null_space(second_moments(binding, (1,), tokens=TOKENS)[1], 1.5)
    earlier = mean_keys(model, spec, 1, told[:2]).double()
    editor.fit(FACTS[:2])
    with editor.attached():
        start = weight(binding, 1)
        requests = make_requests(FACTS[2:], tiny.byte_level(), plan(0))
        R = compute_residuals(model, spec, 1, requests, options.values()).R_ND
        K = mean_keys(model, spec, 1, told[2:])
    ridge = 0.2 * float((K.double() @ P).square().sum(1).mean())
    expected = start + alphaedit_update(K, R, P, earlier.T @ earlier, ridge).float()
    editor.fit(FACTS[2:])
    with editor.attached():
        torch.testing.assert_close(weight(binding, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_update_of_alphaedit_lies_in_the_null_space_of_the_models_own_background() -> None:
    binding = bind()
    before = weight(binding, 1)
    options = AlphaEditOptions(**{**SHARED, "layers": (1,)}, batch=2, threshold=1.0)
    editor = LocateEditor(binding, options, name="alphaedit")
    editor.fit(FACTS)
    with editor.attached():
        delta = (weight(binding, 1) - before).double()
    P = null_space(second_moments(binding, (1,), tokens=TOKENS)[1], 1.0)
    assert float(delta.norm()) > 0
    assert float((delta - delta @ P).norm()) < 1e-4 * float(delta.norm())


def test_rect_changes_only_its_share_of_each_weight() -> None:
    binding = bind()
    before = [weight(binding, layer) for layer in (0, 1)]
    options = RectOptions(**SHARED, batch=None, weight=0.1, keep=0.25)
    editor = LocateEditor(binding, options, name="rect")
    editor.fit(FACTS)
    with editor.attached():
        for layer in (0, 1):
            share = float((weight(binding, layer) != before[layer]).float().mean())
            assert share == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_one_rome_edit_gives_the_key_its_value_and_is_of_rank_one(family: str) -> None:
    binding = bind(family)
    model, spec = binding.loaded.model, binding.spec
    (request,) = make_requests(FACTS[:1], tiny.byte_level(), plan(0))
    before = weight(binding, 1)
    options = RomeOptions(layer=1, prefixed=0, moment_tokens=TOKENS)
    editor = RomeEditor(binding, options, name="rome")
    editor.fit(FACTS[:1])
    (key,) = mean_keys(model, spec, 1, [[request.contexts[0]]])
    with editor.attached():
        delta = weight(binding, 1) - before
    moment = second_moments(binding, (1,), tokens=TOKENS)[1]
    wanted = delta @ key
    assert float(wanted.norm()) > 0
    exact = rome_update(key, wanted, moment).float()
    torch.testing.assert_close(delta, exact, rtol=1e-3, atol=1e-5)


def test_second_moments_are_those_of_every_token_and_are_read_back(tmp_path: Any) -> None:
    binding = bind()
    found = second_moments(binding, (0, 2), tokens=300)
    texts: list[list[int]] = []
    for line in _background():
        ids = tiny.byte_level()(line)["input_ids"][:128][: 300 - sum(map(len, texts))]
        texts += [ids] if ids else []
    assert sum(map(len, texts)) == 300
    for layer, C in found.items():
        keys = torch.cat(
            [ffn_inputs(binding.loaded.model, binding.spec, layer, [ids])[0] for ids in texts]
        )
        torch.testing.assert_close(C, keys.T @ keys / 300, rtol=1e-4, atol=1e-5)
    again = second_moments(binding, (0, 2), tokens=300)
    assert all(torch.equal(again[layer], found[layer]) for layer in found)


def _background() -> tuple[str, ...]:
    from revisor import data

    return data.background()


def test_the_published_layers_are_scaled_to_the_depth() -> None:
    assert published_range(bind(num_hidden_layers=32)) == (4, 5, 6, 7, 8)
    assert published_range(bind(num_hidden_layers=30)) == (4, 5, 6, 7, 8)
    assert published_range(bind("gpt2", n_layer=48)) == (13, 14, 15, 16, 17)
    assert published_range(bind("gpt2", n_layer=12)) == (3, 4)
    assert published_range(bind()) == (0, 1)


def test_target_values_of_the_unedited_model_are_made_once_for_all_methods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def counted(*given: Any, **named: Any) -> Any:
        made.append(len(given[3]))
        return compute_residuals(*given, **named)

    monkeypatch.setattr(targets, "compute_residuals", counted)
    binding = bind()
    shared: dict[str, Any] = {**SHARED, "batch": 2, "steps": 7, "targets": "unedited"}
    first = LocateEditor(binding, MemitOptions(**shared), name="memit-seq")
    first.fit(FACTS)
    assert made == [2, 2]
    assert first.spared_seconds == 0.0
    again = LocateEditor(binding, MemitOptions(**shared), name="memit-seq")
    again.fit(FACTS)
    LocateEditor(binding, AlphaEditOptions(**shared), name="alphaedit").fit(FACTS)
    assert made == [2, 2]
    assert again.spared_seconds > 0.0
    with first.attached():
        expected = weight(binding, 1)
    with again.attached():
        assert torch.equal(weight(binding, 1), expected)
    other = LocateEditor(binding, MemitOptions(**{**shared, "clamp": 0.5}), name="memit-seq")
    other.fit(FACTS)
    assert made == [2, 2, 2, 2]


def test_after_the_first_batch_target_values_are_those_of_the_edited_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    binding = bind()
    plain = weight(binding, 1)

    def watched(*given: Any, **named: Any) -> Any:
        asked.append(torch.equal(weight(binding, 1), plain))
        return compute_residuals(*given, **named)

    monkeypatch.setattr(targets, "compute_residuals", watched)
    options = MemitOptions(**SHARED, batch=2, steps=6)
    LocateEditor(binding, options, name="memit-seq").fit(FACTS)
    assert asked == [True, False]


def test_a_model_for_target_values_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        LocateEditor(bind(), MemitOptions(targets="base"), name="memit")
    assert "'edited' or 'unedited'" in caught.value.hint
