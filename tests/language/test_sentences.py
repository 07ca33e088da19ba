"""Where sentences begin and end."""

from __future__ import annotations

import pytest

from revisor.language.sentences import sentences


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("Dr. Roe left. Who leads ACME now?", ["Dr. Roe left.", "Who leads ACME now?", ""]),
        ('"Who leads it?" asked Tom. He', ['"Who leads it?" asked Tom.', "He"]),
        ("He asked 'who leads it?' and left.", ["He asked 'who leads it?' and left.", ""]),
        ('"Who leads it?" Tom asked.', ['"Who leads it?"', "Tom asked.", ""]),
        ("So... who leads it? He", ["So... who leads it?", "He"]),
        ("acme\u2026 who leads it", ["acme\u2026 who leads it"]),
        ("I see... Who leads it", ["I see...", "Who leads it"]),
        ("who leads it? thanks", ["who leads it?", "thanks"]),
        ("1. Who leads it?\n2. Where is it?", ["1. Who leads it?", "2. Where is it?", ""]),
    ],
)
def test_the_sentences_of_a_text(text: str, some: list[str]) -> None:
    assert [text[one.start : one.end] for one in sentences(text)] == some
