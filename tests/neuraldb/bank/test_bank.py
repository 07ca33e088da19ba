"""A bank against a plain dict: what is put is what a view shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from revisor.errors import NotFound
from revisor.neuraldb.bank import vectors
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.encode import KeyEncoder

E, D = 4, 3


def new_bank() -> Bank:
    return Bank(encoder=KeyEncoder(), key_width=E, hidden_width=D)


def row(row_id: str, seed: int = 0, entries: int = 1) -> Row:
    generator = torch.Generator().manual_seed(seed)
    return Row(
        row_id=row_id,
        keys_CE=torch.randn(entries, E, generator=generator),
        gamma_C=torch.rand(entries, generator=generator),
        r_D=torch.randn(D, generator=generator),
    )


def same(a: Row, b: Row) -> bool:
    return (
        a.row_id == b.row_id
        and torch.equal(a.keys_CE, b.keys_CE)
        and torch.equal(a.gamma_C, b.gamma_C)
        and torch.equal(a.r_D, b.r_D)
    )


def rows_of(view: View) -> list[Row]:
    return [
        Row(
            row_id=row_id,
            keys_CE=view.keys_ME[view.row_M == index],
            gamma_C=view.gamma_M[view.row_M == index],
            r_D=view.R_ND[index],
        )
        for index, row_id in enumerate(view.ids)
    ]


def assert_shows(view: View, rows: list[Row]) -> None:
    assert list(view.ids) == [one.row_id for one in rows]
    assert len(view.keys_ME) == sum(len(one.keys_CE) for one in rows)
    assert all(same(a, b) for a, b in zip(rows_of(view), rows, strict=True))


def test_a_new_bank_is_empty() -> None:
    bank = new_bank()
    assert (len(bank), bank.ids, bank.generation) == (0, (), 0)
    view = bank.view()
    assert view.empty
    assert (view.keys_ME.shape, view.R_ND.shape) == ((0, E), (0, D))


def test_a_row_comes_back_as_it_was_put() -> None:
    bank = new_bank()
    put = row("a", 1, entries=3)
    bank.put(put)
    assert "a" in bank
    assert same(bank.get("a"), put)
    assert list(bank.ids) == ["a"]
    assert_shows(bank.view(), [put])


def test_put_replaces_the_row_of_the_same_id() -> None:
    bank = new_bank()
    bank.put(row("a", 1, entries=2))
    bank.put(row("b", 2))
    bank.put(row("a", 3))
    assert len(bank) == 2
    assert_shows(bank.view(), [row("b", 2), row("a", 3)])


def test_a_dropped_row_is_gone() -> None:
    bank = new_bank()
    bank.put(row("a"))
    bank.drop("a")
    assert "a" not in bank
    assert bank.view().empty


@pytest.mark.parametrize("known", [False, True], ids=["never put", "dropped before"])
def test_an_unknown_row_is_named(known: bool) -> None:
    bank = new_bank()
    if known:
        bank.put(row("a"))
        bank.drop("a")
    with pytest.raises(NotFound, match="'a'"):
        bank.drop("a")
    with pytest.raises(NotFound, match="'a'"):
        bank.get("a")


def test_a_view_can_leave_rows_out() -> None:
    bank = new_bank()
    for seed, name in enumerate("abc"):
        bank.put(row(name, seed, entries=seed + 1))
    assert_shows(bank.view(without={"b"}), [row("a", 0), row("c", 2, entries=3)])
    assert bank.view(without={"a", "b", "c"}).empty


def test_rows_survive_the_growth_of_the_arrays() -> None:
    bank = new_bank()
    rows = [row(f"r{index}", index, entries=1 + index % 3) for index in range(300)]
    for one in rows:
        bank.put(one)
    assert_shows(bank.view(), rows)


def test_a_view_does_not_change_with_its_bank() -> None:
    bank = new_bank()
    bank.put(row("a", 1))
    view = bank.view()
    bank.put(row("a", 2))
    bank.put(row("b", 3))
    assert_shows(view, [row("a", 1)])


def test_a_view_stays_where_it_is_and_knows_the_dtype_of_its_model() -> None:
    bank = new_bank()
    bank.put(row("a", 1))
    view = bank.view()
    moved = view.to(torch.device("cpu"), torch.bfloat16)
    assert (moved.dtype, moved.device.type) == (torch.bfloat16, "cpu")
    assert moved.keys_ME is view.keys_ME
    assert moved.R_ND is view.R_ND


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_a_bank_over_a_view_shares_it_until_it_changes(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "COPIED", 0)
    old = Bank(encoder=KeyEncoder(), key_width=E, hidden_width=2, bits=bits)
    for seed, name in enumerate("abc"):
        plain = row(name, seed, entries=seed + 1)
        old.put(replace(plain, r_D=plain.r_D[:2]))
    view = old.view()
    bank = Bank.of(view)
    assert bank.view() is view
    bank.drop("b")
    put = replace(old.get("a"), row_id="d", gamma_C=torch.ones(1))
    bank.put(put)
    changed = bank.view()
    assert list(changed.ids) == ["a", "c", "d"]
    assert torch.equal(changed.keys_ME[:], torch.cat([view.keys_ME[:][[0, 3, 4, 5]], put.keys_CE]))
    assert torch.equal(changed.R_ND[:], torch.stack([view.R_ND[0], view.R_ND[2], put.r_D]))
    assert bank.present(["d", "b", "a"]) == ["a", "d"]
    assert bank.remembers(["b"])
    assert not bank.remembers(["x"])
    assert_shows(bank.view(without={"d", "a"}), [bank.get("c")])


CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.integers(0, 3),  # entries of a put; 0 drops
        st.booleans(),  # the bank is opened anew over its view
    ),
    max_size=60,
)


@given(CHANGES)
def test_a_bank_is_a_dict_whatever_happens_to_it(changes: list[tuple[str, int, bool]]) -> None:
    bank, plain = Bank.of(new_bank().view()), dict[str, Row]()
    for seed, (name, entries, anew) in enumerate(changes):
        if anew:
            bank = Bank.of(replace(bank.view(), since=None))
        known = plain.pop(name, None)
        if entries:
            plain[name] = row(name, seed, entries)
            bank.put(plain[name])
        elif known is None:
            with pytest.raises(NotFound):
                bank.drop(name)
        else:
            bank.drop(name)
        assert bank.ids == tuple(plain)
    assert_shows(bank.view(), list(plain.values()))
    assert_shows(Bank.of(bank.view()).view(), list(plain.values()))
    some = set("ab") & plain.keys()
    assert_shows(bank.view(without=set("ab")), [plain[i] for i in plain if i not in some])
