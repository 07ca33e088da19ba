"""Thresholds from cosines, and what is measured of a layer."""

from __future__ import annotations

import pytest
import torch

from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.editing import calibration
from revisor.neuraldb.editing.calibration import (
    balanced_accuracy,
    calibrate,
    compare_layers,
    probed_layers,
    quiet_gamma,
    separating_gamma,
)
from revisor.neuraldb.editing.settings import PAPER_GAMMA, BuildSettings
from tests import tiny


def test_two_samples_are_separated_in_the_middle() -> None:
    same, other = torch.tensor([0.80, 0.90, 0.85]), torch.tensor([0.40, 0.50, 0.45])
    gamma = separating_gamma(same, other)
    assert gamma == pytest.approx(0.65, abs=0.01)
    assert balanced_accuracy(same, other, gamma) == 1.0
    assert quiet_gamma(same, other, false_share=0.1) == gamma


def test_a_quiet_gamma_keeps_prompts_about_similar_subjects_below() -> None:
    generator = torch.Generator().manual_seed(0)
    same = 0.7 + 0.1 * torch.randn(500, generator=generator)
    other = 0.6 + 0.1 * torch.randn(500, generator=generator)
    shares = (0.01, 0.05, 0.1, 0.5)
    gammas = [quiet_gamma(same, other, false_share=share) for share in shares]
    assert gammas == sorted(gammas, reverse=True)
    assert gammas[-1] == separating_gamma(same, other)
    for share, gamma in zip(shares, gammas, strict=True):
        assert (other > gamma).float().mean() <= share + 1 / 500


def test_balanced_accuracy_counts_both_kinds_equally() -> None:
    same, other = torch.tensor([0.9, 0.1]), torch.tensor([0.2] * 100)
    assert balanced_accuracy(same, other, 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize("whiten", [False, True])
def test_what_was_measured_once_is_read_the_next_time(
    whiten: bool, loaded: LoadedModel, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = calibrate(loaded, spec, 1, whiten=whiten)
    monkeypatch.setattr(calibration, "_measure", None)
    again = calibrate(loaded, spec, 1, whiten=whiten)
    assert again.score == found.score
    assert again.encoder.kind == ("whitened" if whiten else "raw")
    keys_TF = torch.randn(3, tiny.KEY_WIDTH)
    assert torch.equal(again.encoder.encode(keys_TF), found.encoder.encode(keys_TF))


def test_the_papers_threshold_is_that_of_raw_keys_and_calibrations_that_of_whitened_ones(
    loaded: LoadedModel, spec: Spec
) -> None:
    raw, white = (calibrate(loaded, spec, 1, whiten=whiten) for whiten in (False, True))
    assert BuildSettings(layer=1).threshold(raw) == PAPER_GAMMA
    assert BuildSettings(layer=1, whiten=True).threshold(white) == white.score.gamma
    assert BuildSettings(layer=1, whiten=True, gamma=0.4).threshold(white) == 0.4


def test_of_layers_that_are_equally_good_the_deepest_comes_first(
    loaded: LoadedModel, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = {0: 0.90, 1: 0.935, 2: 0.93}
    real = calibration._probe

    def probed(loaded: LoadedModel, spec: Spec, layer: int, encoder: object) -> object:
        score = real(loaded, spec, layer, encoder)  # type: ignore[arg-type]
        return calibration.LayerScore(**{**vars(score), "accuracy": accuracy[layer]})

    monkeypatch.setattr(calibration, "_probe", probed)
    done: list[int] = []
    scores = compare_layers(loaded, spec, [0, 1, 2], on_done=done.append)
    assert [score.layer for score in scores] == [2, 1, 0]
    assert sum(done) == 3


@pytest.mark.parametrize("depth", [1, 2, 12, 30, 80])
def test_layers_of_the_first_third_are_probed(depth: int) -> None:
    layers = probed_layers(depth)
    assert layers == sorted(set(layers))
    assert 0 <= layers[0] <= layers[-1] <= max(1, depth / 2.9)
