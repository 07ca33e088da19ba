"""Encoded keys: unit vectors, raw or whitened."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from revisor.neuraldb.bank.encode import (
    ASKED,
    DUE,
    WIDTH,
    KeyEncoder,
    fit_due,
    fit_whitening,
    fit_words,
)

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
    assert (whole.whole_width(300), sketch.whole_width(300)) == (300, WIDTH)
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


@dataclass(frozen=True, kw_only=True)
class Worded:
    """A vocabulary in which a part of each word says what is asked and a louder one does not."""

    table_VD: torch.Tensor
    question_ND: torch.Tensor
    label_N: torch.Tensor


@pytest.fixture
def worded() -> Worded:
    """Six relations, each asked in 30 wordings of four words: one of its five, three of others."""
    generator = torch.Generator().manual_seed(2)
    what = 2 * torch.randn(6, 1, 40, generator=generator) + 0.2 * torch.randn(
        6, 5, 40, generator=generator
    )
    other = 3 * torch.randn(200, 8, generator=generator) @ torch.randn(8, 40, generator=generator)
    table_VD = torch.cat([what.reshape(30, 40), other])
    label_N = torch.arange(6).repeat_interleave(30)
    own_N = 5 * label_N + torch.randint(5, (180,), generator=generator)
    filler_N3 = 30 + torch.randint(200, (180, 3), generator=generator)
    question_ND = table_VD[torch.cat([own_N[:, None], filler_N3], 1)].mean(1)
    return Worded(table_VD=table_VD, question_ND=question_ND, label_N=label_N)


def test_words_tell_held_out_wordings_apart(worded: Worded) -> None:
    seen = torch.arange(180) % 30 < 20
    encoder = fit_words(
        KeyEncoder(), worded.table_VD, worded.question_ND[seen], worded.label_N[seen], shrink=0.1
    )
    assert encoder.words_VA is not None
    # What a question says is the mean of what its words say: the map is affine.
    mapped = torch.linalg.lstsq(
        torch.cat([worded.table_VD, torch.ones(230, 1)], 1), encoder.words_VA
    ).solution
    said = torch.cat([worded.question_ND, torch.ones(180, 1)], 1) @ mapped
    for asked, good in ((worded.question_ND, False), (said, True)):
        unit = torch.nn.functional.normalize(asked, dim=1)
        nearest = (unit[~seen] @ unit[seen].T).argmax(1)
        right = worded.label_N[seen][nearest] == worded.label_N[~seen]
        assert (float(right.float().mean()) > 0.95) == good


def test_words_are_the_formula_of_fisher(worded: Worded) -> None:
    """w(x) = (x - μ) S_w^(-1/2) U / median |w|, up to the sign of each direction."""
    words_VA = fit_words(KeyEncoder(), worded.table_VD, worded.question_ND, worded.label_N).words_VA
    assert words_VA is not None
    assert words_VA.shape == (230, 6 - 1 + 2), "as many directions as relations less one"
    assert not words_VA[:, -2:].any(), "the last numbers are a negation's and a wordless question's"
    question_ND = worded.question_ND.double()
    means_RD = torch.stack([question_ND[worded.label_N == n].mean(0) for n in range(6)])
    within_DD = sum(
        torch.outer(q - means_RD[n], q - means_RD[n])
        for q, n in zip(question_ND, worded.label_N.tolist(), strict=True)
    ) / len(question_ND)
    values, vectors = torch.linalg.eigh(within_DD)
    root_DD = vectors @ torch.diag((values.clamp(min=0) + values.mean()) ** -0.5) @ vectors.T
    white_RD = (means_RD - means_RD.mean(0)) @ root_DD
    _, directions = torch.linalg.eigh(white_RD.T @ white_RD)
    wanted = (worded.table_VD.double() - means_RD.mean(0)) @ root_DD @ directions.flip(1)[:, :5]
    wanted /= wanted.norm(dim=1).median()
    for found, right in zip(words_VA[:, :5].double().T, wanted.T, strict=True):
        sign = torch.sign(found @ right)
        torch.testing.assert_close(found, sign * right, atol=1e-3, rtol=1e-3)


def test_no_more_directions_than_the_leading_ones_are_kept() -> None:
    generator = torch.Generator().manual_seed(4)
    relations = ASKED + 10
    question_ND = torch.randn(4 * relations, 2 * ASKED, generator=generator)
    label_N = torch.arange(relations).repeat_interleave(4)
    table_VD = torch.randn(9, 2 * ASKED, generator=generator)
    words_VA = fit_words(KeyEncoder(), table_VD, question_ND, label_N).words_VA
    assert words_VA is not None
    assert words_VA.shape == (9, ASKED + 2)


def test_a_negation_outweighs_the_other_words_of_a_question(worded: Worded) -> None:
    negation_V = torch.zeros(230, dtype=torch.bool)
    negation_V[7] = True
    plain, negating = (
        fit_words(
            KeyEncoder(), worded.table_VD, worded.question_ND, worded.label_N, negation_V=mask
        ).words_VA
        for mask in (None, negation_V)
    )
    assert plain is not None
    assert negating is not None
    assert torch.equal(negating[~negation_V], plain[~negation_V])
    assert torch.equal(negating[7, :-2], plain[7, :-2])
    usual = [n for n in range(230) if plain[n].norm() < 1.2 and n != 7][:5]
    question_A = negating[usual].sum(0)
    negated_A = question_A + negating[7]
    assert torch.cosine_similarity(question_A, negated_A, dim=0) < 0.5


@pytest.fixture
def ends(keys_TF: torch.Tensor) -> torch.Tensor:
    """Keys where questions end: as others, and along one direction a little further."""
    generator = torch.Generator().manual_seed(5)
    chosen = keys_TF[torch.randperm(T, generator=generator)[:300]]
    return chosen + 0.8 * keys_TF.std(0) * torch.tensor([0.0] * 6 + [3.0] + [0.0] * 5)


def test_an_answer_is_due_at_ends_of_questions(keys_TF: torch.Tensor, ends: torch.Tensor) -> None:
    encoder = fit_due(fit_whitening(keys_TF), ends[:150], keys_TF[:1000])
    assert encoder.due_F is not None
    assert encoder.mean_F is not None

    def level(k_NF: torch.Tensor) -> torch.Tensor:
        assert encoder.due_F is not None
        assert encoder.mean_F is not None
        unit_NF = torch.nn.functional.normalize(k_NF - encoder.mean_F, dim=1)
        return unit_NF @ encoder.due_F[:-1] - encoder.due_F[-1]

    assert float(level(ends[:150]).mean()) == pytest.approx(1, abs=1e-4)
    assert float(level(keys_TF[:1000]).mean()) == pytest.approx(0, abs=1e-4)
    # Of keys that were not there when the direction was found.
    assert float(encoder.due(ends[150:]).float().mean()) > 0.8
    assert torch.equal(encoder.due(keys_TF), level(keys_TF) > DUE)
    assert float(encoder.due(ends[150:]).float().mean()) > 1.5 * float(
        encoder.due(keys_TF[1000:]).float().mean()
    )


def test_the_direction_is_fishers_for_two_classes() -> None:
    """S_w d = the difference of the means, S_w the mean of the covariances within the two."""
    generator = torch.Generator().manual_seed(6)
    other, end = torch.randn(500, 4, generator=generator), torch.randn(90, 4, generator=generator)
    end = end + torch.tensor([1.0, 0, 0, 0])
    encoder = fit_due(KeyEncoder(mean_F=torch.zeros(4)), end, other, shrink=0.0)
    assert encoder.due_F is not None
    unit_end, unit_other = (torch.nn.functional.normalize(k, dim=1).double() for k in (end, other))
    within = (torch.cov(unit_end.T, correction=0) + torch.cov(unit_other.T, correction=0)) / 2
    apart = unit_end.mean(0) - unit_other.mean(0)
    direction = torch.linalg.inv(within) @ apart
    found = encoder.due_F[:-1].double()
    torch.testing.assert_close(found, direction / (apart @ direction), atol=1e-4, rtol=1e-4)
    assert float(encoder.due_F[-1]) == pytest.approx(float(unit_other.mean(0) @ found), abs=1e-5)


@pytest.fixture
def hearing(worded: Worded, keys_TF: torch.Tensor, ends: torch.Tensor) -> KeyEncoder:
    encoder = fit_words(
        fit_whitening(keys_TF, width=7), worded.table_VD, worded.question_ND, worded.label_N
    )
    return fit_due(encoder, ends, keys_TF)


def test_an_entry_is_compared_as_a_whole_or_by_what_it_asks(
    hearing: KeyEncoder, keys_TF: torch.Tensor
) -> None:
    assert hearing.hears
    assert hearing.whole_width(F) == 7
    assert hearing.asked_width == 7 + 1
    assert hearing.width(F) == 15
    whole_TW = hearing.whole(keys_TF)
    assert torch.equal(whole_TW[:, :7], hearing.encode(keys_TF))
    assert not whole_TW[:, 7:].any()
    question_CA = torch.nn.functional.normalize(torch.randn(3, 7), dim=1)
    for waits in (True, False):
        asking_CW = hearing.asking(question_CA, waits, F)
        assert asking_CW.shape == (3, 15)
        assert not asking_CW[:, :7].any()
        assert torch.equal(asking_CW[:, 7:14], question_CA)
        assert asking_CW[:, 14].tolist() == [float(waits)] * 3


def test_an_encoder_that_hears_nothing_has_whole_entries_alone(keys_TF: torch.Tensor) -> None:
    for encoder, width in ((KeyEncoder(), F), (fit_whitening(keys_TF, width=7), 7)):
        assert not encoder.hears
        assert encoder.asked_width == 0
        assert encoder.width(F) == encoder.whole_width(F) == width
        assert torch.equal(encoder.whole(keys_TF), encoder.encode(keys_TF))
        with pytest.raises(ValueError, match="what is asked"):
            encoder.due(keys_TF)


def test_an_encoder_is_made_again_from_its_tensors(
    hearing: KeyEncoder, keys_TF: torch.Tensor
) -> None:
    for encoder in (KeyEncoder(), fit_whitening(keys_TF), hearing):
        again = KeyEncoder.of(encoder.tensors())
        assert again.kind == encoder.kind
        assert again.hears == encoder.hears
        assert again.tensors().keys() == encoder.tensors().keys()
        for name, tensor in encoder.tensors().items():
            assert torch.equal(again.tensors()[name], tensor)
        assert torch.equal(again.encode(keys_TF), encoder.encode(keys_TF))
    assert sorted(hearing.tensors()) == ["due", "matrix", "mean", "words"]
    assert torch.equal(KeyEncoder.of(hearing.tensors()).due(keys_TF), hearing.due(keys_TF))
