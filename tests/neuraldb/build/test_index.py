"""How the keys of a bank are searched: as the settings say, and as there is FAISS."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import StoreDamaged
from revisor.facts.fact import Fact
from revisor.neuraldb.bank import files, search
from revisor.neuraldb.bank.files import generation_folder
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.storage import FRESH, INDEX, ROWS
from revisor.neuraldb.gate.match import match
from revisor.neuraldb.method import (
    Workspace,
    attached,
    bank_faults,
    build,
    built_generation,
    open_bank,
    purge_rows,
)
from tests.neuraldb.banks import ACME, BASEL, FACTS, bank_of, change, logits, put, remove, workspace

LATER = Fact(subject="Cora", prompt="{} stands in", object="Japan")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("indexed") / "ws"
    ws = workspace(path, folder, search="coarse")
    with ws.ledger:
        put(ws, *FACTS)
        build(ws)
    return path


@pytest.fixture
def ws(indexed: Path, folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(indexed, tmp_path / "copy")
    copied = workspace(tmp_path / "copy", folder, search="coarse")
    with copied.ledger:
        yield copied


def noted(ws: Workspace) -> dict[str, Any]:
    """What the newest bank says of its search."""
    newest = built_generation(ws)
    assert newest is not None
    found = read_manifest(generation_folder(ws.banks, newest)).build["search"]
    assert isinstance(found, dict)
    return found


def file_of(ws: Workspace, generation: int, name: str = INDEX) -> Path:
    return generation_folder(ws.banks, generation) / name


def rows_hit(ws: Workspace) -> list[int]:
    view = bank_of(ws).view()
    return match(view.keys_ME, view).row_T.tolist()


@pytest.mark.parametrize(
    ("asked", "large", "kind"),
    [
        ("auto", False, "exact"),
        ("auto", True, "coarse"),
        ("exact", True, "exact"),
        ("coarse", False, "coarse"),
    ],
)
def test_the_setting_says_how_keys_are_searched(
    asked: str,
    large: bool,
    kind: str,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr(search, "FROM", 2)
    made = workspace(tmp_path / "ws", folder, search=asked)
    with made.ledger:
        put(made, *FACTS)
        build(made)
        assert (noted(made)["kind"], noted(made)["asked"]) == (kind, asked)
        assert (bank_of(made).view().coarse is not None) == (kind == "coarse")
        assert list(bank_faults(made)) == []


def test_another_setting_takes_hold_at_the_next_build(ws: Workspace, folder: Path) -> None:
    assert build(ws).facts == 0
    assert not file_of(ws, 1).parent.name.endswith(".2"), "there was nothing to do"
    for asked, kind in (("exact", "exact"), ("coarse", "coarse")):
        other = workspace(ws.path, folder, ledger=ws.ledger, search=asked)
        before = bank_of(other).view()
        assert build(other).facts == 0
        assert noted(other)["kind"] == kind
        assert torch.equal(bank_of(other).view().R_ND, before.R_ND)
        assert list(bank_faults(other)) == []


def test_what_was_measured_stands_in_the_manifest(ws: Workspace) -> None:
    found = noted(ws)
    assert found["agreement"] >= search.ENOUGH
    assert 0 < found["recall"] <= 1
    assert 0 < found["fired"] <= found["tokens"]
    assert 0 < found["lists"] <= found["of"]


def test_without_faiss_a_build_says_once_what_would_help(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = workspace(tmp_path / "ws", folder, search="coarse")
    with made.ledger:
        put(made, *FACTS)
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setitem(sys.modules, "faiss", None)
            build(made)
            assert build(made).facts == 0
        assert len([text for text in caplog.messages if search.MISSING in text]) == 1
        assert (noted(made)["kind"], noted(made)["missing"]) == ("exact", search.MISSING)
        plain = rows_hit(made)
        build(made)
        assert noted(made)["kind"] == "coarse", "once it is there, the next build uses it"
        assert rows_hit(made) == plain
        assert min(plain) >= 0


def test_a_reader_without_faiss_answers_the_same(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with attached(ws):
        before = [logits(ws.loaded.model, fact) for fact in FACTS]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING), attached(ws) as gated:
        assert gated.view.coarse is None
        for fact, found in zip(FACTS, before, strict=True):
            assert torch.equal(logits(ws.loaded.model, fact), found)
    assert len([text for text in caplog.messages if "revisor[scale]" in text]) == 1


def test_a_bank_that_changed_little_keeps_its_file_and_gets_an_index_of_its_own(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)
    change(ws, ACME, "Tokyo")
    put(ws, LATER)
    remove(ws, BASEL)
    build(ws)
    newest = ws.ledger.generation
    assert file_of(ws, newest, ROWS).samefile(file_of(ws, 1, ROWS))
    assert file_of(ws, newest, FRESH).exists()
    assert noted(ws)["kind"] == "coarse"
    view = bank_of(ws).view()
    assert view.coarse is not None
    exact = match(view.keys_ME, replace(view, coarse=None))
    assert rows_hit(ws) == exact.row_T.tolist()
    assert BASEL.id not in view.ids
    assert list(bank_faults(ws)) == []


def test_an_index_that_was_changed_is_found_out(ws: Workspace) -> None:
    path = file_of(ws, 1)
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    assert any(INDEX in fault for fault in bank_faults(ws))
    with pytest.raises(StoreDamaged, match=INDEX):
        open_bank(ws)


def test_of_a_purged_fact_no_index_is_left(ws: Workspace) -> None:
    purge_rows(ws.root, [ACME.id])
    assert noted(ws)["kind"] == "exact"
    assert not list(ws.root.rglob(INDEX))
    ws.ledger.purge([ACME.id], actor="ann")
    build(ws)
    assert noted(ws)["kind"] == "coarse"
    assert list(bank_faults(ws)) == []
