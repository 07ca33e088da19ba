"""The stores that these tests serve, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revisor.serve.tables import Database
from revisor.store import Store
from tests_vllm.common import AFTER, FACTS, TOWER


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one generation; nothing is to be changed in it."""
    path = tmp_path_factory.mktemp("first") / "store"
    with Store.init(path, model="smollm2", device="cpu", dtype="fp32") as made:
        made.add(FACTS)
        assert made.build().failed == []
    return path


@pytest.fixture(scope="session")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a second generation, which is held back."""
    path = tmp_path_factory.mktemp("second") / "store"
    shutil.copytree(first, path)
    with Store.open(path) as changed:
        hold(changed, [2])
        changed.set_object(TOWER.id, AFTER)
        assert changed.build().failed == []
    return path


def hold(store: Store, generations: list[int]) -> None:
    """Keep generations from going live, and let go of all others."""
    database = Database.of(store)
    database.remember("held", generations)
    database.close()
