"""A store whose generations share a file of rows is as one in which each has its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from revisor.errors import StoreDamaged
from revisor.neuraldb.bank import files, manifest
from revisor.neuraldb.bank.files import FRESH, ROWS, generation_folder, generations
from revisor.neuraldb.bank.manifest import CHECKED, hash_faults, read_manifest
from revisor.neuraldb.editing.build import row_facts
from revisor.store import Store
from tests.life.stores import ACME, BASEL, FACTS, ZORA, logits, on_disk, said, same_bank
from tests.life.test_erase import SECRET, holders


@pytest.fixture(autouse=True)
def _linking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)


@pytest.fixture
def plain(whole: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(whole, tmp_path / "plain")
    with Store.open(tmp_path / "plain") as copied:
        yield copied


def file_of(store: Store, generation: int, name: str = ROWS) -> Path:
    return generation_folder(store.banks, generation) / name


def live(store: Store) -> None:
    """Changes of every kind, a build after each."""
    for act in (
        lambda: store.set_object(ACME.id, "Tokyo"),
        lambda: store.remove([BASEL.id]),
        lambda: store.add([BASEL, SECRET]),
        lambda: store.rollback(2),
    ):
        act()
        assert store.build().failed == []


def test_it_answers_as_if_every_generation_had_its_own_file(
    built: Store, plain: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(built)
    assert file_of(built, 5, FRESH).exists()
    with monkeypatch.context() as patch:
        patch.setattr(files, "MERGED", 0.0)
        live(plain)
    assert not file_of(plain, 5, FRESH).exists()
    assert same_bank(built, plain)
    for fact in (*FACTS, SECRET):
        with built.attached():
            found = logits(built.loaded.model, fact)
        with plain.attached():
            assert torch.equal(found, logits(plain.loaded.model, fact))


def test_facts_that_are_all_removed_leave_the_model_bit_for_bit(built: Store) -> None:
    before = [logits(built.loaded.model, fact) for fact in FACTS]
    built.remove([fact.id for fact in FACTS])
    assert built.build().rows == 0
    assert file_of(built, 2, FRESH).exists()
    with built.attached():
        after = [logits(built.loaded.model, fact) for fact in FACTS]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_gc_takes_a_folder_and_not_what_another_shares(built: Store) -> None:
    built.set_object(ACME.id, "Tokyo")
    built.build()
    assert file_of(built, 2).stat().st_ino == file_of(built, 1).stat().st_ino
    with Store.open(built.path) as reader:
        engine = reader.engine()
        built.set_object(ACME.id, "Bonn")
        built.build()
        assert generations(built.banks) == [2, 3], "a build keeps two"
        assert built.collect(1) == [], "a reader uses 2"
        assert engine.generate([ACME.text], max_tokens=8)[0].answer.startswith("Tokyo")
    assert built.collect(1) == [2]
    assert built.verify() == []
    assert said(built, ACME).startswith("Bonn")
    assert said(built, ZORA).startswith("French")


@pytest.mark.parametrize("name", [ROWS, FRESH])
def test_a_flipped_byte_is_found_by_verify_and_by_loading(built: Store, name: str) -> None:
    built.set_object(ACME.id, "Tokyo")
    built.build()
    content = bytearray(file_of(built, 2, name).read_bytes())
    content[len(content) // 2] ^= 1
    file_of(built, 2, name).write_bytes(content)
    assert any(name in fault for fault in built.verify())
    with pytest.raises(StoreDamaged, match=name):
        built.engine()


@pytest.mark.parametrize("removed_before", [False, True])
def test_a_purge_reaches_the_shared_file(built: Store, removed_before: bool) -> None:
    """Also the row of a fact that was removed: it lies in the file that is still shared."""
    built.add([SECRET])
    files.MERGED = 0.0
    built.build()
    files.MERGED = 9.0
    rows = {row.row_id: row for row in built.bank().rows()}
    vectors = on_disk(built, rows[SECRET.id])
    needles = (b"Berlin", b"Two brothers", SECRET.id.encode(), *vectors)
    if removed_before:
        built.remove([SECRET.id])
    else:
        built.set_object(ACME.id, "Tokyo")
    built.build()
    assert file_of(built, 3).stat().st_ino == file_of(built, 2).stat().st_ino
    assert holders(generation_folder(built.banks, 3), *vectors), "the search itself works"
    built.purge([SECRET.id])
    assert holders(built.path, *needles) == []
    assert built.verify() == []
    assert SECRET.id not in {i for row_id in built.bank().ids for i in row_facts(row_id)}
    built.build()
    assert said(built, ZORA).startswith("French")


def test_an_archive_holds_a_shared_file_once_and_restores_an_equal_store(
    built: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "LARGE", 1)
    built.set_object(ACME.id, "Tokyo")
    built.build()
    assert file_of(built, 2, CHECKED).exists()
    built.export(tmp_path / "all.zip")
    with Store.restore(tmp_path / "all.zip", tmp_path / "again") as again:
        assert again.verify() == []
        assert same_bank(again, built)
        assert file_of(again, 2).stat().st_ino == file_of(again, 1).stat().st_ino
        again.set_object(ACME.id, "Bonn")
        again.build()
        assert said(again, ACME).startswith("Bonn")


def test_an_exported_model_has_all_rows(built: Store, tmp_path: Path) -> None:
    built.set_object(ACME.id, "Tokyo")
    built.build()
    assert built.export_model(tmp_path / "model").rows == 3
    carrying: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    for fact in FACTS:
        with built.attached():
            expected = logits(built.loaded.model, fact)
        assert torch.equal(logits(carrying, fact), expected)


def test_a_file_is_written_anew_once_enough_of_it_changed(
    built: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MERGED", 2 / 3)
    for generation, linked in ((2, True), (3, True), (4, False)):
        built.set_object(
            (ACME, ACME, BASEL)[generation - 2].id, ("Tokyo", "Bonn", "Vienna")[generation - 2]
        )
        built.build()
        assert file_of(built, generation, FRESH).exists() == linked
        assert hash_faults(generation_folder(built.banks, generation)) == []
    assert read_manifest(generation_folder(built.banks, 4)).rows == 3
