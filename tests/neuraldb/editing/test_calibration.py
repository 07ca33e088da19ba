"""Thresholds from cosines alone."""

from __future__ import annotations

import pytest
import torch

from revisor.neuraldb.gate.calibrate import (
    balanced_accuracy,
    floor_gamma,
    recalling_gamma,
    separating_gamma,
)


def test_two_samples_are_separated_in_the_middle() -> None:
    same, other = torch.tensor([0.80, 0.90, 0.85]), torch.tensor([0.40, 0.50, 0.45])
    gamma = separating_gamma(same, other)
    assert gamma == pytest.approx(0.65, abs=0.01)
    assert balanced_accuracy(same, other, gamma) == 1.0
    assert floor_gamma(same, other, false_share=0.1) == gamma


def test_the_floor_keeps_prompts_about_similar_subjects_quiet() -> None:
    generator = torch.Generator().manual_seed(0)
    same = 0.7 + 0.1 * torch.randn(500, generator=generator)
    other = 0.6 + 0.1 * torch.randn(500, generator=generator)
    shares = (0.01, 0.05, 0.1, 0.5)
    gammas = [floor_gamma(same, other, false_share=share) for share in shares]
    assert gammas == sorted(gammas, reverse=True)
    assert gammas[-1] == separating_gamma(same, other)
    for share, gamma in zip(shares, gammas, strict=True):
        assert (other > gamma).float().mean() <= share + 1 / 500


def test_balanced_accuracy_counts_both_kinds_equally() -> None:
    same, other = torch.tensor([0.9, 0.1]), torch.tensor([0.2] * 100)
    assert balanced_accuracy(same, other, 0.5) == pytest.approx(0.75)


def test_the_recalling_gamma_leaves_the_given_share_below() -> None:
    same = torch.arange(1000) / 1000
    gamma = recalling_gamma(same, missed=0.02)
    assert (same <= gamma).float().mean() == pytest.approx(0.02, abs=0.002)
    assert recalling_gamma(torch.full((5,), 0.7), missed=0.5) == pytest.approx(0.7)
