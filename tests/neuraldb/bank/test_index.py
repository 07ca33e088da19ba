"""A coarse search over many keys decides as the exact one does, or is not used."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import faiss
import pytest
import torch
import torch.nn.functional as F

from revisor.errors import StoreDamaged
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.files import load_bank, save_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.search import (
    Coarse,
    compared,
    good_enough,
    learn,
    nearest,
    read_index,
)
from revisor.neuraldb.bank.storage import INDEX
from revisor.neuraldb.gate.match import match

M, E = 3000, 24
ABOUT = {"fingerprint": "f", "model": "m", "layer": 0, "build": {}, "failed": []}


def drawn(count: int, seed: int, width: int = E) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    wide = torch.linspace(3, 0.3, width)  # as in a model, few directions dominate
    return F.normalize(torch.randn(count, width, generator=generator) * wide + 0.5, dim=-1)


KEYS, QUERIES = drawn(M, 1), drawn(200, 2)
GAMMA, ROW = torch.full((M,), 0.75), torch.arange(M, dtype=torch.int32)


def wide_open(index: Coarse) -> Coarse:
    return replace(index, probes=index.lists)


def written(index: Coarse, path: Path) -> bytes:
    index.write(path)
    return path.read_bytes()


def view_over(keys: torch.Tensor, index: Coarse | None) -> View:
    return View(
        ids=tuple(str(row) for row in range(M)),
        keys_ME=keys,
        gamma_M=GAMMA,
        row_M=ROW,
        R_ND=torch.zeros(M, 2),
        coarse=index,
    )


def bank_over(index: Coarse | None) -> Bank:
    bank = Bank.of(view_over(KEYS, None))
    bank.index = index
    return bank


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a bank that was saved with an index."""
    index, _ = good_enough(KEYS, GAMMA, ROW, QUERIES)
    return save_bank(bank_over(index), tmp_path, **ABOUT)


@pytest.mark.parametrize("width", [E, 300], ids=["whole", "narrowed"])
def test_all_lists_looked_at_find_the_nearest_key(width: int) -> None:
    keys, queries = drawn(M, 1, width), drawn(200, 2, width)
    cosine_T, entry_T = wide_open(learn(keys)).nearest(queries, keys)
    exact_T, exact_entry_T = nearest(queries, keys)
    right_T = entry_T == exact_entry_T
    assert float(right_T.float().mean()) >= (1 if width == E else 0.9)
    torch.testing.assert_close(cosine_T[right_T], exact_T[right_T])


def test_many_queries_are_answered_as_one_by_one() -> None:
    index, queries = wide_open(learn(KEYS)), drawn(3000, 7)
    cosine_T, entry_T = index.nearest(queries, KEYS)
    for at in (0, 1, 2999):
        one_T, place_T = index.nearest(queries[at : at + 1], KEYS)
        assert int(place_T) == int(entry_T[at])
        torch.testing.assert_close(one_T[0], cosine_T[at])
    assert len(index.nearest(queries[:0], KEYS)[1]) == 0


@pytest.mark.parametrize("count", [1, 3, 40])
def test_few_keys_have_an_index_too(count: int) -> None:
    index = learn(KEYS[:count])
    found, exact = index.nearest(QUERIES, KEYS[:count]), nearest(QUERIES, KEYS[:count])
    assert compared(found, exact, GAMMA[:count], ROW[:count]).agreement > 0.9
    assert bool((found[0] <= exact[0] + 1e-6).all())


def test_of_equal_keys_the_first_is_found() -> None:
    keys = torch.cat([KEYS, KEYS])
    _, entry_T = wide_open(learn(keys)).nearest(QUERIES, keys)
    assert torch.equal(entry_T, nearest(QUERIES, KEYS)[1])


def test_few_lists_find_a_key_from_near_it_and_its_exact_cosine() -> None:
    index = replace(learn(KEYS), probes=4)
    near = F.normalize(KEYS[::17] + 0.02 * drawn(len(KEYS[::17]), 5), dim=-1)
    cosine_T, entry_T = index.nearest(near, KEYS)
    exact_T, exact_entry_T = nearest(near, KEYS)
    right = entry_T == exact_entry_T
    assert float(right.float().mean()) > 0.95
    torch.testing.assert_close(cosine_T[right], exact_T[right])


