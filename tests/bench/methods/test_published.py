from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from revisor.bench.methods.published import published_plan, published_residual
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.models.hooks import hook_count, outputs_of, rewritten
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.editing.request import Context, Request

LAYER = 0
WIDTH = 128
FACT = Fact(subject="Ada", prompt="{} lives in", object="Rome")


def context(ids: list[int], position: int, target: list[int]) -> Context:
    return Context(ids=tuple(ids), position=position, target=tuple(target))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Random weights; attention is made strong, or the subject would not reach the last token."""
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        initializer_range=0.15,
    )
    model = LlamaForCausalLM(config)
    model.eval().requires_grad_(False)
    for layer in model.model.layers[1:]:
        layer.self_attn.o_proj.weight.mul_(10)
    return cast(nn.Module, model)


@pytest.fixture(scope="module")
def asked(model: nn.Module) -> Request:
    """Token 40 shall follow, then what the model says after it anyway; (5, 6) is the subject."""
    then = int(model(torch.tensor([[5, 6, 7, 8, 40]])).logits[0, -1].argmax())
    return Request(
        fact=FACT,
        contexts=(
            context([5, 6, 7, 8], 1, [40, then]),
            context([11, 12, 13, 5, 6, 7, 8], 4, [40, then]),
            context([14, 15, 5, 6, 7, 8], 3, [40]),
            context([5, 6, 9, 10], 1, []),
        ),
    )


@pytest.fixture(scope="module")
def spec(model: nn.Module) -> Spec:
    return spec_of(model)


def alone(
    model: nn.Module, spec: Spec, one: Context, r_D: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One context, unpadded, on its own: its logits (T, V) and the layer's output (D)."""

    def add(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        mark = F.one_hot(torch.tensor(one.position), value.shape[1]).to(value.dtype)
        return value + mark[None, :, None] * r_D

    ids = torch.tensor([one.ids + one.target[:-1]])
    with rewritten(spec.ffn_projection(LAYER), add), outputs_of(spec.layers[LAYER]) as leaving:
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits, leaving[0][0, one.position]


def nll(model: nn.Module, spec: Spec, one: Context, r_D: torch.Tensor) -> torch.Tensor:
    logits = alone(model, spec, one, r_D)[0][len(one.ids) - 1 :]
    return F.cross_entropy(logits, torch.tensor(one.target))


def height(model: nn.Module, spec: Spec, asked: Request) -> float:
    return float(alone(model, spec, asked.contexts[0], torch.zeros(WIDTH))[1].norm())


def test_the_target_is_greedy_afterwards_in_every_context(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    result = published_residual(model, spec, LAYER, asked)
    assert result.greedy
    assert result.seconds > 0
    for one in asked.contexts[:3]:
        said = alone(model, spec, one, result.r_D)[0][len(one.ids) - 1 :].argmax(-1)
        assert said.tolist() == list(one.target)


def test_the_reported_loss_is_what_a_plain_forward_of_each_context_gives(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    for steps in (1, 4, 25):
        result = published_residual(model, spec, LAYER, asked, steps=steps)
        worst = max(float(nll(model, spec, one, result.r_D)) for one in asked.contexts[:3])
        assert result.nll == pytest.approx(worst, rel=1e-4)


def test_the_residual_is_the_one_that_the_equation_gives_without_batch_or_padding(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    steps, rate, clamp, kl_weight, decay = 8, 0.1, 0.5, 0.5, 0.5
    *texts, essence = asked.contexts
    h = height(model, spec, asked)
    base_V = alone(model, spec, essence, torch.zeros(WIDTH))[0][-1].softmax(-1)
    r_D = torch.zeros(WIDTH, requires_grad=True)
    adam = torch.optim.Adam([r_D], lr=rate)
    for _ in range(steps - 1):
        now_V = alone(model, spec, essence, r_D)[0][-1].softmax(-1)
        loss = torch.stack([nll(model, spec, one, r_D) for one in texts]).mean()
        loss = loss + kl_weight * (now_V * (now_V.log() - base_V.log())).sum()
        loss = loss + decay * r_D.norm() / h**2
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            r_D *= min(1.0, clamp * h / float(r_D.norm()))
    result = published_residual(
        model, spec, LAYER, asked,
        steps=steps, rate=rate, clamp=clamp, kl_weight=kl_weight, decay=decay,
    )  # fmt: skip
    torch.testing.assert_close(result.r_D, r_D.detach(), rtol=1e-3, atol=1e-4)


def test_the_residual_stays_within_the_clamp_and_does_its_best_there(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    limit = 0.1 * height(model, spec, asked)
    tight = published_residual(model, spec, LAYER, asked, clamp=0.1)
    assert float(tight.r_D.norm()) == pytest.approx(limit, rel=1e-4)

    def mean(r_D: torch.Tensor) -> float:
        return float(torch.stack([nll(model, spec, one, r_D) for one in asked.contexts[:3]]).mean())

    best = mean(tight.r_D)
    assert best < mean(torch.zeros(WIDTH))
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        other_D = torch.randn(WIDTH, generator=generator)
        assert best < mean(other_D * limit / other_D.norm())


def test_it_stops_early_only_below_the_published_loss(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        published_residual(model, spec, LAYER, asked, rate=1e-4, steps=5)
        assert len(calls) == 5
        calls.clear()
        done = published_residual(
            model, spec, LAYER, asked, steps=200, kl_weight=0.0, decay=0.0, clamp=50.0
        )
        assert len(calls) < 200
        assert done.nll < 3 * 5e-2  # the mean of three contexts is below the limit
    finally:
        handle.remove()


def test_the_model_is_unchanged_afterwards(model: nn.Module, spec: Spec, asked: Request) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    logits, hooks = model(input_ids=ids).logits, hook_count(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    published_residual(model, spec, LAYER, asked, steps=3)
    assert hook_count(model) == hooks
    assert torch.equal(model(input_ids=ids).logits, logits)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_plan_is_the_bare_prompt_five_prefixes_and_the_kl_prompt() -> None:
    plan = published_plan([f"Sentence {number}." for number in range(9)])
    assert (plan.per_fact, plan.wordings, plan.essence) == (5, 0, True)


def test_a_request_without_the_kl_prompt_is_refused(
    model: nn.Module, spec: Spec, asked: Request
) -> None:
    request = Request(fact=FACT, contexts=asked.contexts[:3])
    with pytest.raises(UsageError, match="KL prompt"):
        published_residual(model, spec, LAYER, request)
