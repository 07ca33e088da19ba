"""A coarse search over many keys decides as the exact one does, or is not used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from revisor.bank.bank import View
from revisor.bank.coarse import agreement, good_enough, learn
from revisor.bank.encode import KeyEncoder
from revisor.bank.files import load_bank, save_bank
from revisor.bank.search import nearest
from revisor.bank.vectors import stored
from revisor.gate.module import match

M, E = 3000, 24


def drawn(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    wide = torch.linspace(3, 0.3, E)  # as in a model, few directions dominate
    return F.normalize(torch.randn(count, E, generator=generator) * wide + 0.5, dim=-1)


KEYS, QUERIES = drawn(M, 1), drawn(200, 2)


def test_all_lists_looked_at_find_the_nearest_key() -> None:
    index = learn(KEYS)
    index = replace(index, probes=len(index.start_C))
    cosine_T, entry_T = index.nearest(QUERIES, KEYS)
    exact_T, exact_entry_T = nearest(QUERIES, KEYS)
    assert torch.equal(entry_T, exact_entry_T)
    torch.testing.assert_close(cosine_T, exact_T)


def test_every_key_is_in_one_list() -> None:
    index = learn(KEYS)
    assert torch.equal(index.entry_M.sort().values, torch.arange(M, dtype=torch.int32))
    assert int(index.start_C[0]) == 0
    assert bool((index.start_C.diff() >= 0).all())


def test_few_lists_find_a_key_from_near_it_and_its_exact_cosine() -> None:
    index = replace(learn(KEYS), probes=4)
    near = F.normalize(KEYS[::17] + 0.02 * drawn(len(KEYS[::17]), 5), dim=-1)
    cosine_T, entry_T = index.nearest(near, KEYS)
    exact_T, exact_entry_T = nearest(near, KEYS)
    right = entry_T == exact_entry_T
    assert float(right.float().mean()) > 0.95
    torch.testing.assert_close(cosine_T[right], exact_T[right])


@pytest.mark.parametrize("bits", [32, 8])
def test_it_is_made_good_enough_or_not_at_all(bits: int) -> None:
    keys = stored(KEYS, bits)
    gamma_M, row_M = torch.full((M,), 0.9), torch.arange(M, dtype=torch.int32)
    index, share = good_enough(keys, gamma_M, row_M, QUERIES)
    assert index is not None
    assert share >= 0.999
    assert share == agreement(index.nearest(QUERIES, keys), nearest(QUERIES, keys), gamma_M, row_M)


def test_a_gate_over_an_index_that_was_saved_decides_as_before(tmp_path: Path) -> None:
    gamma_M, row_M = torch.full((M,), 0.9), torch.arange(M, dtype=torch.int32)
    index, _ = good_enough(KEYS, gamma_M, row_M, QUERIES)
    view = View(
        ids=[str(row) for row in range(M)],
        keys_ME=KEYS,
        gamma_M=gamma_M,
        row_M=row_M,
        R_ND=torch.zeros(M, 2),
        encoder=KeyEncoder(),
        generation=1,
        coarse=index,
    )
    about = {"fingerprint": "f", "model": "m", "layer": 0, "build": {}, "failed": []}
    bank = load_bank(save_bank(view, tmp_path, **about))
    found, plain = match(QUERIES, bank.view()), match(QUERIES, view)
    assert bank.view().coarse is not None
    assert torch.equal(found.row_T, plain.row_T)
    assert torch.equal(found.row_T, match(QUERIES, replace(view, coarse=None)).row_T)
    bank.drop("7", 2)
    assert bank.view().coarse is None, "an index is of the rows it was made for"
