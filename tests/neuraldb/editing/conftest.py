"""A tiny model that has learnt to read facts, and what is measured of it once."""

from __future__ import annotations

import pytest

from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.editing.calibration import Calibration, calibrate
from tests import tiny


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def spec(loaded: LoadedModel) -> Spec:
    return spec_of(loaded.model)


@pytest.fixture(scope="session")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The calibration of layer 1, which hears what is asked."""
    loaded = LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = calibrate(loaded, spec_of(loaded.model), 1)
        again = calibrate(loaded, spec_of(loaded.model), 1)
    assert_same(found, again)
    return again


def assert_same(one: Calibration, other: Calibration) -> None:
    """What was measured and what was read from the disk."""
    import torch

    assert one.relations is not None
    assert other.relations is not None
    for name, tensor in one.encoder.tensors().items():
        assert torch.equal(other.encoder.tensors()[name], tensor)
    for name, tensor in vars(one.relations).items():
        assert torch.equal(getattr(other.relations, name), tensor)
    assert torch.equal(one.kind_V, other.kind_V)  # type: ignore[arg-type]
    assert (one.gamma, one.named_gamma, one.accuracy) == (
        other.gamma,
        other.named_gamma,
        other.accuracy,
    )
