"""What becomes of facts that contradict one another when they are imported."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import Conflict, NeedsApproval, UsageError
from revisor.facts.changes import Put
from revisor.facts.check import findings, wording
from revisor.facts.fact import Fact
from revisor.facts.imports import Added, import_facts, set_object
from revisor.facts.ledger import Ledger

CEO = Fact(subject="ACME", prompt="The CEO of {} is", object="Ann", source="the register")


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with Ledger.open(place, create=True) as made:
        yield made


def add(ledger: Ledger, source: Any, on_conflict: Any = "stop", **more: Any) -> Added:
    more = {"known_to_base": None, **more}
    return import_facts(ledger, source, actor="ann", reason="", on_conflict=on_conflict, **more)


def objects(ledger: Ledger) -> dict[str, str]:
    return {fact.id: fact.object for fact in ledger.facts()}


CONTRADICTING = {
    "same statement": replace(CEO, object="Bob", relation="P169", id=""),
    "same relation": replace(
        CEO, prompt="{} is run by", object="Bob", relation="led by", id="other"
    ),
    "other words": replace(CEO, prompt="the C.E.O. of {}, is", object="Bob", id=""),
    "alias": replace(CEO, subject="Acme Corporation", object="Bob", aliases=("acme",), id=""),
}


@pytest.mark.parametrize("kind", CONTRADICTING)
@pytest.mark.parametrize("where", ["in the ledger", "in the same import"])
def test_every_kind_of_contradiction_stops_the_import_and_is_settled_on_request(
    ledger: Ledger, kind: str, where: str
) -> None:
    first, later = CEO, replace(CONTRADICTING[kind], source="a rumour")
    if kind == "same relation":
        first = replace(first, relation="Led by", id="")
    if kind == "other words":
        first = replace(first, prompt="The C E O of {} is", id="")
    apart = where == "in the ledger"
    if apart:
        add(ledger, [first])
    new = [later] if apart else [first, later]
    with pytest.raises(Conflict) as caught:
        add(ledger, new)
    (fault,) = caught.value.faults
    assert fault.line == len(new), "the place of the later one"
    for part in (kind, where, "'Ann'", "'Bob'", "the register", "a rumour"):
        assert part in fault.fault
    assert ledger.count() == apart, "nothing was imported"
    kept = add(ledger, new, "keep")
    assert (objects(ledger), len(kept.conflicts)) == ({first.id: "Ann"}, 1)
    replaced = add(ledger, new, "replace")
    assert objects(ledger) == {later.id: "Bob"} if apart else later.id in objects(ledger)
    assert replaced.removed == apart
    assert ledger.verify() == []


def test_what_contradicts_the_ledger_is_told_with_its_line(ledger: Ledger, tmp_path: Path) -> None:
    add(ledger, [CEO])
    told = [
        {"subject": "Basel", "prompt": "{} stands in", "object": "Rome"},
        {"subject": "Bob", "prompt": "{} runs", "object": "ACME", "reverse": "the CEO of {} is"},
    ]
    file = tmp_path / "facts.jsonl"
    file.write_text("\n".join(map(json.dumps, told)))
    with pytest.raises(Conflict) as caught:
        add(ledger, file)
    assert [fault.line for fault in caught.value.faults] == [2], "of the fact that declares it"


@pytest.mark.parametrize(("first", "later"), [("Lowe's", "Lowe\u2019s"), ("Lowe\u2019s", "LOWE'S")])
def test_a_name_with_another_apostrophe_is_hinted_at(
    ledger: Ledger, first: str, later: str
) -> None:
    facts = [replace(CEO, subject=name, id="") for name in (first, "O'Neill", "Basel")]
    assert add(ledger, facts).notes == ()
    (note,) = add(ledger, [replace(CEO, subject=later, object="Eve", id="")]).notes
    assert repr(later) in note.fault
    assert repr(first) in note.fault
    both = [replace(CEO, subject=name, id="") for name in ("D'or", "D\u2019or")]
    assert len(add(ledger, both).notes) == 1
    assert ledger.count() == 6, "they are facts of their own"


def test_lines_that_contradict_are_told_with_both_lines_and_sources(
    ledger: Ledger, tmp_path: Path
) -> None:
    lines = [
        {"subject": "ACME", "prompt": "The CEO of {} is", "object": name, "source": source}
        for name, source in (("Ann", "A"), ("Bob", "B"), ("Ann", "C"), ("Eve", "D"))
    ]
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(Conflict) as caught:
        add(ledger, file)
    assert [fault.line for fault in caught.value.faults] == [2, 4]
    assert "contradicts line 1" in caught.value.faults[0].fault
    assert "'Bob' (source B) here and 'Ann' (source A) there" in caught.value.faults[0].fault
    assert add(ledger, file, "keep").duplicates == 1
    assert list(objects(ledger).values()) == ["Ann"]
    assert add(ledger, file, "replace").updated == 1
    assert list(objects(ledger).values()) == ["Eve"]


def test_an_alias_that_only_the_ledger_knows_is_enough(ledger: Ledger) -> None:
    add(ledger, [replace(CEO, aliases=("The Acme Corporation",))])
    with pytest.raises(Conflict) as caught:
        add(ledger, [replace(CEO, subject="the ACME corporation", object="Bob", id="")])
    assert caught.value.faults[0].fault.endswith("in the ledger: alias")


def test_a_paraphrase_is_another_prompt_of_its_fact(ledger: Ledger) -> None:
    add(ledger, [replace(CEO, paraphrases=("{} is led by",))])
    with pytest.raises(Conflict) as caught:
        add(ledger, [replace(CEO, prompt="{} is led by", object="Bob", id="")])
    assert caught.value.faults[0].fault.endswith("in the ledger: other words")


def test_what_the_base_model_knows_is_left_out_and_told(ledger: Ledger) -> None:
    other = replace(CEO, subject="Initech", id="")
    added = add(ledger, [CEO, other], known_to_base=lambda facts: {facts[0].id})
    assert (added.added, added.known) == (1, (CEO,))
    assert objects(ledger) == {other.id: "Ann"}


@pytest.mark.parametrize(("meanwhile", "fits"), [(CONTRADICTING["other words"], False), (
    Fact(subject="Basel", prompt="{} lies in", object="Switzerland"), True)])  # fmt: skip
def test_what_others_write_meanwhile_is_looked_at_again(
    ledger: Ledger, meanwhile: Fact, fits: bool
) -> None:
    def slow(facts: Any) -> set[str]:
        ledger.apply([Put(meanwhile)], actor="bob", reason="")
        return set()

    if fits:
        assert add(ledger, [CEO], known_to_base=slow).added == 1
    else:
        with pytest.raises(Conflict, match="meanwhile"):
            add(ledger, [CEO], known_to_base=slow)
    assert (CEO.id in objects(ledger)) is fits


def test_two_who_change_fields_of_one_fact_at_once_both_have_their_way(ledger: Ledger) -> None:
    """Whoever changes an object holds the ledger from reading the fact to writing it."""
    add(ledger, [CEO])
    started, sources = threading.Barrier(2), [f"source {number}" for number in range(20)]

    def rewrite() -> None:
        started.wait()
        for source in sources:
            with ledger.locked() as held:
                changed = replace(held.get(CEO.id), source=source)
                held.apply([Put(changed)], actor="bob", reason="")

    other = threading.Thread(target=rewrite)
    other.start()
    started.wait()
    for number in range(20):
        set_object(ledger, CEO.id, f"Ann {number}", actor="ann", reason="")
    other.join()
    found = [(one.fact.source, one.fact.object) for one in ledger.history(CEO.id)]
    assert found[-1] == ("source 19", "Ann 19")
    written = [source for source, _ in found if source in sources]
    assert written == sorted(written, key=sources.index), "no source came back"


def test_an_unknown_way_with_conflicts_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="stop, keep, replace"):
        add(ledger, [CEO], "merge")


def test_a_check_finds_what_an_import_would_and_the_notes() -> None:
    twice = replace(CEO, relation="P169", id="")
    ann = Fact(subject="Ann", prompt="{} is a child of", object="Bob")
    bob = Fact(subject="Bob", prompt="{} is a child of", object="Ann")
    found = findings([CEO, twice, CONTRADICTING["alias"], ann, bob])
    told = {(one.kind, one.is_note) for one in found}
    assert told == {("said twice", True), ("alias", False), ("reversed", True)}
    assert findings([CEO, ann]) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The CEO of {} is", "the  ceo of {} is:", True),
        ("{}'s capital", "{} s capital", True),
        ("The CEO of {} is", "CEO of {} is", True),
        ("The CEO of {} is", "The CEO of {} was", False),
        ("{}", "the {}", True),
    ],
)
def test_wording_leaves_out_what_means_nothing(one: str, other: str, same: bool) -> None:
    assert (wording(one) == wording(other)) is same


def test_how_a_file_was_read_is_noted(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes("Subject;Prompt;Object\r\nZoé;{} owns;a kiosk\r\n".encode("cp1252"))
    added = add(ledger, path)
    assert added.added == 1
    assert ["Windows-1252" in note.fault for note in added.notes] == [True]
    assert [fact.subject for fact in ledger.facts()] == ["Zoé"]


def test_an_import_into_a_namespace_that_needs_approval_names_who_gave_it(ledger: Ledger) -> None:
    ledger.set_policy("default", needs_approval=True, actor="root")
    with pytest.raises(NeedsApproval):
        add(ledger, [CEO])
    assert objects(ledger) == {}
    assert add(ledger, [CEO], approved_by="bob").added == 1


OWN = replace(CEO, id="1")
TAKEN = Fact(subject="Tarn 400", prompt="The {} weighs", object="2 kg", id="1")


def test_an_id_that_somebody_chose_is_not_taken_by_a_fact_about_something_else(
    ledger: Ledger,
) -> None:
    add(ledger, [OWN])
    with pytest.raises(Conflict) as caught:
        add(ledger, [TAKEN])
    assert "same id" in caught.value.faults[0].fault
    assert add(ledger, [TAKEN], "keep").updated == 0
    assert objects(ledger) == {"1": "Ann"}
    assert add(ledger, [replace(OWN, subject="ACME Ltd")]).updated == 1  # the same question
    assert add(ledger, [TAKEN], "replace").updated == 1
    assert objects(ledger) == {"1": "2 kg"}


def test_two_lines_with_one_id_about_different_names_are_told_as_such(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(
        "id,subject,prompt,object\n1,ACME,The CEO of {} is,Ann\n1,Tarn,The {} weighs,2\n"
    )
    with pytest.raises(Conflict) as caught:
        add(ledger, path)
    (fault,) = caught.value.faults
    assert fault.fault == "has the id of line 2, 1: that is about 'ACME', this about 'Tarn'"
    assert "id of its own" in fault.remedy
