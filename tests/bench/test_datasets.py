"""Files of every form become items; what is left out is counted, what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revisor.bench.datasets import Source, held_back, read_items
from revisor.errors import BadInput, NotFound
from revisor.facts.fact import Fact
from tests.bench import tables


def one(tmp_path: Path, *records: object, name: str = "f.jsonl.gz") -> Path:
    return tables.write(tmp_path, name, records)


def test_a_counterfact_record_brings_its_wordings_and_neighbors(tmp_path: Path) -> None:
    item = read_items(one(tmp_path, tables.counterfact()[1])).items[0]
    assert (item.fact.text, item.fact.object, item.before) == (
        "The capital of Basel is", "Rome", "Cologne",
    )  # fmt: skip
    assert item.wordings == ("It is old. Basel has the capital",)
    assert item.constructed == ("The city that rules Basel is",)
    assert item.open == ("Basel is old and",)
    neighbor = item.local[0]
    assert (neighbor.subject, neighbor.answers, neighbor.against) == ("Zora", ("Cologne",), "Rome")
    assert item.fact.paraphrases == ()


def test_a_zsre_record_brings_its_rephrase_and_an_unrelated_question(tmp_path: Path) -> None:
    item = read_items(one(tmp_path, tables.zsre()[0])).items[0]
    assert item.wordings == ("In which city is ACME?",)
    assert [(local.prompt, local.answers, local.against) for local in item.local] == [
        ("nq question: who wrote the book?", ("two brothers",), None)
    ]


def test_a_knowedit_record_brings_what_follows_and_what_does_not(tmp_path: Path) -> None:
    tables.hops(tmp_path)
    path = tmp_path / "robustness" / "knowedit_wiki_counterfact_test.jsonl.gz"
    item = read_items(path).items[0]
    assert [(local.score, local.answers) for local in item.local] == [
        ("relation_specificity", ("Rome",)),
        ("portability_reasoning", ("French", "fr")),
        ("portability_subject_aliasing", ("French",)),
    ]


def test_easyedits_locality_in_columns_is_read(tmp_path: Path) -> None:
    record = {
        "subject": "ACME", "prompt": "The capital of ACME is", "target_new": "Rome",
        "ground_truth": ["Bonn"], "rephrase_prompt": "ACME has the capital",
        "locality": {"near": {"prompt": ["Who?", "Where?"], "ground_truth": ["He", "Here"]}},
        "locality_prompt": "When?", "locality_ground_truth": "Now",
    }  # fmt: skip
    item = read_items(one(tmp_path, record)).items[0]
    assert item.wordings == ("ACME has the capital",)
    assert [(local.prompt, local.answers[0]) for local in item.local] == [
        ("When?", "Now"), ("Who?", "He"), ("Where?", "Here"),
    ]  # fmt: skip


def test_the_last_paraphrase_of_a_plain_fact_is_measured_and_not_built() -> None:
    fact = Fact(subject="ACME", prompt="{} is", object="Rome", paraphrases=("{} was", "Is {}"))
    item = held_back(fact)
    assert item.fact.paraphrases == ("{} was",)
    assert item.wordings == ("Is ACME",)
    assert item.fact.id == fact.id


def test_records_to_keep_are_no_facts(tmp_path: Path) -> None:
    fact = {"subject": "ACME", "prompt": "The capital of {} is", "object": "Rome"}
    keep = {"role": "keep", "subject": "ACME", "prompt": "{} stands in"}
    bare = {"role": "keep", "prompt": "The Rhine flows to"}
    read = read_items(one(tmp_path, fact, keep, bare))
    assert len(read.items) == 1
    assert [(k.prompt, k.subject) for k in read.keeps] == [
        ("ACME stands in", "ACME"), ("The Rhine flows to", None),
    ]  # fmt: skip


def test_what_repeats_or_changes_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    first, second = tables.counterfact()[:2]
    again = json.loads(json.dumps(first))
    again["requested_rewrite"]["target_new"]["str"] = "Japan"
    same = json.loads(json.dumps(second))
    same["requested_rewrite"]["target_new"] = same["requested_rewrite"]["target_true"]
    pair = {**tables.counterfact()[2], "first_of_pair": False}
    read = read_items(one(tmp_path, first, again, same, pair))
    assert [item.fact.object for item in read.items] == ["Paris"]
    assert read.dropped == {"repeated facts": 2, "facts that change nothing": 1}


def test_every_fault_of_a_file_is_listed(tmp_path: Path) -> None:
    bad = [{"subject": "ACME"}, "not json", {"role": "keep"}, {"role": "keep", "prompt": "{} is"}]
    with pytest.raises(BadInput) as caught:
        read_items(one(tmp_path, *bad))
    assert [fault.line for fault in caught.value.faults if fault.line] == [1, 1, 2, 3, 4]


def test_a_file_of_keeps_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no facts"):
        read_items(one(tmp_path, {"role": "keep", "prompt": "The Rhine flows to"}))


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = one(tmp_path, *tables.counterfact()[:3], "broken")
    assert len(read_items(path, limit=3).items) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="zsre/zsre.jsonl.gz") as caught:
        Source(folder=tmp_path).file("zsre/zsre.jsonl.gz")
    assert "REVISOR_DATA" in caught.value.hint
    with pytest.raises(NotFound, match="no folder of benchmark data is named"):
        Source().file("zsre/zsre.jsonl.gz")


def test_plain_files_serve_as_well_and_leave_their_hash(tmp_path: Path) -> None:
    (tmp_path / "zsre").mkdir()
    (tmp_path / "zsre" / "zsre.json").write_text(json.dumps(tables.zsre()))
    source = Source(folder=tmp_path)
    assert len(list(source.records("zsre/zsre.jsonl.gz"))) == 4
    assert list(source.hashes) == ["zsre/zsre.json"]
    assert len(source.hashes["zsre/zsre.json"]) == 64
