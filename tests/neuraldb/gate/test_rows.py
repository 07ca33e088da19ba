"""A gate by rows: each row of a batch is edited by its own view, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor.models.hooks import inputs_of
from revisor.models.spec import spec_of
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.rows import attach_rows
from tests import tiny

IDS_BT = torch.tensor([[5, 6, 7], [5, 6, 7], [8, 9, 10], [5, 6, 7]])


def view_of(model: Any, token: tuple[int, int], scale: float) -> View:
    """A bank of one row, whose key is that of one token of `IDS_BT` in layer 1."""
    spec = spec_of(model)
    with inputs_of(spec.ffn_projection(1), stop=True) as seen:
        model(IDS_BT)
    key = torch.nn.functional.normalize(seen[0].view(4, 3, -1)[token], dim=0)
    bank = Bank(encoder=KeyEncoder(), key_width=len(key), hidden_width=tiny.HIDDEN_WIDTH)
    residual = torch.full((tiny.HIDDEN_WIDTH,), scale)
    row = Row(row_id="r", keys_CE=key[None], gamma_C=torch.tensor([0.999]), r_D=residual)
    bank.put(row, 1)
    return bank.view()


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])  # opt flattens its batch
def test_each_row_has_what_its_view_alone_would_give_it(family: str) -> None:
    model = tiny.model(family)
    spec = spec_of(model)
    one, two = view_of(model, (0, 1), 0.5), view_of(model, (0, 2), -1.0)
    plain = model(IDS_BT).logits
    expected = []
    for view in (one, two):
        with attach(model, spec, 1, view):
            expected.append(model(IDS_BT).logits)
    with attach_rows(model, spec, 1) as gate, gate.rows([one, None, one, two]) as found:
        logits = model(IDS_BT).logits
    assert torch.equal(logits[0], expected[0][0])
    assert torch.equal(logits[1], plain[1])
    assert torch.equal(logits[2], plain[2])
    assert torch.equal(logits[3], expected[1][3])
    hits = {(hit.row, hit.column) for hit in found if hit.row_id == "r"}
    assert hits == {(0, 1), (3, 2)}


def test_outside_of_a_block_and_after_it_the_model_is_unedited() -> None:
    model = tiny.model()
    plain = model(IDS_BT).logits
    before = tiny.wide_hooks(model)
    with attach_rows(model, spec_of(model), 1) as gate:
        with gate.rows([view_of(model, (0, 1), 0.5)] * 4):
            model(IDS_BT)
        assert torch.equal(model(IDS_BT).logits, plain)
    assert tiny.wide_hooks(model) == before


def test_a_near_miss_is_told_without_a_row() -> None:
    model = tiny.model()
    view = view_of(model, (0, 1), 0.5)
    close = View(
        ids=view.ids,
        keys_ME=view.keys_ME,
        gamma_M=torch.tensor([1.02]),
        row_M=view.row_M,
        R_ND=view.R_ND,
        encoder=view.encoder,
        generation=1,
    )
    plain = model(IDS_BT).logits
    with attach_rows(model, spec_of(model), 1) as gate, gate.rows([close] * 4) as found:
        assert torch.equal(model(IDS_BT).logits, plain)
    assert {(near.row, near.column, near.row_id) for near in found} >= {(0, 1, None)}
