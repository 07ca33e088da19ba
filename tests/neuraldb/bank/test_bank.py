"""A bank against a plain dict: what is put is what a view shows."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from revisor.errors import NotFound
from revisor.neuraldb.bank.bank import Bank, Row, View

E, D = 4, 3


def new_bank() -> Bank:
    return Bank(key_width=E, hidden_width=D)


def row(row_id: str, seed: int = 0, entries: int = 1) -> Row:
    generator = torch.Generator().manual_seed(seed)
    return Row(
        row_id=row_id,
        keys_CE=torch.randn(entries, E, generator=generator),
        gamma_C=torch.rand(entries, generator=generator),
        r_D=torch.randn(D, generator=generator),
    )


def same(a: Row, b: Row) -> bool:
    names = [field.name for field in fields(Row)][1:]
    return a.row_id == b.row_id and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


def assert_shows(view: View, rows: list[Row]) -> None:
    assert list(view.ids) == [one.row_id for one in rows]
    assert len(view.keys_ME) == sum(len(one.keys_CE) for one in rows)
    assert all(same(a, b) for a, b in zip(view.rows(), rows, strict=True))
    for index, one in enumerate(rows):
        assert torch.equal(view.keys_ME[view.row_M == index], one.keys_CE)


def test_a_new_bank_is_empty() -> None:
    bank = new_bank()
    assert (len(bank), bank.ids, bank.generation) == (0, (), 0)
    view = bank.view()
    assert view.empty
    assert (view.keys_ME.shape, view.R_ND.shape) == ((0, E), (0, D))


def test_put_replaces_the_row_of_the_same_id() -> None:
    bank = new_bank()
    bank.put(row("a", 1, entries=2))
    bank.put(row("b", 2))
    bank.put(row("a", 3))
    assert same(bank.get("a"), row("a", 3))
    assert_shows(bank.view(), [row("b", 2), row("a", 3)])


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


def test_a_view_does_not_change_with_its_bank() -> None:
    bank = new_bank()
    bank.put(row("a", 1))
    view = bank.view()
    bank.put(row("a", 2))
    bank.put(row("b", 3))
    assert_shows(view, [row("a", 1)])


def test_what_changed_since_a_bank_was_opened_is_told() -> None:
    old = new_bank()
    for seed, name in enumerate("abc"):
        old.put(row(name, seed, entries=seed + 1))
    bank = Bank.of(old.view())
    assert bank.changes() == ([], [])
    bank.drop("b")
    bank.put(row("c", 7))
    bank.put(row("d", 8))
    gone, fresh = bank.changes()
    assert gone == [1, 2]
    assert [one.row_id for one in fresh] == ["c", "d"]
    assert bank.present(["d", "b", "a"]) == ["a", "d"]
    assert bank.remembers(["b"])
    assert not bank.remembers(["x"])


def test_a_row_arrives_in_another_process_bit_for_bit() -> None:
    put = row("a", 1, entries=2)
    assert same(pickle.loads(pickle.dumps(put)), put)  # noqa: S301


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
            bank = Bank.of(bank.view())
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
    some = set("ab") & plain.keys()
    assert_shows(bank.view(without=set("ab")), [plain[i] for i in plain if i not in some])
