"""The nearest key, exactly, whatever block of queries is searched at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from revisor.neuraldb.bank import search
from revisor.neuraldb.bank.search import nearest


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=-1)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(2, 9), st.integers(1, 200))
def test_it_is_the_argmax_of_all_cosines_in_any_block(
    queries: int, keys: int, width: int, block: int
) -> None:
    q_TE, keys_ME = unit(queries, width, 1), unit(keys, width, 2)
    cosine_TM = (q_TE[:, None] * keys_ME[None]).sum(-1)
    with pytest.MonkeyPatch.context() as patch:
        for size in (search.BLOCK, block):
            patch.setattr(search, "BLOCK", size)
            cosine_T, entry_T = nearest(q_TE, keys_ME)
            torch.testing.assert_close(cosine_T, cosine_TM.amax(1))
            found = cosine_TM[torch.arange(queries), entry_T]
            torch.testing.assert_close(found, cosine_T)


def test_each_key_finds_itself() -> None:
    keys_ME = unit(50, 8, 0)
    cosine_T, entry_T = nearest(keys_ME, keys_ME)
    assert entry_T.tolist() == list(range(50))
    torch.testing.assert_close(cosine_T, torch.ones(50))


def test_of_equal_cosines_the_first_entry_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    keys_ME = unit(1, 8, 0).expand(5, 8).contiguous()
    for block in (search.BLOCK, 7):
        monkeypatch.setattr(search, "BLOCK", block)
        assert nearest(keys_ME[:4], keys_ME)[1].tolist() == [0] * 4
