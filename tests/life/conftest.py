"""A built store of three facts on a tiny model that has learnt to read them, to be copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.store import Store
from tests import tiny
from tests.life.stores import FACTS, new_store


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("taught")
    tiny.taught().save_pretrained(place)
    tiny.byte_level().save_pretrained(place)
    return place


@pytest.fixture(scope="package", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="package")
def whole(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "store"
    with new_store(path, folder) as made:
        made.add(FACTS)
        assert made.build().failed == []
    return path


@pytest.fixture
def built(whole: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(whole, tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copied:
        yield copied
