"""What a store keeps, and what it is exported to, is for its user alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from revisor.index import bases, follow
from revisor.store import Store
from tests.stores import FACTS, new_store


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """The least careful of masks."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """The files and folders that others than their user may do anything with."""
    found = [folder, *folder.rglob("*")]
    return [str(one) for one in found if stat.S_IMODE(one.stat().st_mode) & 0o077]


def test_nobody_else_reads_a_store_or_its_exports(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "FILED", 1)  # a base of few facts has a file, too
    monkeypatch.setattr(follow, "FILED", 1)
    tmp_path.chmod(0o700)
    with new_store(tmp_path / "store", model_folder, *FACTS) as store:
        store.index.compact()
        store.export(tmp_path / "facts.jsonl")
        store.export(tmp_path / "all.zip")
        files = {path.name for path in store.path.rglob("*") if path.is_file()}
        assert files >= {"store.toml", "ledger.sqlite", "ledger.sqlite-wal", "facts.index"}
        assert open_to_others(tmp_path) == []
        store.purge([FACTS[0].id])
        assert open_to_others(tmp_path) == []
    with Store.restore(tmp_path / "all.zip", tmp_path / "again") as again:
        again.add([FACTS[0]])
        assert open_to_others(tmp_path) == []


def test_a_folder_that_somebody_opened_stays_open(tmp_path: Path, model_folder: Path) -> None:
    place = tmp_path / "shared"
    place.mkdir(mode=0o755)
    with new_store(place, model_folder, *FACTS) as store:
        store.export(tmp_path / "facts.jsonl")
        (tmp_path / "facts.jsonl").chmod(0o644)
        store.purge([FACTS[0].id])
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "facts.jsonl").stat().st_mode) == 0o644
    assert stat.S_IMODE((place / "ledger.sqlite").stat().st_mode) == 0o600
