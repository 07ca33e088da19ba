"""The methods on the packaged real model: they say what they were taught, as the papers have it."""

from __future__ import annotations

import pytest

from revisor import data
from revisor.bench.methods.registry import make_editor
from revisor.facts.fact import Fact
from revisor.models.load import load_model
from revisor.neuraldb.editing.request import ContextPlan, make_requests, text_context
from revisor.neuraldb.editing.score import score_targets

FACTS = [
    Fact(subject=record["subject"], prompt=record["prompt"], object=record["object"])
    for record in data.records("demo.jsonl")[:10]
]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "least"), [("ft", 9), ("grace", 9), ("icl", 6), ("memit", 6), ("alphaedit", 6)]
)
def test_smollm2_says_the_facts_while_attached_and_nothing_of_them_afterwards(
    name: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REVISOR_CACHE", raising=False)
    loaded = load_model("smollm2", device="cpu")
    editor = make_editor(name, loaded)
    editor.fit(FACTS)
    plan = ContextPlan(wordings=0)
    plain = [r.contexts[0] for r in make_requests(FACTS, loaded.tokenizer, plan)]
    asked = [
        text_context(loaded.tokenizer, editor.reword(fact.text, fact), fact.subject, fact.object)
        for fact in FACTS
    ]
    before = score_targets(loaded, plain)
    with editor.attached():
        said = score_targets(loaded, asked)
    assert sum(score.greedy for score in said) >= least
    assert score_targets(loaded, plain) == before
