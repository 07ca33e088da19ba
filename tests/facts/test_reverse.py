"""Reversed questions that facts declare: each a second fact, which follows the first."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import Conflict, UsageError
from revisor.facts.check import findings
from revisor.facts.fact import Fact, reversed_fact
from revisor.facts.forms import fact_from
from revisor.facts.imports import Added, import_facts
from revisor.facts.ledger import Ledger, Put, Remove
from revisor.facts.lines import fact_line
from revisor.facts.load import load_facts
from revisor.facts.schema import LATER

CEO = Fact(
    subject="ACME",
    prompt="The CEO of {} is",
    object="Ann",
    source="the register",
    valid_from="2026-01-01",
    reverse="{} is the CEO of",
)
TURNED = reversed_fact(CEO)
assert TURNED is not None


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with Ledger.open(place, create=True) as made:
        yield made


def put(ledger: Ledger, *facts: Fact) -> int:
    return ledger.apply(map(Put, facts), actor="ann", reason="").number


def remove(ledger: Ledger, *ids: str) -> int:
    return ledger.apply(map(Remove, ids), actor="ann", reason="").number


def texts(ledger: Ledger) -> dict[str, str]:
    return {fact.text: fact.object for fact in ledger.facts()}


def test_the_reverse_is_about_the_object_and_holds_when_the_fact_does() -> None:
    assert TURNED is not None
    assert (TURNED.text, TURNED.object) == ("Ann is the CEO of", "ACME")
    assert (TURNED.source, TURNED.valid_from) == (CEO.source, CEO.valid_from)
    assert (TURNED.reverse_of, TURNED.reverse) == (CEO.id, None)
    assert reversed_fact(replace(CEO, reverse=None)) is None
    other = replace(CEO, subject="Globex", id="")
    assert reversed_fact(other).id != TURNED.id  # type: ignore[union-attr]


def test_it_comes_changes_and_goes_with_its_fact(ledger: Ledger) -> None:
    put(ledger, CEO)
    assert texts(ledger) == {"The CEO of ACME is": "Ann", "Ann is the CEO of": "ACME"}
    changed = put(ledger, replace(CEO, object="Bob"))
    assert texts(ledger) == {"The CEO of ACME is": "Bob", "Bob is the CEO of": "ACME"}
    put(ledger, replace(CEO, object="Bob", reverse="{} leads"))
    assert texts(ledger) == {"The CEO of ACME is": "Bob", "Bob leads": "ACME"}
    put(ledger, replace(CEO, object="Bob", reverse=None))
    assert texts(ledger) == {"The CEO of ACME is": "Bob"}
    ledger.rollback(changed, actor="ann")
    assert texts(ledger) == {"The CEO of ACME is": "Bob", "Bob is the CEO of": "ACME"}
    remove(ledger, CEO.id)
    assert texts(ledger) == {}
    ledger.rollback(1, actor="ann")
    assert texts(ledger) == {"The CEO of ACME is": "Ann", "Ann is the CEO of": "ACME"}
    assert ledger.count() == 2
    assert ledger.verify() == []


def test_what_changes_nothing_makes_no_generation(ledger: Ledger) -> None:
    assert put(ledger, CEO) == put(ledger, CEO) == 1


def test_it_is_not_changed_by_itself(ledger: Ledger) -> None:
    put(ledger, CEO)
    assert TURNED is not None
    for wrong in (replace(TURNED, object="Globex"), replace(TURNED, reverse_of=None, object="x")):
        with pytest.raises(UsageError, match=f"reverse of {CEO.id}"):
            put(ledger, wrong)
    assert ledger.generation == 1


def test_removed_by_itself_it_is_no_longer_declared(ledger: Ledger) -> None:
    put(ledger, CEO)
    assert TURNED is not None
    remove(ledger, TURNED.id)
    assert list(ledger.facts()) == [replace(CEO, reverse=None)]
    put(ledger, CEO)
    assert len(texts(ledger)) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_both_may_be_removed_at_once(ledger: Ledger, first: int) -> None:
    put(ledger, CEO)
    assert TURNED is not None
    ids = (CEO.id, TURNED.id)
    remove(ledger, ids[first], ids[1 - first])
    assert ledger.count() == 0


def test_changed_and_its_reverse_removed_at_once_the_fact_decides(ledger: Ledger) -> None:
    put(ledger, CEO)
    assert TURNED is not None
    for changes in (
        [Put(replace(CEO, object="Bob")), Remove(TURNED.id)],
        [Remove(reversed_fact(replace(CEO, object="Bob")).id), Put(CEO)],
    ):  # type: ignore[union-attr]
        ledger.apply(changes, actor="ann", reason="")
        assert ledger.count() == 2
    assert texts(ledger) == {"The CEO of ACME is": "Ann", "Ann is the CEO of": "ACME"}


def test_many_facts_have_reverses(ledger: Ledger) -> None:
    many = [replace(CEO, subject=f"Firm {n}", object=f"Head {n}", id="") for n in range(1_100)]
    put(ledger, *many)
    assert ledger.count() == 2_200
    put(ledger, *(replace(fact, object=f"New {fact.object}") for fact in many))
    assert ledger.count() == 2_200
    assert texts(ledger)["New Head 1099 is the CEO of"] == "Firm 1099"
    remove(ledger, *sorted(fact.id for fact in ledger.facts()))
    assert ledger.count() == 0
    assert ledger.verify() == []


def test_it_is_erased_with_its_fact_and_not_without_it(ledger: Ledger) -> None:
    put(ledger, CEO)
    put(ledger, replace(CEO, object="Bob"))
    assert TURNED is not None
    with pytest.raises(UsageError, match=f"reverse of {CEO.id}"):
        ledger.with_reverses([TURNED.id])
    ids = ledger.with_reverses([CEO.id])
    assert len(ids) == 3  # of Ann and of Bob
    ledger.purge(ids, actor="ann")
    ledger.scrub()
    assert ledger.count() == 0
    assert ledger.verify() == []


def test_tables_written_before_there_were_reverses_are_restored(
    ledger: Ledger, tmp_path: Path
) -> None:
    plain = replace(CEO, reverse=None)
    put(ledger, plain)
    with ledger.dumped(tmp_path) as paths, Ledger.open(tmp_path / "new.sqlite", create=True) as new:
        texts_of = {name: path.read_text() for name, path in paths.items()}
        rows = [json.loads(line) for line in texts_of["revisions"].splitlines()]
        assert all(row.pop(name) is None for row in rows for name in LATER)
        texts_of["revisions"] = "".join(json.dumps(row) + "\n" for row in rows)
        new.restore({name: io.BytesIO(text.encode()) for name, text in texts_of.items()}, actor="")
        assert list(new.facts()) == [plain]
        assert new.verify() == []


# Files


def read(tmp_path: Path, *lines: dict[str, Any]) -> list[Fact]:
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(load_facts(file))


LINE = {"subject": "ACME", "prompt": "The CEO of {} is", "object": "Ann"}


@pytest.mark.parametrize("reverse", ["{} is the CEO of", "Ann is the CEO of"])
def test_a_line_declares_it_with_or_without_braces(tmp_path: Path, reverse: str) -> None:
    (fact,) = read(tmp_path, {**LINE, "reverse": reverse})
    assert fact.reverse == "{} is the CEO of"


@pytest.mark.parametrize(
    ("reverse", "fault"),
    [("She is the CEO of", "does not name the object 'Ann'"), (["x"], "is no text: ['x']")],
)
def test_a_reverse_that_names_no_object_is_a_fault(reverse: Any, fault: str) -> None:
    found = fact_from({**LINE, "reverse": reverse}, line=7)
    assert not isinstance(found, Fact)
    assert [one.line for one in found] == [7]
    assert fault in found[0].fault


def test_a_written_line_is_read_again_and_that_of_a_reverse_passed_over(tmp_path: Path) -> None:
    assert TURNED is not None
    assert fact_line(CEO)["reverse"] == CEO.reverse
    assert "reverse_of" not in fact_line(CEO)
    assert read(tmp_path, fact_line(CEO), fact_line(TURNED)) == [CEO]


# Imports


def add(ledger: Ledger, facts: list[Fact], on_conflict: Any = "stop") -> Added:
    return import_facts(
        ledger, facts, actor="ann", reason="", on_conflict=on_conflict, known_to_base=None
    )


BOTH = [CEO, replace(CEO, subject="Globex", id="")]  # Ann leads both: of what is she the CEO?


@pytest.mark.parametrize("apart", [True, False])
def test_a_question_turned_round_that_has_two_answers_is_a_contradiction(
    ledger: Ledger, apart: bool
) -> None:
    if apart:
        add(ledger, BOTH[:1])
    with pytest.raises(Conflict, match="contradict") as told:
        add(ledger, BOTH[apart:])
    assert "'Ann is the CEO of' -> 'Globex'" in str(told.value.faults[0])
    assert ledger.count() == 2 * apart


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(("on_conflict", "left"), [("keep", "ACME"), ("replace", "Globex")])
def test_the_fact_that_loses_it_stays_without_it(
    ledger: Ledger, apart: bool, on_conflict: str, left: str
) -> None:
    if apart:
        add(ledger, BOTH[:1])
    add(ledger, BOTH[apart:], on_conflict)
    assert texts(ledger) == {
        "The CEO of ACME is": "Ann",
        "The CEO of Globex is": "Ann",
        "Ann is the CEO of": left,
    }
    assert ledger.verify() == []


@pytest.mark.parametrize("on_conflict", ["stop", "keep", "replace"])
def test_an_object_may_move_to_another_subject(ledger: Ledger, on_conflict: str) -> None:
    globex = replace(CEO, subject="Globex", object="Bob", id="")
    add(ledger, [CEO, globex])
    added = add(ledger, [replace(CEO, object="Bob"), replace(globex, object="Ann")], on_conflict)
    assert (added.removed, added.reversed) == (0, 2)
    assert texts(ledger) == {
        "The CEO of ACME is": "Bob", "Bob is the CEO of": "ACME",
        "The CEO of Globex is": "Ann", "Ann is the CEO of": "Globex",
    }  # fmt: skip


def test_what_comes_last_replaces_a_reverse_that_came_first(ledger: Ledger) -> None:
    explicit = Fact(subject="Ann", prompt="{} is the CEO of", object="Initech")
    add(ledger, [replace(CEO, valid_from=None), explicit], "replace")
    assert texts(ledger) == {"The CEO of ACME is": "Ann", "Ann is the CEO of": "Initech"}


def test_facts_of_another_ledger_bring_their_reverses(ledger: Ledger) -> None:
    assert TURNED is not None
    add(ledger, [CEO, TURNED])
    assert texts(ledger) == {"The CEO of ACME is": "Ann", "Ann is the CEO of": "ACME"}


def test_a_declared_pair_is_nothing_to_look_at(ledger: Ledger) -> None:
    put(ledger, CEO)
    assert findings(ledger.facts()) == []
    by_hand = Fact(subject="ACME", prompt="{} is the CEO of", object="Ann")
    notes = findings([by_hand, Fact(subject="Ann", prompt="{} is the CEO of", object="ACME")])
    assert [one.kind for one in notes] == ["reversed"]
