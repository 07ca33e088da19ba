"""A tiny model that has learnt to read facts, in a folder; and a built bank of three facts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.neuraldb.method import Workspace, build
from tests import tiny
from tests.neuraldb.banks import FACTS, put, workspace


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The folder of a built workspace; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "ws"
    ws = workspace(path, folder)
    with ws.ledger:
        put(ws, *FACTS)
        assert build(ws).failed == []
    return path


@pytest.fixture
def built(whole: Path, folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it."""
    shutil.copytree(whole, tmp_path / "copy")
    ws = workspace(tmp_path / "copy", folder)
    with ws.ledger:
        yield ws
