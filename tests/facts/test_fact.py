"""What a fact is: its identity, its text and when it holds."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.facts.fact import Fact, fact_id, normal_form, parse_time


def ceo(**fields: str) -> Fact:
    return Fact(**{"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"} | fields)


def test_another_object_is_the_same_fact() -> None:
    assert ceo().id == ceo(object="John Doe").id


@pytest.mark.parametrize("spelling", ["acme", " ACME ", "ＡＣＭＥ"])
def test_another_spelling_of_the_subject_is_the_same_fact(spelling: str) -> None:
    assert ceo(subject=spelling).id == ceo().id


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "ACME Ltd"},
        {"prompt": "The chairman of {} is"},
        {"relation": "P169"},
        {"namespace": "test"},
        {"qualifier": "2024"},
    ],
)
def test_another_coordinate_is_another_fact(fields: dict[str, str]) -> None:
    assert ceo(**fields).id != ceo().id


def test_a_declared_relation_identifies_the_fact_whatever_the_prompt() -> None:
    one = ceo(relation="P169")
    assert one.id == ceo(relation="P169", prompt="{} is led by").id


def test_a_given_id_is_kept() -> None:
    assert ceo(id="acme-ceo").id == "acme-ceo"


def test_an_id_does_not_change_between_releases() -> None:
    assert ceo().id == "6c551b7ed7ef8ad7"


def test_coordinates_do_not_run_into_one_another() -> None:
    assert fact_id("a", "b c", "d") != fact_id("a", "b", "c d")


def test_a_fact_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ceo().object = "John Doe"  # type: ignore[misc]


def test_the_text_has_the_subject_at_every_place() -> None:
    assert ceo(prompt="{}: the CEO of {} is").text == "ACME: the CEO of ACME is"


def test_a_fact_holds_from_its_first_moment_to_just_before_its_last() -> None:
    fact = ceo(valid_from="2024-01-01", valid_to="2025-01-01")
    assert not fact.valid_at(datetime(2023, 12, 31, 23, 59, tzinfo=UTC))
    assert fact.valid_at(datetime(2024, 1, 1, tzinfo=UTC))
    assert fact.valid_at(datetime(2024, 12, 31, 23, 59, tzinfo=UTC))
    assert not fact.valid_at(datetime(2025, 1, 1, tzinfo=UTC))


def test_a_fact_without_times_always_holds() -> None:
    assert ceo().valid_at(datetime(1, 1, 1, tzinfo=UTC))


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2024-01-01T12:00") == parse_time("2024-01-01T14:00+02:00")


@pytest.mark.parametrize(
    "text", ["9999-12-31", "9999-12-31T23:59-23:00", "0001-01-01", "0001-01-01T00:00+23:00"]
)
def test_the_ends_of_time_can_be_reckoned_with(text: str) -> None:
    """9999-12-31 is what other databases write for no end."""
    moment = parse_time(text).astimezone(UTC)
    assert moment + timedelta(days=1) > moment > moment - timedelta(days=1)


@pytest.mark.parametrize("text", ["", "soon", "2024", "2024-13-01", "01.02.2024"])
def test_what_is_no_iso_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_time(text)


@given(st.text())
def test_spaces_around_and_between_words_do_not_count(text: str) -> None:
    assert normal_form(f"  {text}\t") == normal_form(text)


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_case_does_not_count(text: str) -> None:
    assert normal_form(text.upper()) == normal_form(text.lower())
