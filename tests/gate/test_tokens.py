"""Text as tokens, tokens as text, and what stands between a text and a word behind it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor.gate.tokens import Behind, Reading, Tokens, behind, needs_space
from tests import tiny


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("", False),
        ("is", True),
        ("is ", False),
        ("is\n", False),
        ("is (", False),
        ("is:", True),
        ("is\uff1a", False),
        ("is,", True),
        ('say "', False),
        ('"ACME" is "', False),
        ('"ACME"', True),
        ('{"a": "b", "c": "', False),
        ("**CEO:**", True),
        ("**CEO:** **", False),
        ("* **CEO:** **", False),
        ("*CEO* is *", False),
        ("`x`", True),
        ("Finch's", True),
        ("the 'Finch's'", True),
        ("Finch's '", False),
        ("<|im_start|>assistant\n", False),
        ("<|message|>", False),
        ("[assistant]", False),
        ("</think>", False),
        ("[/INST]", True),
        ("see [1]", True),
        ("a > b >", True),
        ("\u9996\u5e2d\u662f", True),
    ],
)
def test_a_space_goes_where_words_have_one(text: str, wants: bool) -> None:
    assert needs_space(text, "Jane") == wants


def test_scripts_without_spaces_need_none_between_their_own() -> None:
    assert not needs_space("\u9996\u5e2d\u662f", "\u674e")
    assert not needs_space("\u0e04\u0e37\u0e2d", "\u0e01")
    assert needs_space("\uc2dc\uc7a5\uc740", "\uae40")


def test_what_an_object_leaves_behind_it() -> None:
    assert behind("Niccol") is Behind.NAME
    assert behind("iPhone 12") is Behind.NAME
    assert behind("\u0395\u03bb\u03bb\u03ac\u03b4\u03b1") is Behind.NAME
    assert behind("1987") is Behind.WORD
    assert behind("dark blue") is Behind.WORD
    assert behind("Yahoo!") is None
    assert behind("\u674e\u660e") is None


def test_a_rest_is_spelled_within_a_word(any_tokenizer: Any) -> None:
    tokens = Tokens.of(any_tokenizer)
    context = tokens.encode("is Nic")
    spelled = tokens.spell("col", "is Nic", context, begins=False)
    read = tokens.decode([*context, *spelled])
    assert read.replace(" ", "") == "isNiccol"


def test_the_same_tokenizer_has_one_reader() -> None:
    assert Tokens.of(tiny.byte_level()) is Tokens.of(tiny.byte_level())


@pytest.mark.parametrize(
    ("behind", "carries", "leaves"),
    [
        (Behind.WORD, ["s", "0", " and"], [".", " And", " android", ", and", " Alegre", "\n"]),
        (
            Behind.NAME,
            ["s", "0", " and", " Alegre", " \u0391\u03b8"],
            [".", " who", " 7", "\nIt", ""],
        ),
        (Behind.NUMBER, ["0", "25"], ["s", " and", " 0", " Alegre"]),
    ],
)
def test_what_carries_an_object_on(behind: Behind, carries: list[str], leaves: list[str]) -> None:
    assert all(behind.is_carried_by(text) for text in carries)
    assert not any(behind.is_carried_by(text) for text in leaves)


def test_tokens_that_carry_an_object_on_are_found_by_how_they_read_behind_it() -> None:
    tokenizer = tiny.byte_level()
    tokens = Tokens.of(tokenizer)
    size = len(tokenizer)
    for one in Behind:
        held_V = tokens.carrying(size + 5, torch.device("cpu"), one)
        assert held_V.shape == (size + 5,)
        assert not bool(held_V[-5:].any())
        for token in range(size):
            text = tokenizer.decode([token])
            assert bool(held_V[token]) == one.is_carried_by(text), text


def test_a_character_is_read_when_it_is_whole() -> None:
    for tokenizer in (tiny.byte_level(), tiny.metaspace()):
        tokens = Tokens.of(tokenizer)
        reading = Reading(tokens)
        for token in tokens.encode("is \U0001f389\u03b1\u03b2 so"):
            reading.read(token)
            assert "\ufffd" not in reading.text
        assert reading.text == "is \U0001f389\u03b1\u03b2 so"
        assert reading.partial == 0
        reading.crop(3)
        again = Reading(tokens)
        for token in reading.ids:
            again.read(token)
        assert (again.text, again.ends) == (reading.text, reading.ends)


def test_how_an_object_reads_is_itself_where_the_tokenizer_keeps_it() -> None:
    assert Tokens.of(tiny.byte_level()).shown("St. John's") == "St. John's"
    assert Tokens.of(tiny.metaspace()).shown("\U0001f389") == "\U0001f389"
    assert Tokens.of(tiny.word_piece()).shown("x(y)") != "x(y)"