def test_it_is_made_good_enough_or_not_at_all() -> None:
    index, trial = good_enough(KEYS, GAMMA, ROW, QUERIES)
    assert index is not None
    assert trial.agreement >= 0.999
    assert trial.fired > 50
    exact = nearest(QUERIES, KEYS)
    assert trial == compared(index.nearest(QUERIES, KEYS), exact, GAMMA, ROW)
    assert (trial.tokens, trial.fired) == (200, int((exact[0] > GAMMA[0]).sum()))
    assert 0 < trial.recall <= 1


def test_the_same_keys_give_the_same_index_by_any_number_of_threads(tmp_path: Path) -> None:
    keys = drawn(M, 1, 300)
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4, 4):
            faiss.omp_set_num_threads(threads)
            torch.set_num_threads(threads)
            found.append(written(learn(keys), tmp_path / "index"))
            assert faiss.omp_get_max_threads() == threads, "what was set is set again"
    finally:
        faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert found[0] == found[1] == found[2]
    assert written(learn(keys, seed=1), tmp_path / "index") != found[0]


@pytest.mark.parametrize("names", ["faiss, torch", "torch, faiss"])
def test_it_goes_with_torch_whichever_is_imported_first(names: str) -> None:
    code = f"""
import {names}
from revisor.neuraldb.bank.search import learn
keys = torch.nn.functional.normalize(torch.randn(900, 300), dim=1)
assert learn(keys).nearest(keys[:50], keys)[1].tolist() == list(range(50))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_gate_over_an_index_that_was_saved_decides_as_before(
    folder: Path, tmp_path: Path
) -> None:
    bank = load_bank(folder, check=True)
    view = bank.view()
    assert view.coarse is not None
    assert view.nbytes > replace(view, coarse=None).nbytes
    found = match(QUERIES, view)
    index, _ = good_enough(KEYS, GAMMA, ROW, QUERIES)
    plain = match(QUERIES, view_over(KEYS, index))
    assert torch.equal(found.row_T, plain.row_T)
    assert torch.equal(found.cosine_T, plain.cosine_T)
    assert torch.equal(found.row_T, match(QUERIES, replace(view, coarse=None)).row_T)
    again = save_bank(bank, tmp_path / "again", **ABOUT)
    assert (again / INDEX).read_bytes() == (folder / INDEX).read_bytes()


def test_where_rows_change_or_are_left_out_all_keys_are_looked_at(folder: Path) -> None:
    bank = load_bank(folder)
    assert bank.view(without={"nobody"}).coarse is not None
    assert bank.view(without={"7"}).coarse is None
    bank.drop("7")
    bank.put(Row(row_id="new", keys_CE=KEYS[7:8], gamma_C=GAMMA[:1], r_D=torch.zeros(2)))
    view = bank.view()
    assert view.coarse is None
    assert view.ids[int(match(KEYS[7:8], view).row_T)] == "new"
    assert INDEX not in read_manifest(save_bank(bank, folder.parent, **ABOUT)).files


def test_without_faiss_an_index_is_left_aside_with_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_index = match(QUERIES, load_bank(folder).view())
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        view = load_bank(folder, check=True).view()
    assert view.coarse is None
    assert len(caplog.messages) == 1
    assert "revisor[scale]" in caplog.messages[0]
    assert torch.equal(match(QUERIES, view).row_T, with_index.row_T)


def test_an_index_that_was_changed_is_found_out(folder: Path) -> None:
    path = folder / INDEX
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    with pytest.raises(StoreDamaged, match=INDEX):
        load_bank(folder, check=True)


def test_an_index_of_other_keys_or_no_index_at_all_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other keys"):
        read_index(folder / INDEX, KEYS[:-1])
    (tmp_path / INDEX).write_bytes(b"no index of faiss's")
    with pytest.raises(ValueError, match="cannot read"):
        read_index(tmp_path / INDEX, KEYS)
    (folder / INDEX).write_bytes(b"no index of faiss's")
    with pytest.raises(StoreDamaged, match="cannot read"):
        load_bank(folder)


def test_where_keys_lie_on_a_gpu_all_are_looked_at() -> None:
    view = view_over(KEYS, learn(KEYS))
    assert view.to(torch.device("cpu"), torch.float32).coarse is view.coarse
    assert view.to(torch.device("meta"), torch.float32).coarse is None
