"""Where a text ends with the beginning of an object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from revisor.gate.state import amid_word, asked_at, begun

OBJECTS = sorted(["Jane Roe", "Jane", "New York", "New York City", "\u20ac5", "aab", "ab"])


def test_the_longest_beginning_comes_first() -> None:
    assert list(begun("is New York", OBJECTS)) == [(3, "New York"), (3, "New York City")]
    assert list(begun("is Jane", OBJECTS)) == [(3, "Jane"), (3, "Jane Roe")]
    assert list(begun("is", OBJECTS)) == []
    assert list(begun("", OBJECTS)) == []


def test_no_object_begins_within_a_word() -> None:
    assert list(begun("xJane", OBJECTS)) == []
    assert list(begun("\u662fJane", OBJECTS)) == [(1, "Jane"), (1, "Jane Roe")]
    assert amid_word("abc", 1)
    assert not amid_word("a c", 1)


@given(st.text("aabJN enw", max_size=12))
def test_begun_finds_just_the_places_from_which_an_object_begins(text: str) -> None:
    expected = [
        (at, obj)
        for at in range(len(text))
        if not (at and amid_word(text, at))
        for obj in OBJECTS
        if obj.startswith(text[at:])
    ]
    assert list(begun(text, OBJECTS)) == expected


def test_spaces_before_a_place_tell_nothing() -> None:
    assert asked_at("is  ", 4) == 2
    assert asked_at("is\n ", 4) == 3
