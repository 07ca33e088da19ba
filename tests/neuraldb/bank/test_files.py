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
from revisor.neuraldb.bank import files, manifest, storage
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.encode import KeyEncoder, fit_whitening
from revisor.neuraldb.bank.files import (
    ENCODER,
    FRESH,
    ROWS,
    generation_folder,
    generations,
    load_bank,
    remove_generation,
    save_bank,
)
from revisor.neuraldb.bank.manifest import CHECKED, FORMAT, MANIFEST, hash_faults, read_manifest
from revisor.neuraldb.bank.vectors import bits_of

E, D = 6, 4
NAMES = (ENCODER, MANIFEST, ROWS)


def encoder_of(kind: str) -> KeyEncoder:
    drawn = torch.randn(40, E, generator=torch.Generator().manual_seed(9))
    return fit_whitening(drawn) if kind == "whitened" else KeyEncoder()


def some_view(
    rows: int = 4,
    kind: str = "whitened",
    generation: int = 1,
    *,
    bits: int = 32,
) -> View:
    bank = Bank(encoder=encoder_of(kind), key_width=E, hidden_width=D, bits=bits)
    generator = torch.Generator().manual_seed(rows + generation)
    for index in range(rows):
        keys = torch.randn(1 + index % 3, E, generator=generator)
        gamma = torch.rand(len(keys), generator=generator)
        residual = torch.randn(D, generator=generator)
        row = Row(
            row_id=f"é{index}",
            keys_CE=keys,
            gamma_C=gamma,
            r_D=residual,
        )
        bank.put(row)
    bank.generation = generation
    return bank.view()


def save(view: View, root: Path) -> Path:
    failed = [{"id": "x", "fault": "too hard"}]
    about: dict[str, Any] = {"model": "tiny", "layer": 1, "build": {"recipe": "r"}}
    return save_bank(view, root, fingerprint="f00d", failed=failed, **about)


def assert_same(a: View, b: View) -> None:
    assert (a.ids, a.generation) == (b.ids, b.generation)
    for name in ("keys_ME", "gamma_M", "row_M", "R_ND"):
        assert torch.equal(getattr(a, name)[:], getattr(b, name)[:]), name
    assert bits_of(a.keys_ME) == bits_of(b.keys_ME)
    assert a.encoder.kind == b.encoder.kind
    if a.encoder.kind == "whitened":
        for name in ("mean_F", "matrix_FE"):
            assert torch.equal(getattr(a.encoder, name), getattr(b.encoder, name)), name


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("kind", ["raw", "whitened"])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_what_is_loaded_is_what_was_saved(rows: int, kind: str, bits: int, tmp_path: Path) -> None:
    view = some_view(rows, kind, generation=3, bits=bits)
    folder = save(view, tmp_path)
    assert folder == generation_folder(tmp_path, 3)
    assert generations(tmp_path) == [3]
    assert hash_faults(folder) == []
    assert_same(load_bank(folder, fingerprint="f00d", check=True).view(), view)


def test_the_manifest_says_what_is_in_the_folder(tmp_path: Path) -> None:
    manifest = read_manifest(save(some_view(4), tmp_path))
    assert (manifest.rows, manifest.entries, manifest.layer) == (4, 7, 1)
    assert (manifest.model, manifest.fingerprint) == ("tiny", "f00d")
    assert manifest.failed == [{"id": "x", "fault": "too hard"}]
    ids = 4 * (3 + 8)  # "é0" and where it ends
    entries = 7 * (4 * E + 4 + 4)
    assert manifest.bytes_per_fact == round((entries + 4 * 4 * D + ids) / 4, 1)


