"""A bank on disk is the bank that was saved, or an error that says which file is not."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import CannotWrite, NotBuilt, StoreDamaged, WrongModel
from revisor.neuraldb.bank import files, manifest
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.files import (
    generation_folder,
    generations,
    load_bank,
    remove_generation,
    save_bank,
)
from revisor.neuraldb.bank.manifest import FORMAT, MANIFEST, hash_faults, read_manifest
from revisor.neuraldb.bank.storage import FRESH, ROWS

E, D = 6, 4
NAMES = (MANIFEST, ROWS)


def some_bank(rows: int = 4, generation: int = 1) -> Bank:
    bank = Bank(key_width=E, hidden_width=D)
    generator = torch.Generator().manual_seed(rows + generation)
    for index in range(rows):
        keys = torch.randn(1 + index % 3, E, generator=generator)
        gamma = torch.rand(len(keys), generator=generator)
        residual = torch.randn(D, generator=generator)
        bank.put(Row(row_id=f"é{index}", keys_CE=keys, gamma_C=gamma, r_D=residual))
    bank.generation = generation
    return bank


def save(bank: Bank, root: Path, *, whole: bool = False) -> Path:
    failed = [{"id": "x", "fault": "too hard"}]
    about: dict[str, Any] = {"model": "tiny", "layer": 1, "build": {"recipe": "r"}}
    return save_bank(bank, root, fingerprint="f00d", failed=failed, whole=whole, **about)


def assert_same(a: Bank, b: Bank) -> None:
    assert (a.ids, a.generation) == (b.ids, b.generation)
    for name in ("keys_ME", "gamma_M", "row_M", "R_ND"):
        assert torch.equal(getattr(a.view(), name), getattr(b.view(), name)), name


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_what_is_loaded_is_what_was_saved(rows: int, tmp_path: Path) -> None:
    bank = some_bank(rows, generation=3)
    folder = save(bank, tmp_path)
    assert folder == generation_folder(tmp_path, 3)
    assert generations(tmp_path) == [3]
    assert hash_faults(folder) == []
    assert_same(load_bank(folder, fingerprint="f00d", check=True), bank)


def test_the_manifest_says_what_is_in_the_folder(tmp_path: Path) -> None:
    manifest = read_manifest(save(some_bank(4), tmp_path))
    assert (manifest.rows, manifest.layer) == (4, 1)
    assert (manifest.model, manifest.fingerprint) == ("tiny", "f00d")
    assert manifest.failed == [{"id": "x", "fault": "too hard"}]


def test_a_loaded_bank_takes_rows_and_is_saved_again(tmp_path: Path) -> None:
    bank = load_bank(save(some_bank(4), tmp_path))
    first = bank.get("é0")
    bank.drop("é1")
    bank.put(Row(row_id="new", keys_CE=first.keys_CE, gamma_C=first.gamma_C, r_D=first.r_D))
    bank.generation = 2
    again = load_bank(save(bank, tmp_path), check=True)
    assert generations(tmp_path) == [1, 2]
    assert again.ids == ("é0", "é2", "é3", "new")
    assert_same(again, bank)


@pytest.mark.parametrize("number", [2, FORMAT - 1])
def test_a_bank_of_an_earlier_format_asks_for_a_build(number: int, tmp_path: Path) -> None:
    """Its keys are compared otherwise: it is whole, but nobody can read it any more."""
    folder = save(some_bank(), tmp_path)
    found = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(found | {"format": number, "seal": "another"}))
    with pytest.raises(NotBuilt, match="earlier revisor") as caught:
        load_bank(folder)
    assert "revisor build" in str(caught.value.hint)


@pytest.mark.parametrize("name", NAMES)
def test_any_flipped_byte_is_found_and_its_file_named(name: str, tmp_path: Path) -> None:
    folder = save(some_bank(2), tmp_path)
    path = folder / name
    whole = path.read_bytes()
    for byte in range(0, len(whole), 5):
        flip(path, byte)
        with pytest.raises(StoreDamaged, match=name):
            load_bank(folder, check=True)
        path.write_bytes(whole)
    assert load_bank(folder, check=True).ids == ("é0", "é1")


@pytest.mark.usefixtures("_linking")
def test_all_damaged_files_are_listed(tmp_path: Path) -> None:
    folder = save(changed(save(some_bank(9), tmp_path), 2), tmp_path)
    flip(folder / FRESH, -1)
    (folder / ROWS).unlink()
    changed_one, missing = sorted(hash_faults(folder))
    assert FRESH in changed_one
    assert "changed" in changed_one
    assert ROWS in missing
    assert "missing" in missing


@pytest.mark.parametrize("check", [False, True])
def test_a_missing_file_is_damage(check: bool, tmp_path: Path) -> None:
    folder = save(some_bank(), tmp_path)
    (folder / ROWS).unlink()
    with pytest.raises(StoreDamaged, match=ROWS):
        load_bank(folder, check=check)


def test_a_file_that_is_cut_short_is_damage(tmp_path: Path) -> None:
    folder = save(some_bank(), tmp_path)
    (folder / ROWS).write_bytes((folder / ROWS).read_bytes()[:-3])
    with pytest.raises(StoreDamaged):
        load_bank(folder)


def test_a_folder_without_a_manifest_holds_no_bank(tmp_path: Path) -> None:
    with pytest.raises(NotBuilt, match="no bank"):
        load_bank(tmp_path)
    assert generations(tmp_path / "none") == []


def test_a_bank_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save(some_bank(), tmp_path)
    with pytest.raises(WrongModel, match=r"f00d.*beef"):
        load_bank(folder, fingerprint="beef")


@pytest.mark.parametrize("more", [{}, {"invented_later": 1}], ids=["as now", "with new fields"])
def test_a_bank_of_a_newer_format_asks_for_an_upgrade(more: dict[str, int], tmp_path: Path) -> None:
    path = save(some_bank(), tmp_path) / MANIFEST
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"format": manifest.FORMAT + 1} | more))
    with pytest.raises(StoreDamaged) as caught:
        load_bank(path.parent)
    assert "Upgrade" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"format": "x"}'])
def test_a_manifest_that_is_none_is_damage(text: str, tmp_path: Path) -> None:
    path = save(some_bank(), tmp_path) / MANIFEST
    path.write_text(text)
    with pytest.raises(StoreDamaged, match=MANIFEST):
        load_bank(path.parent)


@pytest.mark.parametrize("generation", [1, 2], ids=["over the old one", "a new one"])
@pytest.mark.parametrize("failing", ["write_rows", "sha256_of", "os.replace"])
def test_a_failure_while_saving_leaves_what_was_there(
    failing: str, generation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = some_bank(4, generation=1)
    folder = save(old, tmp_path)
    calls = 0
    owner = {"write_rows": files, "sha256_of": files, "os.replace": os}[failing]
    name = failing.removeprefix("os.")
    real = getattr(owner, name)

    def broken(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("disk full")
        return real(*arguments, **more)

    new = some_bank(6, generation=generation)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(CannotWrite, match="disk full"):
            save(new, tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load_bank(folder, check=True), old)


def test_a_generation_that_is_saved_again_is_replaced(tmp_path: Path) -> None:
    save(some_bank(4), tmp_path)
    folder = save(some_bank(6), tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load_bank(folder, check=True), some_bank(6))


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickle was used")

    for owner, name in ((pickle, "dump"), (pickle, "load"), (torch, "save"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    folder = save(some_bank(), tmp_path)
    load_bank(folder, check=True)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    content = (folder / ROWS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert isinstance(json.loads(content[8 : 8 + length]), dict)


def changed(folder: Path, generation: int) -> Bank:
    """The bank in a folder, with a row replaced, one gone and one new."""
    bank = load_bank(folder, check=True)
    old = bank.get(bank.ids[0])
    bank.drop(bank.ids[1])
    bank.put(replace(old, gamma_C=old.gamma_C / 2))
    bank.put(replace(old, row_id=f"new{generation}"))
    bank.generation = generation
    return bank


@pytest.fixture
def _linking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)


@pytest.mark.usefixtures("_linking")
def test_a_changed_bank_shares_the_file_and_loads_as_the_same(tmp_path: Path) -> None:
    folder = save(some_bank(9), tmp_path)
    for generation in (2, 3):
        bank = changed(folder, generation)
        after = save(bank, tmp_path)
        assert (after / ROWS).stat().st_ino == (folder / ROWS).stat().st_ino
        assert read_manifest(after).rows == len(bank.ids) == 9
        assert_same(load_bank(after, check=True), bank)
        whole = save(bank, tmp_path / "whole", whole=True)
        assert not (whole / FRESH).exists()
        assert_same(load_bank(whole), bank)
        folder = after


@pytest.mark.usefixtures("_linking")
def test_any_folder_may_go_and_the_others_are_whole(tmp_path: Path) -> None:
    first = save(some_bank(9), tmp_path)
    second = save(changed(first, 2), tmp_path)
    expected = load_bank(second)
    assert remove_generation(tmp_path, 1)
    assert hash_faults(second) == []
    third = save(changed(second, 3), tmp_path)
    assert remove_generation(tmp_path, 3)
    assert not third.exists()
    assert_same(load_bank(second, check=True), expected)


@pytest.mark.usefixtures("_linking")
@pytest.mark.parametrize("name", [ROWS, FRESH, MANIFEST])
def test_any_flipped_byte_of_a_changed_bank_is_found(name: str, tmp_path: Path) -> None:
    folder = save(changed(save(some_bank(3), tmp_path), 2), tmp_path)
    whole = (folder / name).read_bytes()
    for byte in range(0, len(whole), 29):
        flip(folder / name, byte)
        with pytest.raises(StoreDamaged, match=name):
            load_bank(folder, check=True)
        (folder / name).write_bytes(whole)
    assert len(load_bank(folder, check=True).ids) == 3


def test_a_bank_of_which_much_changed_or_that_is_small_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(some_bank(9), tmp_path)
    assert not (save(changed(folder, 2), tmp_path) / FRESH).exists()
    monkeypatch.setattr(files, "SMALL", 0)
    assert not (save(changed(folder, 3), tmp_path) / FRESH).exists(), "4 of 9 rows changed"
    monkeypatch.setattr(files, "MERGED", 4 / 9)
    assert (save(changed(folder, 4), tmp_path) / FRESH).exists()


@pytest.mark.usefixtures("_linking")
def test_without_links_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(some_bank(9), tmp_path)

    def none(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", none)
    bank = changed(folder, 2)
    after = save(bank, tmp_path)
    assert (after / ROWS).stat().st_ino != (folder / ROWS).stat().st_ino
    assert_same(load_bank(after, check=True), bank)
