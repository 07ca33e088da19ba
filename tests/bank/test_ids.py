"""Ids as tensors are the strings they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from revisor.bank.ids import Ids


@given(st.lists(st.text(), max_size=8))
def test_they_come_back_as_they_were(plain: list[str]) -> None:
    ids = Ids.of(plain)
    assert list(ids) == plain
    assert [ids[place] for place in range(-len(plain), len(plain))] == plain + plain
    assert ids[1:3] == tuple(plain[1:3])
    assert ids == tuple(plain)
    assert ids == Ids.of(list(plain))
    assert ids != ["another", *plain]
    assert Ids.of(ids) is ids


def test_there_is_none_behind_the_last() -> None:
    with pytest.raises(IndexError):
        Ids.of(["a"])[1]


def test_tensors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="fit together"):
        Ids(torch.zeros(3, dtype=torch.uint8), torch.tensor([1, 2]))
