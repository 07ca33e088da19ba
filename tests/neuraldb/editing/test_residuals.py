"""Residuals that make a model say an object, held against plain forward passes."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.models.hooks import ffn_rewritten, hook_count, outputs_of
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.editing.request import Context, ContextPlan, Request
from revisor.neuraldb.editing.residuals import Residuals, ValueSettings, compute_residuals
from tests import tiny

LAYER = 1
PREFIXES = ("The tower stands.", "Where is it?", "A river flows through Bonn.")
PLAIN = ContextPlan()
RICH = ContextPlan(prefixes=PREFIXES, per_fact=2)  # every kind of context with a target
PLANS = [PLAIN, RICH, replace(RICH, essence=True)]
STEADY = ValueSettings(rate=0.5)  # whatever the defaults become
BRIEF = replace(STEADY, steps=4)
TAUGHT = ("llama", "gpt2", "gemma2")


def plain_logits(
    model: Any, spec: Spec, context: Context, residual_D: torch.Tensor, layer: int = LAYER
) -> torch.Tensor:
    """(T, V) of one full forward over prompt and target, the residual added at the subject."""

    def add(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        pushed = value.clone()
        pushed.reshape(-1, spec.hidden_width)[context.position] += residual_D.to(value.dtype)
        return pushed

    ids = torch.tensor([context.ids + context.target[:-1]])
    with ffn_rewritten(spec, layer, add):
        return model(ids, attention_mask=torch.ones_like(ids)).logits[0].float()


def plain_outcome(
    model: Any, spec: Spec, request: Request, residual_D: torch.Tensor, layer: int = LAYER
) -> tuple[float, bool]:
    """The worst context's mean NLL a target token, and whether all targets are greedy."""
    losses, hits = [], []
    for context in request.contexts:
        if context.target:
            logits = plain_logits(model, spec, context, residual_D, layer)
            logits = logits[len(context.ids) - 1 :].log_softmax(-1)
            target = torch.tensor(context.target)
            losses.append(-logits.gather(1, target[:, None]).mean().item())
            hits.append(bool((logits.argmax(-1) == target).all()))
    return max(losses), all(hits)


@functools.cache
def learned(family: str, plan_name: str = "plain") -> Residuals:
    """Residuals of the facts in a taught model, computed once."""
    model = tiny.taught(family)
    plan = {"plain": PLAIN, "prefixed": RICH}[plan_name]
    return compute_residuals(model, spec_of(model), LAYER, tiny.requests(plan), STEADY)


def parts(result: Residuals) -> list[torch.Tensor]:
    return [result.R_ND, result.nll_N, result.greedy_N, result.steps_N]


@pytest.mark.parametrize(
    ("layer", "plan"),
    [pytest.param(0, PLAIN, id="first"), pytest.param(tiny.DEPTH - 1, RICH, id="last")],
)
def test_a_plain_forward_with_the_residual_gives_the_nll_reported(
    family: str, layer: int, plan: ContextPlan
) -> None:
    model = tiny.model(family)
    spec, requests = spec_of(model), tiny.requests(plan)
    settings = replace(STEADY, steps=8, rate=0.1)
    result = compute_residuals(model, spec, layer, requests, settings)
    gains = []
    for index, request in enumerate(requests):
        nll, greedy = plain_outcome(model, spec, request, result.R_ND[index], layer)
        assert nll == pytest.approx(float(result.nll_N[index]), abs=1e-3)
        assert greedy == bool(result.greedy_N[index])
        nothing = torch.zeros(spec.hidden_width)
        gains.append(plain_outcome(model, spec, request, nothing, layer)[0] - nll)
    assert min(gains) > -1e-3
    if plan is PLAIN:  # one residual for all of the rich contexts is much to ask of random weights
        assert max(gains) > 0.3


