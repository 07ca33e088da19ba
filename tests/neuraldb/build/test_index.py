"""A store in which keys alone decide: how they are searched, as it says and as there is FAISS."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from revisor.config import read_settings, write_settings
from revisor.errors import BadInput, StoreDamaged, UsageError
from revisor.facts.fact import Fact
from revisor.neuraldb.bank import coarse, files
from revisor.neuraldb.bank.files import generation_folder
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.storage import FRESH, INDEX, ROWS
from revisor.neuraldb.gate.module import match
from revisor.store import Store
from tests.life.stores import ACME, BASEL, FACTS, logits, new_store

LATER = Fact(subject="Cora", prompt="{} stands in", object="Japan")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("indexed") / "store"
    with new_store(path, folder, preset="paper", search="coarse") as made:
        made.add(FACTS)
        made.build()
    return path


@pytest.fixture
def store(indexed: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(indexed, tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copied:
        yield copied


def noted(store: Store) -> dict[str, Any]:
    """What the newest bank says of its search."""
    newest = store.built_generation()
    assert newest is not None
    found = read_manifest(generation_folder(store.banks, newest)).build["search"]
    assert isinstance(found, dict)
    return found


def file_of(store: Store, generation: int, name: str = INDEX) -> Path:
    return generation_folder(store.banks, generation) / name


def rows_hit(store: Store) -> list[int]:
    view = store.bank().view()
    return match(view.keys_ME[:], view).row_T.tolist()


@pytest.mark.parametrize(
    ("search", "large", "kind"),
    [
        ("auto", False, "exact"),
        ("auto", True, "coarse"),
        ("exact", True, "exact"),
        ("coarse", False, "coarse"),
    ],
)
def test_the_setting_says_how_keys_are_searched(
    search: str,
    large: bool,
    kind: str,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr(coarse, "FROM", 2)
    with new_store(tmp_path / "store", folder, preset="paper", search=search) as made:
        made.add(FACTS)
        made.build()
        assert (noted(made)["kind"], noted(made)["asked"]) == (kind, search)
        assert (made.bank().view().coarse is not None) == (kind == "coarse")
        assert made.verify() == []
    with Store.open(tmp_path / "store") as opened:
        assert opened.settings.search == search


def test_another_setting_takes_hold_at_the_next_build(store: Store) -> None:
    assert store.build().facts == 0
    assert not file_of(store, 1).parent.name.endswith(".2"), "there was nothing to do"
    for search, kind in (("exact", "exact"), ("coarse", "coarse")):
        write_settings(store.path / "store.toml", replace(store.settings, search=search))
        with Store.open(store.path) as opened:
            before = opened.bank().view()
            assert opened.build().facts == 0
            assert noted(opened)["kind"] == kind
            assert torch.equal(opened.bank().view().R_ND, before.R_ND)
            assert opened.verify() == []


def test_a_search_that_there_is_not_is_refused(tmp_path: Path, folder: Path, store: Store) -> None:
    with pytest.raises(UsageError, match="Unknown search 'corse'") as caught:
        new_store(tmp_path / "a", folder, preset="paper", search="corse")
    assert "auto, exact, coarse" in caught.value.hint
    with pytest.raises(UsageError, match="looks rows up by names"):
        new_store(tmp_path / "a", folder, search="coarse")
    path = store.path / "store.toml"
    text = path.read_text()
    path.write_text(text.replace('search = "coarse"', 'search = "corse"'))
    with pytest.raises(BadInput) as fault:
        read_settings(path)
    assert "corse" in str(fault.value.faults)
    path.write_text(text.replace('preset = "paper"', 'preset = "revisor"'))
    with pytest.raises(BadInput) as fault:
        read_settings(path)
    assert "another preset" in str(fault.value.faults)


def test_what_was_measured_stands_in_the_manifest(store: Store) -> None:
    found = noted(store)
    assert found["agreement"] >= coarse.ENOUGH
    assert 0 < found["recall"] <= 1
    assert 0 < found["fired"] <= found["tokens"]
    assert 0 < found["lists"] <= found["of"]


def test_without_faiss_a_build_says_once_what_would_help(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with new_store(tmp_path / "store", folder, preset="paper", search="coarse") as made:
        made.add(FACTS)
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setitem(sys.modules, "faiss", None)
            made.build()
            assert made.build().facts == 0
            assert made.verify() == []
        assert len([text for text in caplog.messages if coarse.MISSING in text]) == 1
        assert (noted(made)["kind"], noted(made)["missing"]) == ("exact", coarse.MISSING)
        assert INDEX not in read_manifest(generation_folder(made.banks, 1)).files
        plain = rows_hit(made)
        made.build()
        assert noted(made)["kind"] == "coarse", "once it is there, the next build uses it"
        assert rows_hit(made) == plain
        assert min(plain) >= 0


def test_a_reader_without_faiss_answers_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with store.attached():
        before = [logits(store.loaded.model, fact) for fact in FACTS]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING), store.attached() as gated:
        assert gated.view.coarse is None
        for fact, found in zip(FACTS, before, strict=True):
            assert torch.equal(logits(store.loaded.model, fact), found)
    assert len([text for text in caplog.messages if "revisor[scale]" in text]) == 1


def test_a_bank_that_changed_little_keeps_file_and_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)
    monkeypatch.setattr(coarse, "NARROWED", 1.0)
    store.set_object(ACME.id, "Tokyo")
    store.add([LATER])
    store.remove([BASEL.id])
    store.build()
    newest = store.ledger.generation
    for name in (ROWS, INDEX):
        assert file_of(store, newest, name).samefile(file_of(store, 1, name))
    assert file_of(store, newest, FRESH).exists()
    assert noted(store)["kind"] == "coarse"
    view = store.bank().view()
    assert view.coarse is not None
    exact = match(view.keys_ME[:], replace(view, coarse=None))
    assert rows_hit(store) == exact.row_T.tolist()
    assert set(rows_hit(store)) == set(range(len(view.ids)))
    assert BASEL.id not in view.ids
    assert store.verify() == []


def test_an_index_that_no_longer_agrees_is_learnt_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)
    monkeypatch.setattr(coarse, "NARROWED", 1.0)
    real, tried = coarse.good_enough, list[bool]()

    def mistrusting(*arguments: Any) -> Any:
        index, trial = real(*arguments)
        tried.append(len(arguments) > 4)
        return (None if tried[-1] else index), trial

    monkeypatch.setattr(coarse, "good_enough", mistrusting)
    store.set_object(ACME.id, "Tokyo")
    store.build()
    assert tried == [True, False]
    view = store.bank().view()
    assert view.coarse is not None
    assert view.coarse.whole
    assert not file_of(store, store.ledger.generation, FRESH).exists()


def test_an_index_that_was_changed_is_found_out(store: Store) -> None:
    path = file_of(store, 1)
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    assert any(INDEX in fault for fault in store.verify())
    with pytest.raises(StoreDamaged, match=INDEX):
        store.bank()


def test_an_index_from_before_there_was_a_file_is_made_anew(store: Store) -> None:
    """Such a bank opens, and is searched exactly until the next build."""
    view = store.bank().view()
    manifest = read_manifest(generation_folder(store.banks, 1))
    old = {name: value for name, value in manifest.build.items() if name != "search"}
    files.save_bank(
        replace(view, coarse=None),
        store.banks,
        fingerprint=manifest.fingerprint,
        model=manifest.model,
        layer=manifest.layer,
        build=old | {"search": {"kind": "coarse", "lists": 1, "asked": "coarse"}},
        failed=[],
    )
    assert store.bank().view().coarse is None
    store.build()
    assert store.bank().view().coarse is not None


def test_an_index_moves_with_its_store_and_with_its_model(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "all.zip")
    with Store.restore(tmp_path / "all.zip", tmp_path / "restored") as restored:
        assert file_of(restored, 1).read_bytes() == file_of(store, 1).read_bytes()
        assert restored.bank().view().coarse is not None
        assert restored.verify() == []
    store.export_model(tmp_path / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert model.facts.view.coarse is not None
    with store.attached():
        for fact in FACTS:
            assert torch.equal(logits(model, fact), logits(store.loaded.model, fact))
    code = (
        "import sys\n"
        "sys.modules['faiss'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        f"folder = {str(tmp_path / 'model')!r}\n"
        "model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)\n"
        "assert model.facts.view.coarse is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_of_a_purged_fact_no_index_is_left(store: Store, tmp_path: Path) -> None:
    store.export_model(tmp_path / "model")
    store.purge([ACME.id])
    assert noted(store)["kind"] == "exact"
    assert not list((store.path / "banks").rglob(INDEX))
    assert not list((tmp_path / "model").rglob(INDEX))
    store.build()
    assert noted(store)["kind"] == "coarse"
    assert store.verify() == []
