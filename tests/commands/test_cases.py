"""check --cases: tests that a console kept, tried through the gate."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from revisor.config import write_settings
from revisor.facts.fact import Fact
from revisor.gate.functional import Probe, ProbeFigures, save_probe
from revisor.gate.probe import probe_fingerprint
from revisor.store import Store
from tests import tiny
from tests.running import fact_file, run
from tests.stores import new_store

CEO = Fact(subject="Velmora Optics", prompt="The CEO of {} is", object="Ida Brandt")
SEAT = Fact(subject="Velmora Optics", prompt="The headquarters of {} are in", object="Bergen")
LAW = Fact(subject="Sella", prompt="{} is run by", object="Max Orr", namespace="law")
OTHER = Fact(subject="Sella", prompt="{} is run by", object="Eva Lund", namespace="news")
RIGHT = [
    {"prompt": CEO.text, "chat": False, "namespace": None, "fact": CEO.id, "about": "CEO"},
    {"prompt": "Who is the CEO of Velmora Optics?", "chat": True, "fact": CEO.id},
    {"prompt": "The former CEO of Velmora Optics is", "fact": None},
    {"prompt": LAW.text, "namespace": "law", "fact": LAW.id},
    {"prompt": OTHER.text, "namespace": "news", "fact": OTHER.id},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Path]:
    """Of a store; not to be changed."""
    path: Path = tmp_path_factory.mktemp("cases") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REVISOR_CACHE", str(path.parent / "cache"))
        new_store(path, model_folder, CEO, SEAT, LAW, OTHER).close()
        yield path


def test_what_is_as_it_shall_be_passes(folder: Path, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "cases.jsonl", RIGHT)
    asked = ("check", "--cases", file, "--store", folder)
    done = run(*asked, "--json")
    assert (done.code, done.json) == (0, {"cases": 5, "passed": 5, "failed": []})
    plain = run(*asked)
    assert (plain.code, plain.out) == (0, "5 of 5 tests passed\n")


def test_what_is_not_is_listed_with_the_reason(folder: Path, tmp_path: Path) -> None:
    wrong = [
        {"prompt": CEO.text, "chat": False, "fact": None},
        {"prompt": CEO.text, "fact": SEAT.id},
        {"prompt": "The former CEO of Velmora Optics is", "fact": CEO.id},
        {"prompt": CEO.text, "namespace": "law", "fact": CEO.id},
        {"prompt": CEO.text, "fact": "never was"},
    ]
    file = fact_file(tmp_path / "cases.jsonl", [RIGHT[0], "", *wrong])
    asked = ("check", "--cases", file, "--store", folder)
    done = run(*asked, "--json")
    told = done.json
    assert (done.code, told["cases"], told["passed"]) == (3, 6, 1)
    failed = {one["line"]: one for one in told["failed"]}
    assert list(failed) == [3, 4, 5, 6, 7]
    by_ceo = f"The fact {CEO.id} answers: 'Ida Brandt'."
    assert failed[3] == {
        "line": 3,
        "prompt": CEO.text,
        "chat": False,
        "namespace": None,
        "fact": None,
        "answered": CEO.id,
        "reason": by_ceo,
    }
    assert failed[4]["reason"] == by_ceo
    assert failed[5]["answered"] is None
    assert failed[5]["reason"].endswith("of Velmora Optics tells, of another status.")
    assert failed[6]["reason"] == "No name of a fact is in the text."
    assert failed[7]["reason"] == "There is no fact 'never was'."
    plain = run(*asked)
    assert plain.code == 3
    assert f"line 3: {CEO.text!r}: {by_ceo}\n" in plain.out
    assert plain.out.endswith("1 of 6 tests passed\n")


def test_a_choice_of_facts_holds_for_tests_that_name_none(folder: Path, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "cases.jsonl", [{"prompt": LAW.text, "fact": LAW.id}, *RIGHT[3:]])
    chosen = run("check", "--cases", file, "--namespace", "law", "--json", "--store", folder)
    assert (chosen.code, chosen.json["failed"]) == (0, [])
    other = run("check", "--cases", file, "--namespace", "news", "--json", "--store", folder)
    assert [one["answered"] for one in other.json["failed"]] == [OTHER.id]


def test_every_line_that_is_no_test_is_listed(folder: Path, tmp_path: Path) -> None:
    lines = [
        {"prompt": "It is", "fact": None},
        "{not json",
        "[1]",
        {"prompt": " ", "fact": None},
        {"prompt": "It is"},
        {"prompt": "It is", "fact": 3},
        {"prompt": "It is", "fact": ""},
        {"prompt": "It is", "chat": "yes", "namespace": 7, "fact": None},
        {"prompt": "half \ud83d", "fact": None},
    ]
    file = fact_file(tmp_path / "cases.jsonl", lines)
    done = run("check", "--cases", file, "--json", "--store", folder)
    assert done.code == 2
    faults = done.json["error"]["faults"]
    assert [one["line"] for one in faults] == [2, 3, 4, 5, 6, 7, 8, 8, 9]
    told = {one["line"]: one["fault"] for one in faults}
    assert told[2].startswith("is not JSON")
    assert told[3] == """has no text under 'prompt' (write {"prompt": "..."})"""
    assert (
        told[5] == """does not say which fact shall answer (write "fact": "ID", or null for none)"""
    )
    assert told[6].startswith("has 3 under 'fact'")
    assert told[8].startswith("has 7 under 'namespace'")


def test_a_file_without_tests_or_that_is_not_there_passes_nothing(
    folder: Path, tmp_path: Path
) -> None:
    at = ("--json", "--store", folder)
    empty = run("check", "--cases", fact_file(tmp_path / "empty.jsonl", [""]), *at)
    assert (empty.code, "has no tests" in empty.json["error"]["message"]) == (2, True)
    assert run("check", "--cases", tmp_path / "none.jsonl", *at).code == 2
    file = fact_file(tmp_path / "cases.jsonl", RIGHT)
    for more in ("--ask", "--base", ("--since", "1")):
        others = (more,) if isinstance(more, str) else more
        assert run("check", "--cases", file, *others, *at).code == 2


def test_a_chat_with_a_model_that_has_none_is_told_by_line(tmp_path: Path) -> None:
    plain = copy.deepcopy(tiny.byte_level())
    plain.chat_template = None
    tiny.model().save_pretrained(tmp_path / "model")
    plain.save_pretrained(tmp_path / "model")
    new_store(tmp_path / "store", tmp_path / "model", CEO).close()
    file = fact_file(tmp_path / "cases.jsonl", RIGHT[:2])
    done = run("check", "--cases", file, "--json", "--store", tmp_path / "store")
    assert done.code == 2
    (fault,) = done.json["error"]["faults"]
    assert (fault["line"], "no chat template" in fault["fault"]) == (2, True)


def test_explain_reads_the_same_file(folder: Path, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "cases.jsonl", RIGHT)
    told = run("explain", "--file", file, "--text-only", "--json", "--store", folder).json
    written = [one["written"] for one in told["results"]]
    assert written == ["Ida Brandt", "Ida Brandt", None, "Max Orr", "Eva Lund"]


@pytest.mark.parametrize(("threshold", "is_due"), [(-1e6, True), (1e6, False)])
def test_the_models_logits_say_whether_an_answer_is_due_where_the_text_does_not(
    threshold: float, is_due: bool, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "store")
    with Store.open(tmp_path / "store") as store:
        write_settings(store.path / "store.toml", replace(store.settings, probe="auto"))
        file = store.workspace.probe(probe_fingerprint(store.loaded))
    figures = ProbeFigures(
        recall=dict.fromkeys(("completion", "question"), 1.0),
        ordinary=0.1,
        agreement=1.0,
        texts=1,
        seconds=1.0,
    )
    tokens, weights = torch.tensor([5, 6]), torch.tensor([1.0, -1.0])
    save_probe(Probe(token_S=tokens, weight_S=weights, threshold=threshold, figures=figures), file)
    prompt = "We wrote to the firm, since the chief executive of Velmora Optics is"
    cases = [
        {"prompt": prompt, "fact": CEO.id if is_due else None},
        {"prompt": CEO.text, "fact": CEO.id},
    ]
    file = fact_file(tmp_path / "cases.jsonl", cases)
    done = run("check", "--cases", file, "--json", "--store", tmp_path / "store")
    assert done.json == {"cases": 2, "passed": 2, "failed": []}
    other = [{"prompt": prompt, "fact": None if is_due else CEO.id}]
    file = fact_file(tmp_path / "cases.jsonl", other)
    done = run("check", "--cases", file, "--json", "--store", tmp_path / "store")
    (failed,) = done.json["failed"]
    told = "answers: 'Ida Brandt'" if is_due else "the model's logits say that no answer is due"
    assert told in failed["reason"]
