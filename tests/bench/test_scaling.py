"""What the suite `scale` makes of a store by the text alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revisor.bench.datasets import Source
from revisor.bench.scaling import scale_by_text
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.question.encoder import default_encoder
from revisor.store import Store
from tests.bench.tables import write
from tests.running import run
from tests.stores import new_store

PLACES = ("Orlby", "Brimstead", "Tarnow", "Zellin")
FORMS = {
    "entityquestions": {
        "P36": {
            "source_question": "What is the capital of [X]?",
            "written_here": {"cloze": ["The capital of [X] is", "[X] has as its capital"]},
        },
        "P112": {"source_question": "Who founded [X]?", "written_here": {}},
    },
    "fb13": {"fb13:gender": {"written_here": {"cloze": ["The gender of [X] is"]}}},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("data")
    (folder / "facts").mkdir()
    (folder / "facts" / "relation_templates.json").write_text(json.dumps(FORMS))
    people = [{"s": f"Ann Lee {n}", "r": "fb13:gender", "o": "female"} for n in range(8)]
    people.append({"s": PLACES[0], "r": "fb13:gender", "o": "male"})
    write(folder, "facts/fb13.jsonl.gz", people)
    prose = " ".join(["The weather was fine and all the ships came home before the night"] * 3)
    write(folder, "corpus/wikitext2_raw_test.txt.gz", [" = A heading = ", *[prose] * 30, ""])
    return Source(folder=folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Store:
    facts = [
        Fact(subject=name, prompt="The capital of {} is", object=f"Port {name}", relation="P36")
        for name in PLACES
    ]
    return new_store(tmp_path_factory.mktemp("scale") / "store", model_folder, *facts)


def test_facts_are_asked_for_and_beside_them_what_asks_for_none(
    source: Source, store: Store
) -> None:
    found = scale_by_text(source, store, default_encoder(), n=3)
    text = found["methods"]["text"]
    assert (found["n"], found["edits"], found["model"]) == (3, 4, "the text alone")
    assert text["cases"] == {
        "own": 3,
        "own_wrong": 3,
        "wording": 3,
        "wording_wrong": 3,
        "other_relation_fires": 3,
        "stranger_fires": 3,
        "ordinary_fires": 3,
    }
    assert (text["own"], text["wording"]) == (1.0, 1.0)
    for name in ("own_wrong", "wording_wrong", "other_relation_fires", "stranger_fires"):
        assert text[name] == 0.0, name
    assert text["ordinary_fires"] == 0.0
    assert found["store"]["ledger_mb"] > 0
    assert found["store"]["index_open_seconds"] >= 0


def test_more_facts_than_there_are_cannot_be_asked_for(source: Source, store: Store) -> None:
    with pytest.raises(UsageError, match="has 4 facts, not 5"):
        scale_by_text(source, store, default_encoder(), n=5)


def test_the_command_measures_a_store_as_it_is(source: Source, store: Store) -> None:
    command = ("eval", "scale", "--text-only", "--data-dir", source.folder)
    done = run(*command, "--as-built", "--store", store.workspace.path, "--json")
    assert done.code == 0, done.err
    assert done.json["methods"]["text"]["own"] == 1.0
    refused = run(*command, "--store", store.workspace.path)
    assert (refused.code, "--as-built" in refused.err) == (2, True)


def test_the_model_is_asked_the_same_texts(source: Source, store: Store) -> None:
    command = ("eval", "scale", "--as-built", "--data-dir", source.folder)
    done = run(*command, "--store", store.workspace.path, "--n", "3", "--json")
    assert done.code == 0, done.err
    there = done.json["methods"]["store"]
    assert there["efficacy"] == 1.0
    assert there["other_relations_kept_strict"] == there["unedited_subjects_kept_strict"] == 1.0
    assert done.json["methods"]["unedited"]["efficacy"] == 0.0
    assert (there["perplexity_ratio"], there["fires_per_million"]) == (1.0, 0.0)
    assert {name: there["cases"][name] for name in ("efficacy", "generalization")} == {
        "efficacy": 3,
        "generalization": 3,
    }
