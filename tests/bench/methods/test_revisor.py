"""The two gates as methods: facts in a ledger of their own, or in a bank built in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.bench.methods.registry import make_editor
from revisor.bench.protocol import Gated
from revisor.models.hooks import outputs_of
from revisor.models.load import LoadedModel, wrap_model
from revisor.neuraldb.editing.request import asked_context
from revisor.neuraldb.editing.score import Score, score_targets
from tests import tiny

FACTS = tiny.FACTS[:4]
OPTIONS: dict[str, dict[str, Any]] = {"revisor": {"probe": "off"}, "neuraldb": {"layer": 1}}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.taught(), tiny.byte_level())


def make(name: str, loaded: LoadedModel) -> Any:
    return make_editor(name, loaded, OPTIONS[name])


def scores(loaded: LoadedModel) -> list[Score]:
    tokenizer = loaded.tokenizer
    return score_targets(loaded, [asked_context(tokenizer, f.text, f.object) for f in FACTS])


def ids(loaded: LoadedModel, text: str) -> list[int]:
    found: list[int] = loaded.tokenizer(text)["input_ids"]
    return found


def hidden(loaded: LoadedModel, tokens: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the last layer gives, and the logits."""
    with torch.no_grad(), outputs_of(loaded.model.model.layers[-1]) as seen:  # type: ignore[union-attr,index]
        logits = loaded.model(torch.tensor([list(tokens)])).logits
    return seen[0].clone(), logits


def test_facts_are_live_whole_and_sure_as_soon_as_they_are_fitted(loaded: LoadedModel) -> None:
    editor = make("revisor", loaded)
    before = scores(loaded)
    assert not all(score.greedy for score in before)
    assert editor.fit(FACTS) == []
    with editor.attached():
        after = scores(loaded)
    assert all(score.greedy and score.nll < 1e-3 for score in after)
    assert scores(loaded) == before
    assert editor.reword("As it is", FACTS[0]) == "As it is"
    assert editor.stored_bytes > 0


def test_a_fact_that_is_undone_is_not_said_and_a_later_one_counts(loaded: LoadedModel) -> None:
    editor = make("revisor", loaded)
    before = scores(loaded)
    editor.fit(FACTS[:2])
    editor.fit(FACTS[2:])
    editor.undo([FACTS[0].id, "nobody"])
    with editor.attached():
        after = scores(loaded)
    assert after[0] == before[0]
    assert all(score.greedy for score in after[1:])
    editor.undo([fact.id for fact in FACTS])
    with editor.attached():
        assert scores(loaded) == before


def test_hidden_states_are_the_models_and_logits_where_nothing_is_written(
    loaded: LoadedModel,
) -> None:
    editor = make("revisor", loaded)
    editor.fit(FACTS)
    asked, other = ids(loaded, FACTS[0].text), ids(loaded, "Nobody knows it")
    plain = [hidden(loaded, tokens) for tokens in (asked, other)]
    with editor.attached():
        found = [hidden(loaded, tokens) for tokens in (asked, other)]
    for (states, _), (own, _) in zip(found, plain, strict=True):
        assert torch.equal(states, own)
    assert torch.equal(found[1][1], plain[1][1])
    assert not torch.equal(found[0][1], plain[0][1])


def test_two_editors_of_one_model_know_nothing_of_each_other(loaded: LoadedModel) -> None:
    one, other = make("revisor", loaded), make("revisor", loaded)
    one.fit(FACTS[:1])
    other.fit(FACTS[1:2])
    before = scores(loaded)
    with other.attached():
        found = scores(loaded)
    assert found[0] == before[0]
    assert found[1].greedy


@pytest.mark.parametrize("name", OPTIONS)
def test_a_gate_fires_at_its_facts_and_not_at_others(name: str, loaded: LoadedModel) -> None:
    editor = make(name, loaded)
    assert isinstance(editor, Gated)
    assert editor.fires(ids(loaded, FACTS[0].text)).fires == ()
    editor.fit(FACTS)
    tokens = ids(loaded, FACTS[0].text)
    fires = editor.fires(tokens).fires
    assert {(fire.fact_id, fire.subject) for fire in fires} == {(FACTS[0].id, FACTS[0].subject)}
    assert all(fire.margin >= 0 for fire in fires)
    if name == "revisor":
        assert [fire.position for fire in fires] == [len(tokens) - 1]
    with editor.attached():
        assert editor.fires(tokens).fires == fires
    assert editor.fires(ids(loaded, "The")).fires == ()


def test_what_an_editor_keeps_on_disk_goes_with_it(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    editor = make("revisor", loaded)
    assert len(list(tmp_path.iterdir())) == 1
    del editor
    assert list(tmp_path.iterdir()) == []
