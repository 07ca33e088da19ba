"""A store of three facts on a tiny model, to be copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.store import Store
from tests.stores import FACTS, new_store


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "store"
    new_store(path, model_folder, *FACTS).close()
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of one's own."""
    shutil.copytree(whole, tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copied:
        yield copied
