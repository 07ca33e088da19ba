"""The gate against the paper's equation, written as a loop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.search import unit
from revisor.neuraldb.gate.match import MISS, match


def view_of(rows: list[Row], width: int, hidden: int) -> View:
    bank = Bank(key_width=width, hidden_width=hidden)
    for row in rows:
        bank.put(row)
    return bank.view()


def one_row(name: str, keys: torch.Tensor, gamma: float, residual: torch.Tensor) -> Row:
    return Row(
        row_id=name,
        keys_CE=F.normalize(keys, dim=-1),
        gamma_C=torch.full((len(keys),), gamma),
        r_D=residual,
    )


def reference(k_TF: torch.Tensor, view: View) -> list[int]:
    """Which row fires: 1[cos(k, k_j) > γ_j], j = argmax_i cos(k, k_i), token by token."""
    rows = []
    for q_E in unit(k_TF):
        cosines = [float(q_E @ key_E) for key_E in view.keys_ME]
        best = max(range(len(cosines)), key=lambda entry: cosines[entry])
        fires = cosines[best] > float(view.gamma_M[best])
        rows.append(int(view.row_M[best]) if fires else MISS)
    return rows


@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.integers(2, 8),
    st.integers(0, 1000),
)
def test_the_gate_is_the_reference_loop(
    tokens: int, entries: list[int], width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rows = [
        Row(
            row_id=f"r{index}",
            keys_CE=F.normalize(draw(count, width), dim=-1),
            gamma_C=0.8 * torch.rand(count, generator=generator),
            r_D=draw(1),
        )
        for index, count in enumerate(entries)
    ]
    view = view_of(rows, width, 1)
    k_TF = draw(tokens, width)
    assert match(k_TF, view).row_T.tolist() == reference(k_TF, view)


def test_each_entry_has_its_own_threshold() -> None:
    keys = torch.eye(3)
    rows = [
        one_row("low", keys[:1], 0.5, torch.tensor([1.0])),
        one_row("high", keys[1:2], 0.9, torch.tensor([2.0])),
    ]
    k_TF = torch.tensor([[0.8, 0.0, 0.6], [0.0, 0.8, 0.6]])
    hits = match(k_TF, view_of(rows, 3, 1))
    assert hits.row_T.tolist() == [0, MISS]
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
