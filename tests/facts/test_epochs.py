"""Which facts hold together, and which rows speak for them."""

from __future__ import annotations

from dataclasses import replace

from revisor.facts.epochs import bounds, epochs
from revisor.facts.fact import Fact

ALWAYS = Fact(subject="ACME", prompt="{} makes", object="soap", id="always")
OLD = Fact(subject="ACME", prompt="{} is led by", object="Ann", valid_to="2025-01-01", id="old")
NEW = replace(OLD, object="Bob", valid_from="2025-01-01", valid_to=None, id="new")


def names(*facts: Fact) -> list[list[str]]:
    return [[fact.id for fact in one] for one in epochs(facts)]


def test_facts_without_times_hold_together_always() -> None:
    assert names(ALWAYS, replace(ALWAYS, id="other")) == [["always", "other"]]
    assert epochs([]) == []


def test_facts_that_follow_one_another_are_never_together() -> None:
    assert names(ALWAYS, NEW, OLD) == [["always", "old"], ["always", "new"]]


def test_a_time_in_which_nothing_holds_is_no_epoch() -> None:
    gap = replace(NEW, valid_from="2027-01-01")
    assert names(OLD, gap) == [["old"], ["new"]]


def test_a_set_that_holds_twice_is_one_epoch() -> None:
    middle = replace(NEW, valid_from="2025-01-01", valid_to="2026-01-01")
    assert names(ALWAYS, middle) == [["always"], ["always", "new"]]


def test_bounds_are_moments_in_order_whatever_their_zone() -> None:
    early = replace(NEW, valid_from="2024-12-31T23:30:00-01:00")
    assert len(bounds([OLD, early])) == 2
    assert bounds([OLD, early]) == sorted(bounds([OLD, early]))
    assert bounds([OLD, NEW]) == bounds([OLD])
