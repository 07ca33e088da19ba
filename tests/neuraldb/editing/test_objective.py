"""Losses and their gradient in closed form, against what autograd finds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from revisor.neuraldb.editing import objective as module
from revisor.neuraldb.editing.objective import Objective, Wanted, objective

VOCABULARY = 23


def drawn(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, Wanted]:
    """Logits at four positions with a target and two that shall stay."""
    draw = torch.Generator().manual_seed(0)
    logits_NV = 3 * torch.randn(6, VOCABULARY, generator=draw)
    wanted = Wanted(
        id_M=torch.tensor([0, 5, 22, 5]),
        weight_M=torch.tensor([0.5, 0.5, 1.0, 0.25]),
        stay_EV=torch.randn(2, VOCABULARY, generator=draw).log_softmax(-1),
        stay_weight=0.0625,
    )
    return logits_NV.to(dtype), wanted


def by_autograd(logits_NV: torch.Tensor, wanted: Wanted) -> Objective:
    logits_NV = logits_NV.double().requires_grad_(True)
    said_MV, stays_EV = torch.split(logits_NV, [4, 2])
    nll_M = F.cross_entropy(said_MV, wanted.id_M, reduction="none")
    assert wanted.stay_EV is not None
    stay = F.kl_div(
        stays_EV.log_softmax(-1), wanted.stay_EV.double(), log_target=True, reduction="sum"
    )
    loss = (nll_M * wanted.weight_M).sum() + wanted.stay_weight * stay
    (pull_NV,) = torch.autograd.grad(loss, logits_NV)
    return Objective(
        nll_M=nll_M.detach().float(),
        top_M=said_MV.argmax(-1) == wanted.id_M,
        pull_NV=pull_NV.float(),
    )


@pytest.mark.parametrize("at_once", [1, 2 * VOCABULARY, 1 << 20])
def test_losses_and_gradient_are_those_of_autograd(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "NEAR", at_once)
    logits_NV, wanted = drawn()
    before = logits_NV.clone()
    found, right = objective(logits_NV, wanted), by_autograd(logits_NV, wanted)
    torch.testing.assert_close(found.nll_M, right.nll_M)
    torch.testing.assert_close(found.pull_NV, right.pull_NV, atol=1e-6, rtol=1e-5)
    assert torch.equal(found.top_M, right.top_M)
    assert torch.equal(logits_NV, before)


def test_the_gradient_comes_in_the_dtype_of_the_logits() -> None:
    logits_NV, wanted = drawn(torch.bfloat16)
    found, right = objective(logits_NV, wanted), by_autograd(logits_NV, wanted)
    assert found.pull_NV.dtype == torch.bfloat16
    assert found.nll_M.dtype == torch.float32
    torch.testing.assert_close(found.nll_M, right.nll_M)
    torch.testing.assert_close(found.pull_NV.float(), right.pull_NV, atol=2e-3, rtol=1e-2)


def test_a_token_that_is_as_probable_as_another_is_not_on_top() -> None:
    logits_NV = torch.zeros(2, VOCABULARY)
    logits_NV[0, [3, 7]] = 2.0
    logits_NV[1, 3] = 2.0
    wanted = Wanted(
        id_M=torch.tensor([3, 3]),
        weight_M=torch.ones(2),
        stay_EV=None,
        stay_weight=1.0,
    )
    assert objective(logits_NV, wanted).top_M.tolist() == [False, True]
