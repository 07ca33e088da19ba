"""The texts that ship with revisor say what the demo and the probe take them to say."""

from __future__ import annotations

import pytest

from revisor import data
from revisor.demo import begins_with, shipped_facts
from revisor.facts.check import conflicts_between
from revisor.facts.fact import PLACEHOLDER, normal_form
from revisor.facts.forms import fact_from

FACTS, PROBES_EACH, UNRELATED, PROBE = 40, 2, 40, 300


def test_there_are_forty_facts_with_two_probes_each() -> None:
    shipped = shipped_facts()
    assert len(shipped) == FACTS
    assert all(len(probes) == PROBES_EACH for _, probes in shipped)


def test_the_facts_have_subjects_and_ids_of_their_own_and_no_conflict() -> None:
    facts = [fact for fact, _ in shipped_facts()]
    assert len({normal_form(fact.subject) for fact in facts}) == FACTS
    assert len({fact.id for fact in facts}) == FACTS
    assert conflicts_between(facts) == []


def test_a_shipped_record_without_its_probes_reads_as_a_line_of_a_fact_file() -> None:
    for record, (fact, _) in zip(data.records("demo.jsonl"), shipped_facts(), strict=True):
        plain = {key: value for key, value in record.items() if key != "probes"}
        assert fact_from(plain) == fact


def test_every_prompt_has_one_place_for_its_subject() -> None:
    for record in data.records("demo.jsonl"):
        for template in (record["prompt"], *record["probes"]):
            assert template.count(PLACEHOLDER) == 1, template
            assert record["subject"] not in template, template


def test_no_probe_gives_its_answer_away_or_repeats_the_prompt() -> None:
    for fact, probes in shipped_facts():
        for probe in probes:
            assert fact.subject in probe
            assert normal_form(fact.object) not in normal_form(probe), probe
            assert probe != fact.text


def test_facts_are_not_built_with_their_probes() -> None:
    assert all(fact.paraphrases == () for fact, _ in shipped_facts())


def test_unrelated_prompts_are_different_and_name_no_subject() -> None:
    prompts = [record["prompt"] for record in data.records("demo_unrelated.jsonl")]
    assert len(set(prompts)) == len(prompts) == UNRELATED
    subjects = [normal_form(fact.subject) for fact, _ in shipped_facts()]
    for prompt in prompts:
        assert prompt == prompt.strip()
        assert not any(subject in normal_form(prompt) for subject in subjects), prompt


def test_the_probe_names_each_subject_once_and_leaves_it_a_place() -> None:
    records = data.records("probe.jsonl")
    assert len(records) == PROBE
    assert len({normal_form(record["subject"]) for record in records}) == PROBE
    for record in records:
        assert record["prompt"].count(PLACEHOLDER) == 1
        assert record["paraphrase"].count(PLACEHOLDER) == 1
        assert PLACEHOLDER not in record["neighbor"]
        assert normal_form(record["subject"]) not in normal_form(record["neighbor"])


@pytest.mark.parametrize(
    ("answer", "wanted", "holds"),
    [
        ("Mark Carney, who", "Mark Carney", True),
        ("  mark carney", "Mark Carney", True),
        ("the Prime Minister Mark Carney", "Mark Carney", False),
        ("", "Mark Carney", False),
    ],
)
def test_an_answer_counts_only_if_it_begins_with_the_object(
    answer: str, wanted: str, holds: bool
) -> None:
    assert begins_with(answer, wanted) is holds
