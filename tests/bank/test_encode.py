"""Encoded keys: unit vectors, raw or whitened."""

from __future__ import annotations

import pytest
import torch

from revisor.bank.encode import KeyEncoder, fit_asked, fit_whitening

T, F = 2000, 12


@pytest.fixture
def keys_TF() -> torch.Tensor:
    """Keys with a mean and a few directions that all of them share."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(F, F, generator=generator) * torch.logspace(0, -1.5, F)
    mean = 5 * torch.randn(F, generator=generator)
    return torch.randn(T, F, generator=generator) @ mixing + mean


def test_whitening_makes_the_covariance_of_its_sample_the_identity(keys_TF: torch.Tensor) -> None:
    encoder = fit_whitening(keys_TF, shrink=1e-6)
    assert encoder.mean_F is not None
    assert encoder.matrix_FE is not None
    white = (keys_TF - encoder.mean_F) @ encoder.matrix_FE
    torch.testing.assert_close(white.mean(0), torch.zeros(F), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.T @ white / T, torch.eye(F), atol=1e-2, rtol=0)


def test_the_map_is_symmetric(keys_TF: torch.Tensor) -> None:
    matrix = fit_whitening(keys_TF).matrix_FE
    assert matrix is not None
    torch.testing.assert_close(matrix, matrix.T)


def test_shrinking_bounds_directions_that_the_sample_does_not_fill() -> None:
    flat = torch.randn(50, F, generator=torch.Generator().manual_seed(1))
    flat[:, 3] = 0.0
    matrix = fit_whitening(flat, shrink=0.1).matrix_FE
    assert matrix is not None
    assert matrix.isfinite().all()
    assert torch.linalg.matrix_norm(matrix, ord=2) < 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["raw", "whitened"])
def test_encoded_keys_have_length_one(kind: str, dtype: torch.dtype, keys_TF: torch.Tensor) -> None:
    encoder = fit_whitening(keys_TF) if kind == "whitened" else KeyEncoder()
    assert encoder.kind == kind
    encoded = encoder.encode(keys_TF.to(dtype))
    assert encoded.dtype == torch.float32
    torch.testing.assert_close(encoded.norm(dim=1), torch.ones(T))


def test_the_raw_encoder_gives_the_cosine(keys_TF: torch.Tensor) -> None:
    encoded = KeyEncoder().encode(keys_TF[:2])
    cosine = torch.cosine_similarity(keys_TF[0], keys_TF[1], dim=0)
    torch.testing.assert_close(encoded[0] @ encoded[1], cosine)


def test_whitening_tells_keys_apart_that_share_a_mean(keys_TF: torch.Tensor) -> None:
    def crowded(encoder: KeyEncoder) -> float:
        encoded = encoder.encode(keys_TF[:200])
        cosine = encoded @ encoded.T - torch.eye(200)
        return float(cosine.abs().mean())

    assert crowded(fit_whitening(keys_TF)) < 0.5 * crowded(KeyEncoder())


def test_moving_to_a_device_changes_nothing(keys_TF: torch.Tensor) -> None:
    for encoder in (KeyEncoder(), fit_whitening(keys_TF)):
        moved = encoder.to(torch.device("cpu"))
        assert torch.equal(moved.encode(keys_TF), encoder.encode(keys_TF))


@pytest.fixture
def questions() -> tuple[torch.Tensor, torch.Tensor]:
    """Keys that say who is asked about loudly, and what is asked for softly; what it is."""
    generator = torch.Generator().manual_seed(2)
    what = torch.randn(6, 40, generator=generator)
    who = 5 * torch.randn(30, 8, generator=generator) @ torch.randn(8, 40, generator=generator)
    noise = 0.2 * torch.randn(6, 30, 40, generator=generator)
    keys = what[:, None] + who[None] + noise
    return keys.reshape(-1, 40), torch.arange(6).repeat_interleave(30)


def test_a_query_meets_a_whole_entry_in_e_and_an_asked_one_in_w(
    questions: tuple[torch.Tensor, torch.Tensor],
) -> None:
    keys_NF, label_N = questions
    encoder = fit_asked(KeyEncoder(), keys_NF, label_N)
    query, whole, asked = (f(keys_NF) for f in (encoder.encode, encoder.whole, encoder.asked))
    assert query.shape[1] == encoder.width(40) == 40 + 5
    assert encoder.knows_asked
    assert not KeyEncoder().knows_asked
    e = KeyEncoder().encode(keys_NF)
    torch.testing.assert_close(query @ whole.T, e @ e.T)
    w = query[:, 40:]
    torch.testing.assert_close(w.norm(dim=1), torch.ones(len(w)))
    torch.testing.assert_close(query @ asked.T, w @ w.T)


def test_w_tells_apart_what_is_asked_of_somebody_unseen(
    questions: tuple[torch.Tensor, torch.Tensor],
) -> None:
    keys_NF, label_N = questions
    seen = torch.arange(len(keys_NF)) % 30 < 20
    encoder = fit_asked(KeyEncoder(), keys_NF[seen], label_N[seen])
    for encode, good in ((encoder.whole, False), (encoder.asked, True)):
        cosine = encode(keys_NF[~seen]) @ encode(keys_NF[seen]).T
        right = label_N[seen][cosine.argmax(1)] == label_N[~seen]
        assert (float(right.float().mean()) > 0.95) == good


def test_an_encoder_is_made_again_from_its_tensors(
    questions: tuple[torch.Tensor, torch.Tensor], keys_TF: torch.Tensor
) -> None:
    for encoder in (
        KeyEncoder(),
        fit_whitening(keys_TF),
        fit_asked(KeyEncoder(), *questions),
        fit_asked(fit_whitening(questions[0]), *questions),
    ):
        again = KeyEncoder.of(encoder.tensors())
        keys = keys_TF if encoder.kind == "whitened" and not encoder.knows_asked else questions[0]
        assert torch.equal(again.encode(keys), encoder.encode(keys))


def test_an_encoder_without_w_makes_no_asked_entry(keys_TF: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="what is asked"):
        KeyEncoder().asked(keys_TF)
