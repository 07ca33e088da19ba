"""The gate against the paper's equation, written as a loop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from revisor.errors import UsageError
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.encode import KeyEncoder, fit_whitening
from revisor.neuraldb.bank.names import name_hashes
from revisor.neuraldb.gate.module import MISS, UNSEEN, _match_named_densely, gate, match


def view_of(
    rows: list[Row],
    width: int,
    hidden: int,
    encoder: KeyEncoder | None = None,
    *,
    named: bool = False,
) -> View:
    bank = Bank(encoder=encoder or KeyEncoder(), key_width=width, hidden_width=hidden, named=named)
    for row in rows:
        bank.put(row, 1)
    return bank.view()


def one_row(name: str, keys: torch.Tensor, gamma: float, residual: torch.Tensor) -> Row:
    return Row(
        row_id=name,
        keys_CE=F.normalize(keys, dim=-1),
        gamma_C=torch.full((len(keys),), gamma),
        r_D=residual,
    )


def reference(k_TF: torch.Tensor, view: View) -> tuple[list[int], torch.Tensor]:
    """g(k) = r_j 1[cos(k, k_j) > γ_j], j = argmax_i cos(k, k_i), token by token."""
    rows, deltas = [], []
    for q_E in view.encoder.encode(k_TF):
        cosines = [float(q_E @ key_E) for key_E in view.keys_ME]
        best = max(range(len(cosines)), key=lambda entry: cosines[entry])
        fires = cosines[best] > float(view.gamma_M[best])
        row = int(view.row_M[best])
        rows.append(row if fires else MISS)
        deltas.append(view.R_ND[row] if fires else torch.zeros(view.R_ND.shape[1]))
    return rows, torch.stack(deltas)


@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.integers(2, 8),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 1000),
)
def test_the_gate_is_the_reference_loop(
    tokens: int, entries: list[int], width: int, hidden: int, whiten: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    encoder = fit_whitening(draw(50, width)) if whiten else KeyEncoder()
    rows = [
        Row(
            row_id=f"r{index}",
            keys_CE=F.normalize(draw(count, width), dim=-1),
            gamma_C=0.8 * torch.rand(count, generator=generator),
            r_D=draw(hidden),
        )
        for index, count in enumerate(entries)
    ]
    view = view_of(rows, width, hidden, encoder)
    k_TF = draw(tokens, width)
    delta_TD, hits = gate(k_TF, view)
    wanted, delta = reference(k_TF, view)
    assert hits.row_T.tolist() == wanted
    assert torch.equal(delta_TD, delta)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.integers(0, 1000),
)
def test_a_named_gate_compares_the_rows_that_are_named(
    entries: list[int], text: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [
        Row(
            row_id=f"r{row}",
            keys_CE=F.normalize(torch.randn(count, 5, generator=generator), dim=-1),
            gamma_C=0.8 * torch.rand(count, generator=generator),
            r_D=torch.randn(3, generator=generator),
            names_H=name_hashes([[row % 3], [1, row % 2]]),
        )
        for row, count in enumerate(entries)
    ]
    view = view_of(rows, 5, 3, named=True)
    assert view.names is not None
    k_TF = torch.randn(len(text), 5, generator=generator)
    ids_BT = torch.tensor([text])
    hits = match(k_TF, view, ids_BT)
    spans = view.names.spans(ids_BT, len(text))
    named = set()
    if spans is not None:
        ended = view.names.ended(ids_BT, spans)
        named = set(zip(ended.last_O[ended.place_R].tolist(), ended.row_R.tolist(), strict=True))
    for token in range(len(text)):
        alone = [row for index, row in enumerate(rows) if (token, index) in named]
        wanted, cosine = MISS, UNSEEN
        if alone:
            found = match(k_TF[token][None], view_of(alone, 5, 3))
            cosine = float(found.cosine_T)
            if int(found.row_T) != MISS:
                wanted = rows.index(alone[int(found.row_T)])
        assert int(hits.row_T[token]) == wanted
        assert float(hits.cosine_T[token]) == pytest.approx(cosine, abs=1e-6)
    dense = _match_named_densely(k_TF, view, view.names, ids_BT)
    assert torch.equal(dense.row_T, hits.row_T)
    torch.testing.assert_close(dense.cosine_T, hits.cosine_T)
    torch.testing.assert_close(dense.gamma_T, hits.gamma_T)


def test_a_named_bank_without_ids_says_what_to_do() -> None:
    row = one_row("a", torch.eye(2)[:1], 0.5, torch.ones(1))
    with pytest.raises(UsageError, match="input_ids"):
        match(torch.eye(2), view_of([row], 2, 1, named=True))


def test_each_entry_has_its_own_threshold() -> None:
    keys = torch.eye(3)
    rows = [
        one_row("low", keys[:1], 0.5, torch.tensor([1.0])),
        one_row("high", keys[1:2], 0.9, torch.tensor([2.0])),
    ]
    k_TF = torch.tensor([[0.8, 0.0, 0.6], [0.0, 0.8, 0.6]])
    delta_TD, hits = gate(k_TF, view_of(rows, 3, 1))
    assert hits.row_T.tolist() == [0, MISS]
    assert delta_TD.tolist() == [[1.0], [0.0]]
    torch.testing.assert_close(hits.cosine_T, torch.tensor([0.8, 0.8]))
    torch.testing.assert_close(hits.gamma_T, torch.tensor([0.5, 0.9]))


def test_the_nearest_entry_decides_even_if_another_would_fire() -> None:
    rows = [
        one_row("near", torch.tensor([[1.0, 0.1]]), 0.9999, torch.tensor([1.0])),
        one_row("far", torch.tensor([[1.0, 1.0]]), 0.1, torch.tensor([2.0])),
    ]
    assert match(torch.tensor([[1.0, 0.0]]), view_of(rows, 2, 1)).row_T.tolist() == [MISS]


def test_it_fires_strictly_above_the_threshold() -> None:
    key = torch.tensor([[0.6, 0.8]])
    for gamma, row in ((1.0, MISS), (0.9999, 0)):
        view = view_of([one_row("a", torch.tensor([[1.0, 0.0]]), gamma, torch.ones(1))], 2, 1)
        assert match(torch.tensor([[3.0, 0.0]]), view).row_T.tolist() == [row]
    view = view_of([one_row("a", torch.tensor([[0.0, 1.0]]), 0.8, torch.ones(1))], 2, 1)
    cosine = match(key, view).cosine_T
    exact = view_of([one_row("a", torch.tensor([[0.0, 1.0]]), float(cosine), torch.ones(1))], 2, 1)
    assert match(key, exact).row_T.tolist() == [MISS]


def test_any_entry_leads_to_its_row() -> None:
    rows = [
        one_row("a", torch.eye(4)[:3], 0.9, torch.tensor([1.0])),
        one_row("b", torch.eye(4)[3:], 0.9, torch.tensor([2.0])),
    ]
    assert match(torch.eye(4), view_of(rows, 4, 1)).row_T.tolist() == [0, 0, 0, 1]


def test_an_empty_view_gives_exact_zeros() -> None:
    delta_TD, hits = gate(torch.randn(5, 4), view_of([], 4, 3))
    assert torch.equal(delta_TD, torch.zeros(5, 3))
    assert hits.row_T.tolist() == [MISS] * 5


def test_where_nothing_fires_the_residual_is_exactly_zero_even_for_an_infinite_one() -> None:
    row = one_row("a", torch.tensor([[1.0, 0.0]]), 0.9, torch.tensor([float("inf")]))
    delta_TD, _ = gate(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), view_of([row], 2, 1))
    assert delta_TD.tolist() == [[0.0], [float("inf")]]


def test_the_residual_has_the_dtype_of_the_view() -> None:
    row = one_row("a", torch.tensor([[1.0, 0.0]]), 0.9, torch.ones(1))
    view = view_of([row], 2, 1).to(torch.device("cpu"), torch.bfloat16)
    assert gate(torch.eye(2, dtype=torch.bfloat16), view)[0].dtype == torch.bfloat16
