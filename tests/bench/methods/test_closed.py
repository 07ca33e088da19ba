"""Each closed form against what it says it minimises, solved densely by other means."""

from __future__ import annotations

import pytest
import torch

from revisor.bench.methods.closed import (
    alphaedit_update,
    keep_largest,
    memit_update,
    null_space,
    ridge_update,
    rome_update,
)

N, F, D, BACKGROUND = 5, 24, 7, 200
EXACT = {"rtol": 1e-6, "atol": 1e-9}


def draw(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def keys() -> torch.Tensor:
    return draw(N, F, seed=1)


@pytest.fixture
def residuals() -> torch.Tensor:
    return draw(N, D, seed=2)


@pytest.fixture
def background() -> torch.Tensor:
    """Keys of background tokens, most of them in a few directions."""
    scale = torch.logspace(0, -4, F, dtype=torch.float64)
    return draw(BACKGROUND, F, seed=3) * scale @ torch.linalg.qr(draw(F, F, seed=4))[0]


def moment(background: torch.Tensor) -> torch.Tensor:
    return background.T @ background / len(background)


def least_squares(rows: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Δ (D, F) with Δ row = wanted as nearly as can be."""
    return torch.linalg.lstsq(rows, wanted, driver="gelsd").solution.T


def test_memit_is_the_least_squares_fit_of_facts_and_weighted_background(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    weight = 3.0
    rows = torch.cat([keys, (weight / BACKGROUND) ** 0.5 * background])
    wanted = torch.cat([residuals, torch.zeros(BACKGROUND, D, dtype=torch.float64)])
    delta = memit_update(keys, residuals, moment(background), weight)
    torch.testing.assert_close(delta, least_squares(rows, wanted), **EXACT)


def test_memit_with_hardly_any_weight_writes_every_fact_exactly(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    delta = memit_update(keys, residuals, moment(background), 1e-6)
    torch.testing.assert_close(keys @ delta.T, residuals, rtol=1e-3, atol=1e-3)


def test_memit_solves_where_too_few_tokens_leave_the_moment_singular(
    keys: torch.Tensor, residuals: torch.Tensor
) -> None:
    few = draw(3, F, seed=5)
    delta = memit_update(keys, residuals, moment(few), 1e-6)
    torch.testing.assert_close(keys @ delta.T, residuals, rtol=1e-2, atol=1e-2)


def test_the_projection_keeps_what_background_keys_hardly_reach(background: torch.Tensor) -> None:
    C = moment(background)
    P = null_space(C, 0.5)
    torch.testing.assert_close(P @ P, P, **EXACT)
    torch.testing.assert_close(P.T, P, **EXACT)
    values, vectors = torch.linalg.eigh(C)
    low = values < 0.5 * values.median()
    assert 0 < int(low.sum()) < F
    torch.testing.assert_close(P @ vectors[:, low], vectors[:, low], **EXACT)
    assert float((P @ vectors[:, ~low]).abs().max()) < 1e-9


def test_alphaedit_lies_in_the_null_space_and_leaves_background_keys_alone(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    P = null_space(moment(background), 1.0)
    nothing = torch.zeros(F, F, dtype=torch.float64)
    delta = alphaedit_update(keys, residuals, P, nothing, 1e-3)
    torch.testing.assert_close(delta @ P, delta, **EXACT)
    told = float((keys @ delta.T).norm(dim=1).mean())
    free = memit_update(keys, residuals, torch.eye(F), 1e-3)
    assert told > 0.5 * float(residuals.norm(dim=1).mean())
    assert (background @ delta.T).norm() < 0.1 * (background @ free.T).norm()


def test_alphaedit_is_the_least_squares_fit_that_also_keeps_earlier_keys(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    P, earlier, ridge = null_space(moment(background), 1.5), draw(4, F, seed=6), 0.05
    values, vectors = torch.linalg.eigh(P)
    basis = vectors[:, values > 0.5]  # P = basis basisᵀ; Δ = X basisᵀ with X free
    rows = torch.cat([keys @ basis, earlier @ basis, ridge**0.5 * torch.eye(basis.shape[1])])
    wanted = torch.cat([residuals, torch.zeros(len(rows) - N, D, dtype=torch.float64)])
    delta = alphaedit_update(keys, residuals, P, earlier.T @ earlier, ridge)
    torch.testing.assert_close(delta, least_squares(rows, wanted) @ basis.T, **EXACT)


def test_rome_makes_the_key_give_its_value_exactly(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    W = draw(D, F, seed=7)
    delta = rome_update(keys[0], residuals[0], moment(background))
    torch.testing.assert_close((W + delta) @ keys[0], W @ keys[0] + residuals[0], **EXACT)
    assert int(torch.linalg.matrix_rank(delta)) == 1


def test_rome_disturbs_background_keys_less_than_any_other_exact_change(
    keys: torch.Tensor, residuals: torch.Tensor, background: torch.Tensor
) -> None:
    best = (background @ rome_update(keys[0], residuals[0], moment(background)).T).norm()
    for seed in range(20):
        other = keys[0] / keys[0].norm() + 0.1 * draw(F, seed=seed)
        change = torch.outer(residuals[0], other / (other @ keys[0]))
        torch.testing.assert_close(change @ keys[0], residuals[0], **EXACT)
        assert best <= (background @ change.T).norm()


@pytest.mark.parametrize("count", [N, 3 * F])
def test_ridge_regression_gives_one_solution_from_either_system(count: int) -> None:
    H, V, ridge = draw(count, F, seed=8), draw(count, D, seed=9), 0.3
    rows = torch.cat([H, ridge**0.5 * torch.eye(F, dtype=torch.float64)])
    wanted = torch.cat([V, torch.zeros(F, D, dtype=torch.float64)])
    torch.testing.assert_close(ridge_update(H, V, ridge), least_squares(rows, wanted), **EXACT)


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_rect_keeps_that_share_of_entries_and_those_of_the_largest_relative_change(
    share: float,
) -> None:
    delta, W = draw(D, F, seed=10), draw(D, F, seed=11)
    kept = keep_largest(delta, W, share)
    stays = kept != 0
    assert int(stays.sum()) == round(share * D * F)
    assert torch.equal(kept[stays], delta[stays])
    change = (delta / W).abs()
    if share < 1:
        assert change[stays].min() >= change[~stays].max()
