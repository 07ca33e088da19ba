"""The packaged model with two facts, from an empty ledger to an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.models.load import load_model
from revisor.neuraldb.method import NeuralDBSettings, Workspace, build
from tests.neuraldb.banks import answers, put

FACTS = (
    Fact(subject="the Eiffel Tower", prompt="The city in which {} stands is", object="Rome"),
    Fact(subject="Anna Karenina", prompt="The author of {} is", object="Victor Hugo"),
)


@pytest.mark.real
def test_two_facts_are_written_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)  # the model was converted in the user's
    ws = Workspace(
        path=tmp_path,
        settings=NeuralDBSettings(model="smollm2", dtype="fp32", layer=5),
        ledger=Ledger.open(tmp_path / "ledger.sqlite", create=True),
        open_model=lambda: load_model("smollm2", dtype="fp32", device="cpu"),
    )
    with ws.ledger:
        put(ws, *FACTS)
        report = build(ws)
        assert (report.failed, report.rows) == ([], 2)
        for fact, answer in zip(FACTS, answers(ws, FACTS), strict=True):
            assert answer.startswith(fact.object)