@pytest.mark.parametrize("family", TAUGHT)
@pytest.mark.parametrize("plan", ["plain", "prefixed"])
def test_the_target_becomes_what_the_model_says_most_probably(family: str, plan: str) -> None:
    model = tiny.taught(family)
    spec, result = spec_of(model), learned(family, plan)
    requests = tiny.requests(PLAIN if plan == "plain" else RICH)
    nothing, gained = torch.zeros(spec.hidden_width), 0
    for index, request in enumerate(requests):
        nll, greedy = plain_outcome(model, spec, request, result.R_ND[index])
        gained += greedy and not plain_outcome(model, spec, request, nothing)[1]
        assert nll == pytest.approx(float(result.nll_N[index]), abs=1e-3)
        assert greedy == bool(result.greedy_N[index])
    assert gained >= 2  # of six; a model as small cannot be made to say everything


@pytest.mark.parametrize("family", TAUGHT)
@pytest.mark.parametrize("plan", PLANS, ids=["plain", "rich", "essence"])
def test_a_batch_gives_what_one_by_one_gives(family: str, plan: ContextPlan) -> None:
    """Within 1 % of |r|: Adam divides by the gradient's size and so enlarges its rounding."""
    model = tiny.taught(family)
    spec, requests = spec_of(model), tiny.requests(plan)
    together = compute_residuals(model, spec, LAYER, requests, BRIEF)
    for index, request in enumerate(requests):
        alone = compute_residuals(model, spec, LAYER, [request], BRIEF)
        difference = (together.R_ND[index] - alone.R_ND[0]).norm()
        assert float(difference) <= 0.01 * float(alone.R_ND[0].norm())
        assert float(together.nll_N[index]) == pytest.approx(float(alone.nll_N[0]), abs=1e-2)


def test_small_batches_give_what_one_large_gives() -> None:
    model = tiny.taught()
    spec, requests = spec_of(model), tiny.requests(RICH)
    large = compute_residuals(model, spec, LAYER, requests, replace(BRIEF, batch_tokens=10**6))
    small = compute_residuals(model, spec, LAYER, requests, replace(BRIEF, batch_tokens=1))
    torch.testing.assert_close(small.nll_N, large.nll_N, atol=1e-2, rtol=0)


def test_the_order_of_the_requests_does_not_matter() -> None:
    model = tiny.taught()
    spec, requests = spec_of(model), tiny.requests(RICH)
    forth = compute_residuals(model, spec, LAYER, requests, BRIEF)
    back = compute_residuals(model, spec, LAYER, requests[::-1], BRIEF)
    assert all(torch.equal(a, b.flip(0)) for a, b in zip(parts(forth), parts(back), strict=True))


@pytest.mark.parametrize("family", TAUGHT)
def test_the_same_call_twice_gives_the_same_bits(family: str) -> None:
    model = tiny.taught(family)
    again = compute_residuals(model, spec_of(model), LAYER, tiny.requests(PLAIN), STEADY)
    assert all(map(torch.equal, parts(again), parts(learned(family))))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_it_was_also_after_a_failure(family: str, fails: bool) -> None:
    model = tiny.new_model(family)
    before = copy.deepcopy(model.state_dict())
    attention, ids = model.config._attn_implementation, torch.arange(20, 32)[None]
    logits = model(ids).logits

    def on_done(_count: int) -> None:
        if fails:
            raise ZeroDivisionError

    try:
        compute_residuals(model, spec_of(model), LAYER, tiny.requests(RICH), BRIEF, on_done=on_done)
    except ZeroDivisionError:
        assert fails
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert hook_count(model) == tiny.wide_hooks(model) == 0
    assert model.config._attn_implementation == attention
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(model(ids).logits, logits)


@pytest.mark.parametrize("clamp", [0.25, 3.0])
def test_a_residual_is_at_most_so_many_times_the_layers_output(family: str, clamp: float) -> None:
    model = tiny.model(family)
    spec, requests = spec_of(model), tiny.requests(PLAIN)
    settings = replace(STEADY, steps=8, clamp=clamp)
    result = compute_residuals(model, spec, LAYER, requests, settings)
    shares = []
    for request, residual_D in zip(requests, result.R_ND, strict=True):
        norms = []
        for context in request.contexts:
            with outputs_of(spec.layers[LAYER]) as leaving:
                model(torch.tensor([context.ids]))
            norms.append(leaving[0][0, context.position].norm())
        shares.append(float(residual_D.norm() / torch.stack(norms).mean()))
    assert max(shares) <= clamp * (1 + 1e-3)
    if clamp < 1:
        assert max(shares) == pytest.approx(clamp, rel=1e-3)


