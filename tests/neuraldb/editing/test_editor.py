"""Two editors that differ in γ alone share the rows that they optimise, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.editing import editor as editing
from revisor.neuraldb.editing.editor import BankEditor
from revisor.neuraldb.editing.request import ContextPlan
from revisor.neuraldb.editing.rows import build_rows
from revisor.neuraldb.editing.settings import BuildSettings
from tests import tiny

PREFIXES = ("The tower is old.", "She lives in the city.")
PAPER = BuildSettings(
    layer=1, gamma=0.5, contexts=ContextPlan(prefixes=PREFIXES, per_fact=1, chat=False)
)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many facts each build of rows was given."""
    seen: list[int] = []
    real = build_rows

    def counted(loaded: Any, spec: Any, calibration: Any, facts: Sequence[Fact], *rest: Any) -> Any:
        seen.append(len(facts))
        return real(loaded, spec, calibration, facts, *rest)

    monkeypatch.setattr(editing, "build_rows", counted)
    return seen


@pytest.fixture
def editor_of(loaded: LoadedModel, spec: Spec) -> Callable[[BuildSettings], BankEditor]:
    return lambda settings: BankEditor(loaded, spec, settings)


@pytest.mark.parametrize("gamma", [-1.0, 0.8, 1.0])
def test_borrowed_rows_give_the_bank_of_rows_made_anew(
    editor_of: Callable[[BuildSettings], BankEditor],
    builds: list[int],
    gamma: float,
) -> None:
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
    assert one is not None
    assert two is not None
    assert list(one.ids) == list(two.ids)
    assert torch.equal(one.gamma_M, two.gamma_M)
    for name in ("keys_ME", "R_ND"):
        mine, borrowed = getattr(one, name), getattr(two, name)
        assert isinstance(mine, torch.Tensor)
        assert torch.equal(mine, borrowed)


def test_an_editor_that_differs_in_more_makes_its_own_rows(
    editor_of: Callable[[BuildSettings], BankEditor], builds: list[int]
) -> None:
    first = editor_of(PAPER)
    first.fit(tiny.FACTS[:2])
    for settings in (replace(PAPER, layer=0), replace(PAPER, whiten=True)):
        other = editor_of(settings)
        assert not other.borrow(first)
        other.fit(tiny.FACTS[:2])
    assert builds == [2, 2, 2]


def test_a_fact_that_is_taken_out_is_out(
    editor_of: Callable[[BuildSettings], BankEditor],
) -> None:
    editor = editor_of(PAPER)
    editor.fit(tiny.FACTS[:2])
    editor.undo([tiny.FACTS[0].id, "nobody"])
    assert editor.view is not None
    assert set(editor.view.ids) <= {tiny.FACTS[1].id}
    assert set(editor.facts) == {tiny.FACTS[1].id}
