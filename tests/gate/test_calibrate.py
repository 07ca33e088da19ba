"""Thresholds from cosines alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from revisor.gate.calibrate import (
    CEILING,
    MARGIN,
    balanced_accuracy,
    entry_gammas,
    floor_gamma,
    gamma_for_rate,
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


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200),
    st.floats(0, 1e6, allow_nan=False),
)
def test_no_more_tokens_fire_than_the_dial_allows(cosines: list[float], dial: float) -> None:
    cosine_T = torch.tensor(cosines)
    gamma = gamma_for_rate(cosine_T, dial)
    assert int((cosine_T > gamma).sum()) <= len(cosines) * dial / 1e6


def test_the_dial_is_used_up() -> None:
    cosine_T = torch.arange(1000) / 1000
    for dial, fires in ((0, 0), (1_000, 1), (50_000, 50)):
        gamma = gamma_for_rate(cosine_T, dial)
        assert int((cosine_T > gamma).sum()) == fires


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20),
    st.floats(-1, 1, width=32),
)
def test_an_entry_lies_above_its_background_and_never_below_the_floor(
    nearest: list[float], floor: float
) -> None:
    nearest_M = torch.tensor(nearest)
    gamma_M = entry_gammas(nearest_M, floor)
    assert (gamma_M >= floor).all()
    assert (gamma_M <= max(CEILING, floor)).all()
    reachable = nearest_M < CEILING
    assert (gamma_M[reachable] >= nearest_M[reachable]).all()
    assert (gamma_M <= (nearest_M + MARGIN).clamp(min=floor) + 1e-6).all()


def test_an_entry_that_nothing_comes_close_to_keeps_the_floor() -> None:
    gamma_M = entry_gammas(torch.tensor([0.1, 0.7, 0.98]), 0.6)
    torch.testing.assert_close(gamma_M, torch.tensor([0.6, 0.73, 0.99]))