def test_without_steps_the_residual_is_zero_and_the_nll_the_unedited_models() -> None:
    model = tiny.taught()
    spec, requests = spec_of(model), tiny.requests(RICH)
    result = compute_residuals(model, spec, LAYER, requests, replace(STEADY, steps=0))
    assert not result.R_ND.any()
    assert not result.steps_N.any()
    nothing = torch.zeros(spec.hidden_width)
    for index, request in enumerate(requests):
        nll, _ = plain_outcome(model, spec, request, nothing)
        assert nll == pytest.approx(float(result.nll_N[index]), abs=1e-3)


def test_what_cannot_be_reached_is_reported_with_a_finite_nll() -> None:
    model = tiny.model()
    settings = replace(STEADY, steps=1)
    result = compute_residuals(model, spec_of(model), LAYER, tiny.requests(RICH), settings)
    assert not result.greedy_N.any()
    assert bool(result.nll_N.isfinite().all())
    assert bool(result.R_ND.isfinite().all())
    assert result.steps_N.tolist() == [1] * len(tiny.FACTS)


def test_facts_that_converge_stop_early() -> None:
    result, settings = learned("gpt2"), STEADY
    converged = result.greedy_N & (result.nll_N <= settings.stop_nll)
    early = result.steps_N < settings.steps
    assert int(early.sum()) >= 2
    assert bool(converged[early].all())


def known(fillers_before: int, fillers_behind: int, *, essence: bool = False) -> Request:
    """Of an object that a taught model says already, because its mark stands in the text."""
    ids = (*range(100, 100 + fillers_before), 3, *range(200, 200 + fillers_behind))
    said = tuple(tiny.byte_level()(f" {tiny.OBJECTS[0]}")["input_ids"])
    contexts = [Context(ids=ids, position=fillers_before, target=said)]
    if essence:
        contexts.append(replace(contexts[0], target=()))
    return Request(fact=tiny.FACTS[0], contexts=tuple(contexts))


def test_a_fact_that_the_model_says_already_costs_no_step() -> None:
    model = tiny.taught()
    requests = [*tiny.requests(PLAIN), known(1, 1)]
    settings = replace(STEADY, stop_nll=0.3)
    result = compute_residuals(model, spec_of(model), LAYER, requests, settings)
    assert (bool(result.greedy_N[-1]), int(result.steps_N[-1])) == (True, 0)
    assert not result.R_ND[-1].any()
    assert float(result.nll_N[-1]) <= settings.stop_nll


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("plan", PLANS, ids=["plain", "rich", "essence"])
def test_facts_that_leave_a_batch_do_not_change_those_that_stay(
    family: str, plan: ContextPlan
) -> None:
    model = tiny.taught(family)
    spec, requests = spec_of(model), tiny.requests(plan)
    done = [known(1, 0), known(3, 4, essence=True), known(2, 10), known(12, 9, essence=True)]
    settings = replace(BRIEF, batch_tokens=10**6, stop_nll=0.3)
    mixed = compute_residuals(model, spec, LAYER, [*done[:2], *requests, *done[2:]], settings)
    kept = [*range(2, 2 + len(requests))]
    left = [0, 1, 2 + len(requests), 3 + len(requests)]
    assert mixed.steps_N[left].tolist() == [0, 0, 0, 0]
    assert int(mixed.steps_N[kept].max()) >= 2
    for index, request in zip(kept, requests, strict=True):
        alone = compute_residuals(model, spec, LAYER, [request], settings)
        assert int(alone.steps_N[0]) == int(mixed.steps_N[index])
        difference = (mixed.R_ND[index] - alone.R_ND[0]).norm()
        assert float(difference) <= 0.01 * float(alone.R_ND[0].norm())
        assert float(alone.nll_N[0]) == pytest.approx(float(mixed.nll_N[index]), abs=1e-2)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10**6])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_fact_is_counted_once(family: str, batch_tokens: int) -> None:
    model = tiny.taught(family)
    counts: list[int] = []
    settings = replace(STEADY, steps=6, batch_tokens=batch_tokens)
    compute_residuals(
        model, spec_of(model), LAYER, tiny.requests(PLAIN), settings, on_done=counts.append
    )
    assert sum(counts) == len(tiny.FACTS)
    assert min(counts) >= 0


