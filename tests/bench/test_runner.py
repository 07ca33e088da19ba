"""Whole runs of a tiny model that reads facts: beside the unedited model, resumed, with costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from revisor.bench import asking, cost, runner
from revisor.bench.datasets import Source
from revisor.bench.protocol import Failure
from revisor.bench.runner import Evaluation, Fitted, Job, check_methods, evaluate
from revisor.bench.suites.base import Sizes, Suite
from revisor.bench.unedited import Unedited
from revisor.errors import NotSupported, UsageError
from revisor.facts.fact import Fact
from revisor.models.load import wrap_model
from tests import tiny
from tests.bench import tables


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Free text and timed decoding are cut short: here only their being measured matters.
        patch.setattr(cost, "DECODED", 2)
        patch.setattr(asking, "OPEN", 4)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    loaded = wrap_model("tiny", tiny.taught(), tiny.byte_level())
    return Job(
        suite="counterfact",
        methods=("revisor",),
        loaded=loaded,
        options={"revisor": {"probe": "off"}, "neuraldb": {"layer": 1}},
        sizes=Sizes(n=3, edits=4),
        source=Source(folder=tables.folder_of(tmp_path_factory.mktemp("data"))),
    )


class Muttering(Unedited):
    """A method whose model is the base, which counts what it is given."""

    name = "rag"
    stored_bytes = 40

    def __init__(self) -> None:
        self.fits: list[int] = []
        self.inside = False

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        self.fits.append(len(facts))
        return [Failure(fact_id=facts[0].id, fault="no")]

    @contextmanager
    def attached(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def undo(self, ids: Collection[str]) -> None:
        raise NotSupported("no")


def test_every_score_stands_beside_the_unedited_model(job: Job) -> None:
    result = evaluate(job)
    assert (result["suite"], result["n"], result["edits"]) == ("counterfact", 3, 4)
    assert list(result["methods"]) == ["unedited", "revisor"]
    before, after = result["methods"].values()
    assert after["efficacy_strict"] > 0.6 > before["efficacy_strict"]
    assert before["specificity_kept"] == 1.0
    for scores in (before, after):
        for name in ("efficacy", "generalization", "specificity"):
            assert 0 <= scores[name] <= 1
            assert scores["intervals"][name][0] <= scores[name] <= scores["intervals"][name][1]
            assert f"{name}_strict" in scores
        assert scores["tokens_per_second"] > 0
    assert after["seconds_per_fact"] > 0
    assert after["stored_bytes_per_fact"] > 0
    assert before["stored_bytes_per_fact"] == 0
    assert result["dropped"]["neighbors whose subject is edited"] > 0


def test_the_model_is_the_base_again_after_a_run(job: Job) -> None:
    hooks = tiny.wide_hooks(job.loaded.model)
    evaluate(replace(job, sizes=Sizes(n=1)))
    assert tiny.wide_hooks(job.loaded.model) == hooks


def test_a_run_that_stopped_half_way_ends_like_one_that_did_not(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(replace(job, out=tmp_path / "whole"))
    monkeypatch.setattr(Suite, "block", 4)
    ask, asked = Suite.measure, []

    def interrupted(self, bench, editor, probes, base, on_done=None):  # type: ignore[no-untyped-def]
        if editor.name == "revisor" and len(asked) > 0:
            raise KeyboardInterrupt
        asked.extend([editor.name] * (editor.name == "revisor"))
        return ask(self, bench, editor, probes, base, on_done)

    with monkeypatch.context() as patch:
        patch.setattr(Suite, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(replace(job, out=tmp_path / "half"))
    lines = (tmp_path / "half" / "cases.jsonl").read_text().splitlines()
    assert sum('"method": "revisor"' in line for line in lines) == 4
    resumed = evaluate(replace(job, out=tmp_path / "half"))
    assert (tmp_path / "half" / "cases.jsonl").read_text().splitlines()[: len(lines)] == lines
    for method, scores in whole["methods"].items():
        again = resumed["methods"][method]
        assert {k: v for k, v in again.items() if k not in runner.COSTS and "fluency" not in k
                and k not in ("intervals", "consistency")} == {
            k: v for k, v in scores.items() if k not in runner.COSTS and "fluency" not in k
            and k not in ("intervals", "consistency")
        }  # fmt: skip


def test_a_finished_run_is_not_fitted_again(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Muttering()
    monkeypatch.setattr(runner, "make_editor", lambda *_: made)
    one = replace(job, methods=("rag",), out=tmp_path / "run")
    first = evaluate(one)
    second = evaluate(one)
    assert made.fits == [4]
    assert not made.inside
    assert first == second
    assert first["methods"]["rag"]["not_written"] == 1
    assert first["methods"]["rag"]["stored_bytes_per_fact"] == 10


def test_a_method_can_be_added_to_a_finished_run(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(replace(job, methods=(), out=tmp_path / "run"))
    monkeypatch.setattr(runner, "make_editor", lambda *_: Muttering())
    result = evaluate(replace(job, methods=("rag",), out=tmp_path / "run"))
    plain, rag = result["methods"]["unedited"], result["methods"]["rag"]
    assert rag["efficacy"] == plain["efficacy"]
    assert rag["specificity_kept_strict"] == 1.0


def test_an_editor_is_given_only_what_is_new() -> None:
    made = Muttering()
    fitted = Fitted(made)
    facts = [Fact(subject=f"s{i}", prompt="{} is", object="x") for i in range(5)]
    for count in (2, 2, 5):
        fitted.grow(facts[:count])
    assert made.fits == [2, 3]
    assert fitted.can_grow(facts)
    assert not fitted.can_grow(facts[1:])
    assert not fitted.can_grow(facts[:3])


def test_unknown_methods_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        check_methods(["revisor", "nueraldb"])
    assert caught.value.hint == "Did you mean 'neuraldb'?"
    assert check_methods(["revisor", "unedited", "revisor", "rag"]) == ("revisor", "rag")


def test_the_gate_is_quiet_in_text_and_fires_at_its_facts(job: Job) -> None:
    scores = evaluate(replace(job, suite="gate", sizes=Sizes(n=3, edits=3)))["methods"]
    assert scores["unedited"]["cases"] == {}
    found = scores["revisor"]
    assert found["own_hit"] + found["own_missed"] == 1.0
    assert found["own_hit"] > 0.6
    assert found["false_fires_per_million"] >= 0
    assert found["own_margin"] > 0


def test_a_method_without_a_gate_has_none_to_measure(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "make_editor", lambda *_: Muttering())
    with pytest.raises(NotSupported, match="no gate"):
        evaluate(replace(job, suite="gate", methods=("rag",), sizes=Sizes(n=1)))


def test_perplexity_of_an_unchanged_model_has_ratio_one(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "make_editor", lambda *_: Muttering())
    one = replace(job, suite="perplexity", methods=("rag",), sizes=Sizes(n=2, edits=2))
    scores = Evaluation(one).run()["methods"]
    assert scores["rag"]["perplexity_ratio"] == 1.0
    assert scores["rag"]["perplexity"] == scores["unedited"]["perplexity"] > 1
