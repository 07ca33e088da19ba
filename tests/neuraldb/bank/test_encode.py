"""Encoded keys: unit vectors, raw or whitened."""

from __future__ import annotations

import pytest
import torch

from revisor.neuraldb.bank.encode import WIDTH, KeyEncoder, fit_whitening

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


def test_the_map_is_a_root_of_the_inverse_covariance(keys_TF: torch.Tensor) -> None:
    matrix = fit_whitening(keys_TF, shrink=0.2).matrix_FE
    assert matrix is not None
    covariance = torch.cov(keys_TF.T.double(), correction=0)
    covariance.diagonal().add_(0.2 * covariance.diagonal().mean())
    inverse = torch.linalg.inv(covariance)
    torch.testing.assert_close((matrix @ matrix.T).double(), inverse, rtol=1e-3, atol=1e-6)


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


def test_a_sketch_keeps_cosines() -> None:
    """About as much as Johnson and Lindenstrauss (1984) say: an error of 1 / sqrt(E)."""
    generator = torch.Generator().manual_seed(3)
    background = torch.randn(3000, 300, generator=generator)
    centres = torch.randn(20, 300, generator=generator)
    keys = centres.repeat_interleave(20, 0) + 0.7 * torch.randn(400, 300, generator=generator)
    whole, sketch = fit_whitening(background, width=300), fit_whitening(background)
    assert (whole.width(300), sketch.width(300)) == (300, WIDTH)
    cosine, sketched = (e.encode(keys) @ e.encode(keys).T for e in (whole, sketch))
    error = sketched - cosine
    assert float(error.pow(2).mean().sqrt()) < 1.1 / WIDTH**0.5
    assert float(error.abs().max()) < 6 / WIDTH**0.5
    for found in (cosine, sketched):
        found.fill_diagonal_(-1)
    right = sketched.argmax(1) // 20 == torch.arange(400) // 20
    assert float(right.float().mean()) == 1


def test_the_sketch_is_the_same_every_time(keys_TF: torch.Tensor) -> None:
    torch.manual_seed(1)
    one = fit_whitening(keys_TF, width=5).matrix_FE
    torch.manual_seed(2)
    other = fit_whitening(keys_TF, width=5).matrix_FE
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)


def test_a_narrow_key_is_kept_whole(keys_TF: torch.Tensor) -> None:
    for width in (F, F + 1, WIDTH):
        matrix = fit_whitening(keys_TF, width=width).matrix_FE
        assert matrix is not None
        assert torch.equal(matrix, fit_whitening(keys_TF, width=1000).matrix_FE)
        assert matrix.shape == (F, F)


@pytest.mark.parametrize("kind", ["raw", "whitened"])
def test_an_encoder_is_made_again_from_its_tensors(kind: str, keys_TF: torch.Tensor) -> None:
    encoder = fit_whitening(keys_TF) if kind == "whitened" else KeyEncoder()
    again = KeyEncoder.of(encoder.tensors())
    assert again.kind == kind
    assert torch.equal(again.encode(keys_TF), encoder.encode(keys_TF))
    assert again.encode(keys_TF).shape == (T, encoder.width(F))