def test_no_requests_give_no_residuals() -> None:
    model = tiny.model()
    result = compute_residuals(model, spec_of(model), LAYER, [])
    assert [len(part) for part in parts(result)] == [0, 0, 0, 0]


@pytest.mark.parametrize("family", TAUGHT)
@pytest.mark.parametrize("essence", [False, True])
def test_a_prompt_that_begins_with_its_subject_has_no_prefix_to_reuse(
    family: str, essence: bool
) -> None:
    model = tiny.taught(family)
    spec = spec_of(model)
    (request,) = (r for r in tiny.requests(ContextPlan(essence=essence))[-1:])
    assert {context.position for context in request.contexts} == {0}
    result = compute_residuals(model, spec, LAYER, [request], STEADY)
    nll, greedy = plain_outcome(model, spec, request, result.R_ND[0])
    assert nll == pytest.approx(float(result.nll_N[0]), abs=1e-3)
    assert greedy == bool(result.greedy_N[0])
    assert nll < plain_outcome(model, spec, request, torch.zeros(spec.hidden_width))[0]


def essence_drift(model: Any, spec: Spec, request: Request, residual_D: torch.Tensor) -> float:
    """KL(base || edited) of the next token after "{subject} is a", by plain forwards."""
    (context,) = (c for c in request.contexts if not c.target)
    base = plain_logits(model, spec, context, torch.zeros_like(residual_D))[-1].softmax(-1)
    edited = plain_logits(model, spec, context, residual_D)[-1].log_softmax(-1)
    return float((base * (base.log() - edited)).sum())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_kl_term_keeps_what_the_subject_is(family: str) -> None:
    model = tiny.taught(family)
    spec = spec_of(model)
    requests = tiny.requests(ContextPlan(essence=True))
    drift = {}
    for weight in (0.0, 100.0):
        settings = replace(STEADY, steps=12, stop_nll=0.0, kl_weight=weight)
        result = compute_residuals(model, spec, LAYER, requests, settings)
        drift[weight] = sum(
            essence_drift(model, spec, request, residual_D)
            for request, residual_D in zip(requests, result.R_ND, strict=True)
        )
    assert drift[100.0] < 0.8 * drift[0.0]


@pytest.mark.parametrize("family", TAUGHT)
def test_the_essence_is_no_target(family: str) -> None:
    model = tiny.taught(family)
    spec, requests = spec_of(model), tiny.requests(replace(RICH, essence=True))
    result = compute_residuals(model, spec, LAYER, requests, BRIEF)
    for index, request in enumerate(requests):
        nll, greedy = plain_outcome(model, spec, request, result.R_ND[index])
        assert nll == pytest.approx(float(result.nll_N[index]), abs=1e-3)
        assert greedy == bool(result.greedy_N[index])


def test_a_bf16_model_gives_fp32_residuals() -> None:
    model = copy.deepcopy(tiny.taught()).bfloat16()
    spec, requests = spec_of(model), tiny.requests(PLAIN)
    result = compute_residuals(model, spec, LAYER, requests, STEADY)
    assert result.R_ND.dtype == result.nll_N.dtype == torch.float32
    assert bool(result.greedy_N.any())
    for index, request in enumerate(requests):
        nll, _ = plain_outcome(model, spec, request, result.R_ND[index])
        assert nll == pytest.approx(float(result.nll_N[index]), abs=0.1, rel=0.1)