def test_a_loaded_bank_takes_rows_and_is_saved_again(tmp_path: Path) -> None:
    bank = load_bank(save(some_view(4), tmp_path))
    first = bank.get("é0")
    bank.drop("é1")
    bank.put(Row(row_id="new", keys_CE=first.keys_CE, gamma_C=first.gamma_C, r_D=first.r_D))
    bank.generation = 2
    again = load_bank(save(bank.view(), tmp_path), check=True)
    assert generations(tmp_path) == [1, 2]
    assert again.ids == ("é0", "é2", "é3", "new")
    assert_same(again.view(), bank.view())


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for their hashes from now on."""
    read: list[str] = []
    real = manifest.sha256_of

    def counted(path: Path) -> str:
        read.append(path.name)
        return real(path)

    for module in (files, manifest):
        monkeypatch.setattr(module, "sha256_of", counted)
    return read


def test_a_large_file_is_read_again_only_when_it_looks_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "LARGE", 1)
    folder = save(some_view(), tmp_path)
    read = hashed(monkeypatch)
    load_bank(folder, check=True)
    assert read == []
    assert hash_faults(folder) == []
    assert sorted(read) == [ENCODER, ROWS]
    flip(folder / ROWS, -1)
    with pytest.raises(StoreDamaged, match=ROWS):
        load_bank(folder, check=True)
    flip(folder / ROWS, -1)
    read.clear()
    load_bank(folder, check=True)
    load_bank(folder, check=True)
    assert read == [ROWS]
    (folder / CHECKED).write_text("[]")
    load_bank(folder, check=True)
    assert sorted(read) == [ENCODER, ROWS, ROWS]


@pytest.mark.parametrize("number", [2, FORMAT - 1])
def test_a_bank_of_an_earlier_format_asks_for_a_build(number: int, tmp_path: Path) -> None:
    """Its keys are compared otherwise: it is whole, but nobody can read it any more."""
    folder = save(some_view(), tmp_path)
    found = json.loads((folder / MANIFEST).read_text())
    del found["bits"]
    (folder / MANIFEST).write_text(json.dumps(found | {"format": number, "seal": "another"}))
    with pytest.raises(NotBuilt, match="earlier revisor") as caught:
        load_bank(folder)
    assert "revisor build" in str(caught.value.hint)


@pytest.mark.parametrize("name", NAMES)
def test_any_flipped_byte_is_found_and_its_file_named(name: str, tmp_path: Path) -> None:
    folder = save(some_view(2), tmp_path)
    path = folder / name
    whole = path.read_bytes()
    for byte in range(0, len(whole), 5):
        flip(path, byte)
        with pytest.raises(StoreDamaged, match=name):
            load_bank(folder, check=True)
        path.write_bytes(whole)
    assert load_bank(folder, check=True).ids == ("é0", "é1")


def test_all_damaged_files_are_listed(tmp_path: Path) -> None:
    folder = save(some_view(), tmp_path)
    flip(folder / ROWS, -1)
    (folder / ENCODER).unlink()
    encoder, rows = hash_faults(folder)
    assert ROWS in rows
    assert "changed" in rows
    assert ENCODER in encoder
    assert "missing" in encoder


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("name", [ROWS, ENCODER])
def test_a_missing_file_is_damage(name: str, check: bool, tmp_path: Path) -> None:
    folder = save(some_view(), tmp_path)
    (folder / name).unlink()
    with pytest.raises(StoreDamaged, match=name):
        load_bank(folder, check=check)


@pytest.mark.parametrize("name", [ROWS, ENCODER])
def test_a_file_that_is_cut_short_is_damage(name: str, tmp_path: Path) -> None:
    folder = save(some_view(), tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:-3])
    with pytest.raises(StoreDamaged):
        load_bank(folder)


def test_a_folder_without_a_manifest_holds_no_bank(tmp_path: Path) -> None:
    with pytest.raises(NotBuilt, match="no bank"):
        load_bank(tmp_path)
    assert generations(tmp_path / "none") == []


def test_a_bank_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save(some_view(), tmp_path)
    with pytest.raises(WrongModel, match=r"f00d.*beef"):
        load_bank(folder, fingerprint="beef")


@pytest.mark.parametrize("more", [{}, {"invented_later": 1}], ids=["as now", "with new fields"])
def test_a_bank_of_a_newer_format_asks_for_an_upgrade(more: dict[str, int], tmp_path: Path) -> None:
    path = save(some_view(), tmp_path) / MANIFEST
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"format": manifest.FORMAT + 1} | more))
    with pytest.raises(StoreDamaged) as caught:
        load_bank(path.parent)
    assert "Upgrade" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"format": "x"}'])
def test_a_manifest_that_is_none_is_damage(text: str, tmp_path: Path) -> None:
    path = save(some_view(), tmp_path) / MANIFEST
    path.write_text(text)
    with pytest.raises(StoreDamaged, match=MANIFEST):
        load_bank(path.parent)


@pytest.mark.parametrize("generation", [1, 2], ids=["over the old one", "a new one"])
@pytest.mark.parametrize("failing", ["write_tensors", "sha256_of", "os.replace"])
def test_a_failure_while_saving_leaves_what_was_there(
    failing: str, generation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = some_view(4, generation=1)
    folder = save(old, tmp_path)
    calls = 0
    owner = {"write_tensors": storage, "sha256_of": files, "os.replace": os}[failing]
    name = failing.removeprefix("os.")
    real = getattr(owner, name)

    def broken(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (1 if failing == "os.replace" else 2):
            raise OSError("disk full")
        return real(*arguments, **more)

    new = some_view(6, generation=generation)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(CannotWrite, match="disk full"):
            save(new, tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load_bank(folder, check=True).view(), old)


def test_a_generation_that_is_saved_again_is_replaced(tmp_path: Path) -> None:
    save(some_view(4), tmp_path)
    folder = save(some_view(6), tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert_same(load_bank(folder, check=True).view(), some_view(6))


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickle was used")

    for owner, name in ((pickle, "dump"), (pickle, "load"), (torch, "save"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    folder = save(some_view(), tmp_path)
    load_bank(folder, check=True)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    for name in (ROWS, ENCODER):
        content = (folder / name).read_bytes()
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
@pytest.mark.parametrize("bits", [32, 8, 4])
def test_a_changed_bank_shares_the_file_and_loads_as_the_same(bits: int, tmp_path: Path) -> None:
    folder = save(some_view(9, bits=bits), tmp_path)
    for generation in (2, 3):
        bank = changed(folder, generation)
        after = save(bank.view(), tmp_path)
        assert (after / ROWS).stat().st_ino == (folder / ROWS).stat().st_ino
        assert read_manifest(after).rows == len(bank.ids) == 9
        assert hash_faults(after) == []
        found = load_bank(after, check=True)
        assert_same(found.view(), bank.view())
        for row_id in bank.ids:
            one, other = found.get(row_id), bank.get(row_id)
            assert torch.equal(one.keys_CE, other.keys_CE)
        whole = save_bank(
            bank.view(), tmp_path / "whole", fingerprint="f00d", model="", layer=0,
            build={}, failed=[], whole=True,
        )  # fmt: skip
        assert not (whole / FRESH).exists()
        assert_same(load_bank(whole).view(), bank.view())
        folder = after


@pytest.mark.usefixtures("_linking")
def test_any_folder_may_go_and_the_others_are_whole(tmp_path: Path) -> None:
    first = save(some_view(9), tmp_path)
    second = save(changed(first, 2).view(), tmp_path)
    expected = load_bank(second).view()
    assert remove_generation(tmp_path, 1)
    assert hash_faults(second) == []
    third = save(changed(second, 3).view(), tmp_path)
    assert remove_generation(tmp_path, 3)
    assert not third.exists()
    assert_same(load_bank(second, check=True).view(), expected)


@pytest.mark.usefixtures("_linking")
@pytest.mark.parametrize("name", [ROWS, FRESH, ENCODER, MANIFEST])
def test_any_flipped_byte_of_a_changed_bank_is_found(name: str, tmp_path: Path) -> None:
    folder = save(changed(save(some_view(3), tmp_path), 2).view(), tmp_path)
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
    folder = save(some_view(9), tmp_path)
    assert not (save(changed(folder, 2).view(), tmp_path) / FRESH).exists()
    monkeypatch.setattr(files, "SMALL", 0)
    assert not (save(changed(folder, 3).view(), tmp_path) / FRESH).exists(), "4 of 9 rows changed"
    monkeypatch.setattr(files, "MERGED", 4 / 9)
    assert (save(changed(folder, 4).view(), tmp_path) / FRESH).exists()


@pytest.mark.usefixtures("_linking")
def test_without_links_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(some_view(9), tmp_path)

    def none(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", none)
    bank = changed(folder, 2)
    after = save(bank.view(), tmp_path)
    assert (after / ROWS).stat().st_ino != (folder / ROWS).stat().st_ino
    assert_same(load_bank(after, check=True).view(), bank.view())


@pytest.mark.usefixtures("_linking")
def test_a_linked_file_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "LARGE", 1)
    folder = save(some_view(9), tmp_path)
    read = hashed(monkeypatch)
    after = save(changed(folder, 2).view(), tmp_path)
    load_bank(after, check=True)
    assert read == [FRESH]
