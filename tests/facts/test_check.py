"""Contradictions among facts, facts about one subject, and facts that are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.facts.check import conflicts_between, expired, same_subject
from revisor.facts.fact import Fact, normal_form
from revisor.facts.ledger import Ledger, Put

ACME = Fact(subject="ACME", prompt="The CEO of {} is", object="Jane Roe")
JOHN = replace(ACME, object="John Doe")
DECLARED = Fact(subject="Acme", prompt="the CEO of  {} is", object="John Doe", relation="P169")


class Live:
    """A ledger of a few facts."""

    def __init__(self, *facts: Fact) -> None:
        self._facts = facts

    def about(self, subjects: Iterable[str]) -> Iterator[Fact]:
        wanted = {normal_form(subject) for subject in subjects}
        return (fact for fact in self._facts if normal_form(fact.subject) in wanted)

    def aliased(self) -> Iterator[Fact]:
        return (fact for fact in self._facts if fact.aliases)

    def known(self, fact_ids: Iterable[str]) -> dict[str, Fact]:
        wanted = set(fact_ids)
        return {fact.id: fact for fact in self._facts if fact.id in wanted}


def test_facts_that_agree_do_not_conflict() -> None:
    assert conflicts_between([ACME, ACME, replace(ACME, object="jane  roe")], Live(ACME)) == []


def test_two_objects_for_one_id_in_one_import_conflict() -> None:
    (found,) = conflicts_between([ACME, JOHN])
    assert (found.kind, found.fact, found.other, found.in_ledger) == ("same id", JOHN, ACME, False)
    assert "'The CEO of ACME is' -> 'John Doe'" in str(found)
    assert "contradicts 'Jane Roe'" in str(found)


def test_another_object_than_the_ledger_s_is_an_update_and_no_conflict() -> None:
    assert conflicts_between([JOHN], Live(ACME)) == []


def test_one_statement_with_two_objects_conflicts_under_two_ids() -> None:
    (found,) = conflicts_between([ACME, DECLARED])
    assert (found.kind, found.fact, found.other) == ("same statement", DECLARED, ACME)


def test_a_live_fact_contradicts_a_new_one_with_another_id() -> None:
    (found,) = conflicts_between([DECLARED], Live(ACME))
    assert (found.kind, found.other, found.in_ledger) == ("same statement", ACME, True)


def test_a_live_fact_that_the_import_changes_contradicts_nothing() -> None:
    assert conflicts_between([DECLARED, JOHN], Live(ACME)) == []


@pytest.mark.parametrize("prompt", ["the C.E.O. of {} is", "CEO of {}, is", "The C E O of {} is"])
def test_stops_of_initials_are_no_other_words(prompt: str) -> None:
    (found,) = conflicts_between([ACME, replace(JOHN, prompt=prompt, id="")])
    assert found.kind == "other words"


@pytest.mark.parametrize(
    "fields",
    [{"namespace": "other"}, {"prompt": "The chairman of {} is"}, {"subject": "ACME Ltd"}],
)
def test_other_statements_do_not_conflict(fields: dict[str, str]) -> None:
    other = replace(DECLARED, id="", **fields)
    assert conflicts_between([ACME, other]) == conflicts_between([ACME], Live(other)) == []


@pytest.mark.parametrize(("end", "count"), [("2025-01-01", 0), ("2025-01-02", 1)])
def test_values_of_different_times_conflict_only_where_the_times_meet(end: str, count: int) -> None:
    new = replace(ACME, valid_from="2025-01-01")
    old = replace(JOHN, valid_to=end, qualifier="before", id="")
    assert len(conflicts_between([old, new])) == count
    assert len(conflicts_between([new], Live(old))) == count


def test_each_of_several_values_over_time_is_held_against_the_others() -> None:
    years = [
        replace(ACME, object=name, qualifier=name, valid_from=start, valid_to=end, id="")
        for name, start, end in (
            ("A", "2019-01-01", "2021-01-01"),
            ("B", "2021-01-01", "2023-01-01"),
            ("C", "2022-01-01", "2024-01-01"),
        )
    ]
    (found,) = conflicts_between(years)
    assert (found.fact.object, found.other.object) == ("C", "B")


def test_the_real_ledger_answers_the_check(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite", create=True) as ledger:
        ledger.apply([Put(ACME)], actor="ann", reason="because")
        (found,) = conflicts_between([DECLARED], ledger)
    assert found.other == ACME


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_no_conflict_means_one_object_for_each_id(pairs: list[tuple[int, int]]) -> None:
    facts = [Fact(subject=f"S{s}", prompt="{} is", object=f"o{o}") for s, o in pairs]
    objects: dict[str, set[str]] = {}
    for fact in facts:
        objects.setdefault(fact.id, set()).add(fact.object)
    contradictory = {key for key, values in objects.items() if len(values) > 1}
    assert {found.fact.id for found in conflicts_between(facts)} == contradictory


def test_facts_are_grouped_by_their_subject_in_any_spelling() -> None:
    other = replace(ACME, subject="Initech", id="")
    groups = same_subject([ACME, other, DECLARED])
    assert groups == {"acme": [ACME, DECLARED], "initech": [other]}


def test_a_fact_is_expired_from_the_moment_it_no_longer_holds() -> None:
    fact = replace(ACME, valid_to="2025-01-01")
    assert expired([fact, JOHN], datetime(2024, 12, 31, tzinfo=UTC)) == []
    assert expired([fact, JOHN], datetime(2025, 1, 1, tzinfo=UTC)) == [fact]
