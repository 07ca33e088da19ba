"""Which layer is chosen for a model that nobody has swept."""

from __future__ import annotations

import pytest
import torch

from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.editing import layers
from revisor.neuraldb.editing.layers import (
    SWEPT_LAYERS,
    balanced_accuracy,
    choose_layer,
    probed_layers,
    separating_gamma,
)


def test_two_samples_are_separated_in_the_middle() -> None:
    same, other = torch.tensor([0.80, 0.90, 0.85]), torch.tensor([0.40, 0.50, 0.45])
    gamma = separating_gamma(same, other)
    assert gamma == pytest.approx(0.65, abs=0.01)
    assert balanced_accuracy(same, other, gamma) == 1.0


def test_balanced_accuracy_counts_both_kinds_equally() -> None:
    same, other = torch.tensor([0.9, 0.1]), torch.tensor([0.2] * 100)
    assert balanced_accuracy(same, other, 0.5) == pytest.approx(0.75)


def test_of_layers_that_are_equally_good_the_deepest_is_chosen(
    loaded: LoadedModel, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = {0: 0.90, 1: 0.935, 2: 0.93}
    monkeypatch.setattr(layers, "probed_layers", lambda _: list(accuracy))
    assert choose_layer("tiny", loaded, spec) in accuracy
    monkeypatch.setattr(layers, "probe", lambda _loaded, _spec, layer: accuracy[layer])
    assert choose_layer("tiny", loaded, spec) == 2
    assert choose_layer("smollm2", loaded, spec) == SWEPT_LAYERS["smollm2"]


@pytest.mark.parametrize("depth", [1, 2, 12, 30, 80])
def test_layers_of_the_first_third_are_probed(depth: int) -> None:
    found = probed_layers(depth)
    assert found == sorted(set(found))
    assert 0 <= found[0] <= found[-1] <= max(1, depth / 2.9)
