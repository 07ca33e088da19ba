"""Two editors that differ in γ alone share the rows that they optimise, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from revisor.bench.methods import neuraldb
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.neuraldb import BankMethod, BankOptions
from revisor.facts.fact import Fact
from revisor.models.load import wrap_model
from revisor.neuraldb.editing import settings
from revisor.neuraldb.editing.rows import build_rows
from tests import tiny

PAPER = BankOptions(layer=1, gamma=0.5)


@cache
def binding() -> Binding:
    return Binding(loaded=wrap_model("tiny", tiny.taught(), tiny.byte_level()))


def editor_of(options: BankOptions) -> BankMethod:
    return BankMethod(binding(), options, name="neuraldb")


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are written in fewer texts."""
    monkeypatch.setattr(settings, "PREFIXED", 1)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many facts each build of rows was given."""
    seen: list[int] = []
    real = build_rows

    def counted(loaded: Any, spec: Any, facts: Sequence[Fact], *rest: Any) -> Any:
        seen.append(len(facts))
        return real(loaded, spec, facts, *rest)

    monkeypatch.setattr(neuraldb, "build_rows", counted)
    return seen


@pytest.mark.parametrize("gamma", [-1.0, 0.8, 1.0])
def test_borrowed_rows_give_the_bank_of_rows_made_anew(builds: list[int], gamma: float) -> None:
    """At -1 each row fires everywhere, at 1 hardly any: the check repairs and drops otherwise."""
    facts = tiny.FACTS
    first = editor_of(PAPER)
    first.fit(facts[:4])
    first.fit(facts[4:])
    alone = editor_of(replace(PAPER, gamma=gamma))
    fails = [alone.fit(facts[:4]), alone.fit(facts[4:])]

    builds.clear()
    other = editor_of(replace(PAPER, gamma=gamma))
    assert other.borrow(first)
    assert [other.fit(facts[:4]), other.fit(facts[4:])] == fails
    assert builds == []
    assert other.spared_seconds > 0
    one, two = alone.view, other.view
    assert list(one.ids) == list(two.ids)
    assert torch.equal(one.gamma_M, two.gamma_M)
    for name in ("keys_ME", "R_ND"):
        mine, borrowed = getattr(one, name), getattr(two, name)
        assert isinstance(mine, torch.Tensor)
        assert torch.equal(mine, borrowed)


def test_an_editor_that_differs_in_more_makes_its_own_rows(builds: list[int]) -> None:
    first = editor_of(PAPER)
    first.fit(tiny.FACTS[:2])
    other = editor_of(replace(PAPER, layer=0))
    assert not other.borrow(first)
    other.fit(tiny.FACTS[:2])
    assert builds == [2, 2]


def test_a_fact_that_is_taken_out_is_out() -> None:
    editor = editor_of(PAPER)
    editor.fit(tiny.FACTS[:2])
    editor.undo([tiny.FACTS[0].id, "nobody"])
    assert set(editor.view.ids) <= {tiny.FACTS[1].id}
    assert set(editor.facts) == {tiny.FACTS[1].id}
