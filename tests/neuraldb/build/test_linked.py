"""Banks whose generations share a file of rows are as those in which each has its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from revisor.errors import StoreDamaged
from revisor.facts.fact import Fact
from revisor.neuraldb.bank import files
from revisor.neuraldb.bank.files import FRESH, ROWS, generation_folder, generations
from revisor.neuraldb.bank.manifest import hash_faults, read_manifest
from revisor.neuraldb.method import (
    Workspace,
    attached,
    bank_faults,
    build,
    collect_all,
    engine,
    open_bank,
    purge_rows,
)
from tests.neuraldb.banks import (
    ACME,
    BASEL,
    FACTS,
    ZORA,
    answer,
    bank_of,
    change,
    holders,
    logits,
    on_disk,
    put,
    remove,
    same_bank,
    workspace,
)

SECRET = Fact(subject="Berlin", prompt="Two brothers founded the company in {}", object="Bonn")


@pytest.fixture(autouse=True)
def _linking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)


@pytest.fixture
def plain(whole: Path, folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(whole, tmp_path / "plain")
    ws = workspace(tmp_path / "plain", folder)
    with ws.ledger:
        yield ws


def file_of(ws: Workspace, generation: int, name: str = ROWS) -> Path:
    return generation_folder(ws.banks, generation) / name


def change_in_every_way(ws: Workspace) -> None:
    """A build after each change."""
    for act in (
        lambda: change(ws, ACME, "Tokyo"),
        lambda: remove(ws, BASEL),
        lambda: put(ws, BASEL, SECRET),
        lambda: ws.ledger.rollback(2, actor="ann"),
    ):
        act()
        assert build(ws).failed == []


def test_it_answers_as_if_every_generation_had_its_own_file(
    built: Workspace, plain: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_in_every_way(built)
    assert file_of(built, 5, FRESH).exists()
    with monkeypatch.context() as patch:
        patch.setattr(files, "MERGED", 0.0)
        change_in_every_way(plain)
    assert not file_of(plain, 5, FRESH).exists()
    assert same_bank(built, plain)
    for fact in (*FACTS, SECRET):
        with attached(built):
            found = logits(built.loaded.model, fact)
        with attached(plain):
            assert torch.equal(found, logits(plain.loaded.model, fact))


def test_gc_takes_a_folder_and_not_what_another_shares(built: Workspace) -> None:
    change(built, ACME, "Tokyo")
    build(built)
    assert file_of(built, 2).stat().st_ino == file_of(built, 1).stat().st_ino
    made, lease = engine(built)
    with closing(lease):
        change(built, ACME, "Bonn")
        build(built)
        assert generations(built.banks) == [2, 3], "a build keeps two"
        assert collect_all(built, 1) == [], "a reader uses 2"
        assert made.generate([ACME.text], max_tokens=8)[0].answer.startswith("Tokyo")
    assert collect_all(built, 1) == [2]
    assert list(bank_faults(built)) == []
    assert answer(built, ACME).startswith("Bonn")
    assert answer(built, ZORA).startswith("French")


@pytest.mark.parametrize("name", [ROWS, FRESH])
def test_a_flipped_byte_is_found_by_verify_and_by_loading(built: Workspace, name: str) -> None:
    change(built, ACME, "Tokyo")
    build(built)
    content = bytearray(file_of(built, 2, name).read_bytes())
    content[len(content) // 2] ^= 1
    file_of(built, 2, name).write_bytes(content)
    assert any(name in fault for fault in bank_faults(built))
    with pytest.raises(StoreDamaged, match=name):
        open_bank(built)


@pytest.mark.parametrize("removed_before", [False, True])
def test_a_purge_reaches_the_shared_file(
    built: Workspace, removed_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the row of a fact that was removed: it lies in the file that is still shared."""
    put(built, SECRET)
    monkeypatch.setattr(files, "MERGED", 0.0)
    build(built)
    monkeypatch.setattr(files, "MERGED", 9.0)
    vectors = on_disk(bank_of(built).get(SECRET.id))
    if removed_before:
        remove(built, SECRET)
    else:
        change(built, ACME, "Tokyo")
    build(built)
    assert file_of(built, 3).stat().st_ino == file_of(built, 2).stat().st_ino
    needles = (SECRET.id.encode(), *vectors)
    assert holders(generation_folder(built.banks, 3), *vectors), "the search itself works"
    assert purge_rows(built.root, [SECRET.id])
    assert holders(built.root, *needles) == []
    assert list(bank_faults(built)) == []
    assert SECRET.id not in bank_of(built).ids


def test_a_file_is_written_anew_once_enough_of_it_changed(
    built: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MERGED", 2 / 3)
    changes = ((ACME, "Tokyo", True), (ACME, "Bonn", True), (BASEL, "Vienna", False))
    for generation, (fact, obj, linked) in enumerate(changes, start=2):
        change(built, fact, obj)
        build(built)
        assert file_of(built, generation, FRESH).exists() == linked
        assert hash_faults(generation_folder(built.banks, generation)) == []
    assert read_manifest(generation_folder(built.banks, 4)).rows == 3
