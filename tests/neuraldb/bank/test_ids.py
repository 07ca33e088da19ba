"""Ids as tensors are the strings they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from revisor.neuraldb.bank.ids import Ids, PickedIds


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


@given(
    st.lists(st.text(alphabet="abé", max_size=4), max_size=6),
    st.lists(st.text(alphabet="abé", max_size=4), max_size=3),
)
def test_every_place_of_some_ids_is_found(plain: list[str], wanted: list[str]) -> None:
    there = [place for place, row_id in enumerate(plain) if row_id in wanted]
    assert Ids.of(plain).places(wanted) == there


def test_an_id_is_found_as_a_whole() -> None:
    ids = Ids.of(["a", "ab", "b"])
    assert [ids.place(row_id) for row_id in ("a", "ab", "b", "ba", "")] == [0, 1, 2, None, None]
    assert Ids.of([]).place("a") is None


@given(st.lists(st.text(max_size=3), max_size=5), st.lists(st.text(max_size=3), max_size=5))
def test_some_of_two_sequences_are_a_sequence(first: list[str], then: list[str]) -> None:
    every = [*first, *then]
    chosen = list(range(0, len(every), 2))
    picked = PickedIds(Ids.of(first), then, torch.tensor(chosen, dtype=torch.long))
    plain = [every[place] for place in chosen]
    assert list(picked) == plain
    assert [picked[place] for place in range(-len(plain), len(plain))] == plain + plain
    assert picked[1:] == tuple(plain[1:])
    assert picked == tuple(plain)
