"""A tiny model that has learnt to read facts."""

from __future__ import annotations

import pytest

from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of
from tests import tiny


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(name="tiny", model=tiny.taught(), tokenizer=tiny.byte_level())


@pytest.fixture(scope="module")
def spec(loaded: LoadedModel) -> Spec:
    return spec_of(loaded.model)
