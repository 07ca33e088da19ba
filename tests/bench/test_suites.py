"""What each suite asks, and of how many facts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from revisor.bench.cases import Case, Plan
from revisor.bench.datasets import Source
from revisor.bench.suites import SUITES, make_suite
from revisor.bench.suites.base import Sizes
from revisor.bench.suites.known import wordings
from revisor.bench.suites.ways import negated, unrelated_text
from revisor.errors import NotFound, UsageError
from revisor.facts.fact import Fact
from tests import tiny
from tests.bench import tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tables.folder_of(tmp_path_factory.mktemp("data"))


def plan(name: str, folder: Path | None, data: Path | None = None, **sizes: Any) -> Plan:
    source = Source(folder=folder, data=data)
    return make_suite(name).plan(source, Sizes(**sizes), tiny.byte_level())


def scores(made: Plan) -> Counter[str]:
    return Counter(probe.score for probe in made.probes)


@pytest.mark.parametrize("name", [name for name in SUITES.own if name != "facts"])
def test_the_same_seed_makes_the_same_plan_and_ids_are_unique(folder: Path, name: str) -> None:
    first, second = (plan(name, folder, n=4, seed=5) for _ in range(2))
    assert first == second
    ids = [probe.id for probe in first.probes]
    assert ids
    assert len(set(ids)) == len(ids)


def test_a_reversed_question_is_edited_and_asked_with_its_fact(tmp_path: Path) -> None:
    line = {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Ann"}
    lines = [{**line, "reverse": "{} is the CEO of"}, {**line, "subject": "Globex"}]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    made = plan("facts", None, tmp_path / "own.jsonl")
    assert [fact.text for fact in made.facts] == [
        "The CEO of ACME is", "Ann is the CEO of", "The CEO of Globex is",
    ]  # fmt: skip
    assert scores(made) == {"efficacy": 2, "reverse": 1}
    (turned,) = [probe for probe in made.probes if probe.score == "reverse"]
    assert (turned.prompt, turned.wanted) == ("Ann is the CEO of", ("ACME",))


# What `questions` asks ships with revisor, and it takes of a folder what is there.
@pytest.mark.parametrize(
    "name", [name for name in SUITES.own if name not in ("facts", "questions")]
)
def test_every_suite_names_the_file_it_lacks(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match=r"There is no [a-z_]+/[a-z0-9_]+\.[a-z.]+ in"):
        plan(name, tmp_path, n=2)


def test_an_unknown_suite_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        make_suite("counterfacts")
    assert caught.value.hint == "Did you mean 'counterfact'?"


def test_facts_are_edited_in_file_order_and_measured_by_seed(folder: Path) -> None:
    made = plan("counterfact", folder, n=2, edits=6)
    assert [fact.subject for fact in made.facts] == list(tables.NAMES[:6])
    asked = {probe.case for probe in made.probes}
    assert len(asked) == made.n == 2
    # Those that have genuine other wordings come first.
    assert scores(made)["generalization"] == 2
    drawn = {frozenset(p.case for p in plan("counterfact", folder, n=2, edits=8, seed=s).probes)
             for s in range(8)}  # fmt: skip
    assert len(drawn) > 1


def test_a_neighbor_whose_subject_is_edited_is_dropped_and_counted(folder: Path) -> None:
    made = plan("counterfact", folder, n=8, edits=8)
    assert made.dropped["neighbors whose subject is edited"] == 8
    assert {p.prompt for p in made.probes if p.score == "specificity"} == {
        "The capital of France is"
    }
    few = plan("counterfact", folder, n=3, edits=3)
    assert few.dropped["neighbors whose subject is edited"] == 2


def test_specificity_sets_the_object_of_before_against_the_new_one(folder: Path) -> None:
    made = plan("counterfact", folder, n=1, edits=1)
    own, near = ([p for p in made.probes if p.score == s][0] for s in ("efficacy", "specificity"))
    assert (own.wanted, own.other) == (("Paris",), "Bonn")
    assert (near.wanted, near.other, near.kind) == (("Bonn",), "Paris", "holds")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"edits": 9}, "has 8 facts that can be edited, not 9"), ({"n": 5, "edits": 4}, "5 facts")],
)
def test_more_than_there_is_cannot_be_asked_for(
    folder: Path, sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan("counterfact", folder, **sizes)


def test_references_name_the_new_object(folder: Path) -> None:
    made = plan("counterfact", folder, n=1, edits=1)
    (free,) = [probe for probe in made.probes if probe.kind == "open"]
    assert free.extra["reference"] == "paris is in france"
    assert made.idf["tower"] < made.idf["france"]


def test_a_file_of_ones_own_is_taken_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [
        {"subject": "ACME", "prompt": "The capital of {} is", "object": "Rome",
         "paraphrases": ["{} has the capital", "Capital of {}:"]},
        {"subject": "Basel", "prompt": "{} stands in", "object": "Bonn"},
        {"role": "keep", "subject": "ACME", "prompt": "{} is led by"},
        {"role": "keep", "prompt": "Zora stands in"},
        {"role": "keep", "prompt": "Nobody knows why basel is"},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = plan("facts", None, path)
    assert (made.n, len(made.facts)) == (2, 2)
    assert scores(made) == {
        "efficacy": 2, "generalization": 1, "given_wordings": 1,
        "other_relations_kept": 2, "unedited_subjects_kept": 1,
    }  # fmt: skip
    assert made.facts[0].paraphrases == ("{} has the capital",)


@pytest.mark.parametrize("name", ["zsre", "chat", "preamble", "same-subject", "multi-hop"])
def test_a_file_of_ones_own_stands_for_the_suites_file(folder: Path, name: str) -> None:
    data = folder / "counterfact" / "counterfact.jsonl.gz"
    made = plan(name, None, data, n=3)
    assert len(made.facts) == 3
    assert {fact.relation for fact in made.facts} == {"P36"}


def test_no_facts_at_all_is_told() -> None:
    with pytest.raises(UsageError, match="No facts are named"):
        plan("facts", None)


def test_subjects_with_several_facts_keep_a_relation_each(folder: Path) -> None:
    made = plan("same-subject", folder, n=6, edits=6)
    by_subject = Counter(fact.subject for fact in made.facts)
    assert set(by_subject.values()) == {3}
    truth = {(fact.subject, fact.relation): fact.object_before for fact in made.facts}
    assert all(fact.object != truth[fact.subject, fact.relation] for fact in made.facts)
    kept = [p.prompt for p in made.probes if p.score == "other_relations_kept"]
    assert len(kept) == 2
    edited = {fact.text for fact in made.facts}
    assert not edited & set(kept)
    far = [p.prompt for p in made.probes if p.score == "unedited_subjects_kept"]
    assert len(far) == 2
    assert not any(name in prompt for name in by_subject for prompt in far)


def test_a_subject_is_complete_when_all_its_facts_answer() -> None:
    suite = make_suite("same-subject")
    cases = [
        Case(method="m", probe=str(i), case=case, values={"efficacy_strict": value})
        for i, (case, value) in enumerate([("a", 1.0), ("a", 1.0), ("b", 1.0), ("b", 0.0)])
    ]
    assert suite.finish({}, cases, {}) == {"subjects_complete_strict": 0.5}


def test_statements_come_before_questions_and_numbers_are_left_out() -> None:
    forms = {"source_question": "Where is [X]?", "pararel_cloze": ["[X] is in"]}
    assert wordings(forms) == ("[X] is in", "Where is [X]?")
    assert wordings({**forms, "numeric": True}) == ()


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("The capital of ACME is", "The capital of ACME is not"),
        ("The ACME stands in", "It is not true that the ACME stands in"),
        ("ACME stands in", "It is not true that ACME stands in"),
        ("Where is ACME?", None),
    ],
)
def test_a_prompt_is_negated_where_it_is_a_statement(prompt: str, found: str | None) -> None:
    assert negated(prompt) == found


def test_questions_cannot_be_negated(folder: Path) -> None:
    with pytest.raises(UsageError, match="None of these facts"):
        plan("negation", None, folder / "zsre" / "zsre.jsonl.gz")


def test_statements_are_judged_both_ways(folder: Path) -> None:
    made = plan("true-false", folder, n=2)
    assert scores(made) == {"true_accepted": 2, "false_rejected": 2}
    new, old = made.probes[:2]
    assert new.prompt.endswith(f"{new.fact.text} {new.fact.object}.\nTrue or false:")  # type: ignore[union-attr]
    assert old.prompt.endswith(f"{old.fact.object_before}.\nTrue or false:")  # type: ignore[union-attr]
    assert (new.wanted, old.wanted) == (("True",), ("False",))
    balanced = make_suite("true-false").finish(
        {"true_accepted": 1.0, "false_rejected": 0.0}, [], {}
    )
    assert balanced == {"accuracy": 0.5}


@pytest.mark.parametrize("tokens", [50, 200])
def test_a_preamble_has_its_length_and_names_nothing(tokens: int) -> None:
    fact = Fact(subject="Naples", prompt="{} is", object="Rome")
    text = unrelated_text(fact, tokens, 0, tiny.byte_level())
    count = len(tiny.byte_level()(text)["input_ids"])
    assert abs(count - tokens) <= 2  # a cut inside a word may join anew
    assert "Naples" not in text
    assert text == unrelated_text(fact, tokens, 0, tiny.byte_level())


def test_a_model_without_a_chat_template_cannot_be_asked_in_chat(folder: Path) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        make_suite("chat").plan(Source(folder=folder), Sizes(n=1), object())


def test_chains_are_edited_whole_and_contradictions_dropped(folder: Path) -> None:
    made = plan("multi-hop", folder, n=5, edits=5)
    assert made.dropped["chains that contradict earlier ones"] == 1
    assert len(made.facts) == 5
    (hop,) = [probe for probe in made.probes if probe.score == "multi_hop"]
    assert (hop.wanted, hop.other) == (("Tokyo", "Edo"), "Bonn")
    assert scores(made)["portability_reasoning"] == 3


def test_perplexity_counts_windows_and_edits_facts(folder: Path) -> None:
    made = plan("perplexity", folder, n=3, edits=2)
    assert (len(made.facts), len(made.probes)) == (2, 3)
    assert {len(probe.extra["ids"]) for probe in made.probes} == {256}
    found = make_suite("perplexity").finish({"nll": 2.0}, [], {"nll": 1.5})
    assert found["perplexity_ratio"] == pytest.approx(1.6487, abs=1e-4)


def test_at_scale_a_larger_number_begins_with_the_same_facts(folder: Path) -> None:
    few, more = (plan("scale", folder, edits=edits, n=3) for edits in (6, 10))
    assert more.facts[:6] == few.facts
    assert (few.n, len(few.facts), len(more.facts)) == (3, 6, 10)
    truth = {(fact.subject, fact.relation): fact.object_before for fact in more.facts}
    assert all(fact.object != truth[fact.subject, fact.relation] for fact in more.facts)
    edited = {fact.subject for fact in few.facts}
    kept = [p.prompt for p in few.probes if p.score == "unedited_subjects_kept"]
    assert kept
    assert not any(name in prompt for name in edited for prompt in kept)
    assert scores(few)["text"] == 3
    with pytest.raises(UsageError, match="has 16 facts that can be edited, not 17"):
        plan("scale", folder, edits=17, n=3)
