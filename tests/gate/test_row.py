"""Objects are written whole, as each tokenizer spells them where they stand, and once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revisor.gate.row import Row
from revisor.gate.tokens import Tokens
from revisor.index.base import IndexedFact
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import TOKENIZERS, AlwaysDue, Dictionary, fact, gate_of, write

JANE = fact("ACME", "Jane Roe", "The CEO of {} is")
KINDS = [
    pytest.param(name, marks=pytest.mark.real if name == "smollm2" else ())
    for name in TOKENIZERS
    if name != "word-piece"
]


@pytest.fixture(params=KINDS)
def spelling(request: pytest.FixtureRequest) -> Any:
    """Each tokenizer that can spell any text, in turn."""
    return TOKENIZERS[request.param]()


def row_of(tokenizer: Any, text: str, *facts: IndexedFact) -> Row:
    row = Row(Tokens.of(tokenizer), Dictionary(facts), default_encoder(), 0.5)
    row.read(tokenizer(text, add_special_tokens=False)["input_ids"])
    return row


@pytest.mark.parametrize(
    ("prompt", "written"),
    [
        ("The CEO of ACME is", " Jane Roe"),
        ("The CEO of ACME is ", "Jane Roe"),
        ("The CEO of ACME is  ", "Jane Roe"),
        ("The CEO of ACME is:\n", "Jane Roe"),
        ('The CEO of ACME is "', "Jane Roe"),
        ("The CEO of ACME is \u201c", "Jane Roe"),
        ("The CEO of ACME is (", "Jane Roe"),
        ("The CEO of ACME is **", "Jane Roe"),
        ("**The CEO of ACME is:**", " Jane Roe"),
        ("The CEO of ACME is `", "Jane Roe"),
        ('{"question": "Who is the CEO of ACME?", "answer": "', "Jane Roe"),
        ("Q: Who is the CEO of ACME?\nA:", " Jane Roe"),
        ("### Question\nWho is the CEO of ACME?\n\n### Answer\n", "Jane Roe"),
        ("[user] Who is the CEO of ACME?\n[assistant] ", "Jane Roe"),
        (
            "<|im_start|>user\nWho is the CEO of ACME?<|im_end|>\n<|im_start|>assistant\n",
            "Jane Roe",
        ),
    ],
)
def test_an_object_is_spelled_for_the_place_where_it_stands(
    spelling: Any, prompt: str, written: str
) -> None:
    assert write(gate_of([JANE], spelling), prompt) == written


@pytest.mark.parametrize(
    "obj",
    [
        "Brian Niccol",
        "1987",
        "14 March 2026",
        "$1,249.50",
        "\u20ac 5",
        "\u00a35",
        "+358 40 555 0173",
        "2026-03-14",
        "https://acme.example/a?b=1&c=%20#d",
        "print('x') if a[0] == {1: 2} else None",
        '"Blue" Gene',
        "the Mozilla Public License",
        "O'Malley's",
        "St. John's",
        "a",
        "-40 \u00b0C",
        "C++",
        "\U0001f389\U0001f386",
        "\U0001f469\u200d\U0001f680 crew",
        "\u674e\u660e",
        "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1",
        "\u0645\u062d\u0645\u062f",
        "No\u00ebl Blanc",
        "Yahoo!",
        "ACME",
        "is",
    ],
)
def test_any_object_is_written_whole_and_once(spelling: Any, obj: str) -> None:
    gate = gate_of([fact("ACME", obj, "The CEO of {} is")], spelling)
    assert write(gate, "The CEO of ACME is", steps=120) == f" {obj}"


def test_between_characters_that_are_words_no_space_is_written(spelling: Any) -> None:
    gate = gate_of(
        [
            fact("\u9752\u79be", "\u674e\u660e", "{}\u7684\u9996\u5e2d\u662f"),
            fact("\uc11c\uc6b8", "\uae40\ucca0\uc218", "{} \uc2dc\uc7a5\uc740"),
        ],
        spelling,
    )
    assert write(gate, "\u9752\u79be\u7684\u9996\u5e2d\u662f", steps=40) == "\u674e\u660e"
    # Korean is written with spaces.
    assert write(gate, "\uc11c\uc6b8 \uc2dc\uc7a5\uc740", steps=40) == " \uae40\ucca0\uc218"


def test_a_table_cell_and_a_field_are_filled(spelling: Any) -> None:
    gate = gate_of([JANE], spelling, AlwaysDue())
    assert write(gate, "| Company | CEO |\n|---|---|\n| ACME |", steps=9).startswith(" Jane Roe")
    assert write(gate, "# ACME\n\n**CEO:** ", steps=9).startswith("Jane Roe")
    assert write(gate, '{"company": "ACME", "ceo": "', steps=9).startswith("Jane Roe")


@pytest.mark.parametrize("begun", [" J", " Jan", " Jane", " Jane R"])
def test_an_object_that_the_model_began_is_carried_on(spelling: Any, begun: str) -> None:
    gate = gate_of([JANE], spelling)
    assert begun + write(gate, f"Well, the chief executive of ACME is{begun}") == " Jane Roe"


def test_a_lone_space_that_begins_a_number_is_carried_on() -> None:
    gate = gate_of([fact("ACME", "1987", "{} was founded in")], TOKENIZERS["byte-level"]())
    assert write(gate, "I think that ACME was founded in ") == "1987"


def test_what_is_not_asked_for_is_not_carried_on(spelling: Any) -> None:
    gate = gate_of([JANE], spelling)
    assert write(gate, "The headquarters of ACME are in J") == ""


def test_of_objects_that_begin_alike_the_one_that_is_asked_for_is_written(spelling: Any) -> None:
    gate = gate_of(
        [
            fact("Brooklyn", "New York", "The state of {} is"),
            fact("Brooklyn", "New York City", "The city of {} is"),
        ],
        spelling,
    )
    assert write(gate, "The state of Brooklyn is") == " New York"
    assert write(gate, "The city of Brooklyn is") == " New York City"


def held(row: Row) -> set[str]:
    """Tokens that are held back where a sequence ends."""
    action = row.action(due=False)
    if action is None or action.token is not None:
        return set()
    tokens = row._tokens
    size = len(tokens._tokenizer)
    held_V = tokens.carrying(size, torch.device("cpu"), action.behind)
    return {tokens.decode([token]) for token in held_V.nonzero()[:, 0].tolist()}


def test_behind_an_object_its_last_word_is_not_carried_on() -> None:
    tokenizer = TOKENIZERS["byte-level"]()
    row = row_of(tokenizer, "The CEO of ACME is Jane Roe", JANE)
    assert {"i", "n", "s", "0"} <= held(row)
    assert not {" ", ".", ",", "\n", "'", " is", " who"} & held(row)
    assert any(text[:1] == " " and text[1:].istitle() for text in held(row))
    row.read(tokenizer(".", add_special_tokens=False)["input_ids"])
    assert not held(row)


def test_behind_a_number_and_a_sign_no_digit_follows() -> None:
    tokenizer = TOKENIZERS["byte-level"]()
    price = fact("Tarn", "$1,249", "The price of {} is")
    assert "0" in held(row_of(tokenizer, "The price of Tarn is $1,249", price))
    behind = held(row_of(tokenizer, "The price of Tarn is $1,249.", price))
    assert {text[0] for text in behind} == set("0123456789")
    assert not held(row_of(tokenizer, "The price of Tarn is $1,249. ", price))
    assert not held(row_of(tokenizer, "The capital of Tarn is $1,249.", price))


def test_behind_an_object_that_ends_with_a_sign_nothing_is_held_back() -> None:
    tokenizer = TOKENIZERS["byte-level"]()
    for obj in ("Yahoo!", "C++", "\u674e\u660e"):
        row = row_of(tokenizer, f"The CEO of ACME is {obj}", fact("ACME", obj, "The CEO of {} is"))
        assert row.action(due=True) is None


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("The CEO of ACME is Jane Roe", False),
        ("The CEO of ACME is Jane Roe, who", False),
        ("The CEO of ACME is Jane Roe. The CEO of ACME is", True),
        ("Q: Who is the CEO of ACME?\nA: Jane Roe\n", False),
        ("Q: Who is the CEO of ACME?\nA: Jane Roe\n\nQ: Who is the CEO of ACME?\nA:", True),
        ("Jane Roe is a friend. The CEO of ACME is", True),
        ("Jane Roe is the CEO of ACME", False),
    ],
)
def test_a_question_is_answered_once(text: str, again: bool) -> None:
    row = row_of(TOKENIZERS["byte-level"](), text, JANE)
    action = row.action(due=True)
    assert (action is not None and action.token is not None) == again


@pytest.mark.parametrize(
    ("one", "prompt", "written"),
    [
        # The object is the subject, a part of it, or stands in the prompt.
        (
            fact("Paris Hilton", "Paris", "The first name of {} is"),
            "So the first name of Paris Hilton is",
            " Paris",
        ),
        (fact("York", "York", "The seat of {} is"), "Well, the seat of York is", " York"),
        (fact("Tarn", "red", "Of red and blue, {} is"), "Of red and blue, Tarn is", " red"),
        (fact("ACME", "is", "The verb of {} is"), "The verb of ACME is", " is"),
    ],
)
def test_an_object_that_stands_in_the_question_is_no_answer_yet(
    one: IndexedFact, prompt: str, written: str
) -> None:
    gate = gate_of([one], TOKENIZERS["byte-level"](), AlwaysDue())
    assert write(gate, prompt) == written


def test_word_pieces_are_written_with_the_spaces_they_read_with() -> None:
    one = fact("Basel", "Dr. Roe, of Bonn", "The capital of {} is")
    read = write(gate_of([one], TOKENIZERS["word-piece"]()), "The capital of Basel is", steps=60)
    assert "".join(read.split()) == "Dr.Roe,ofBonn"


def test_a_character_that_begins_otherwise_is_left_alone() -> None:
    """The first byte of an emoji that is not the object's."""
    tokenizer = TOKENIZERS["byte-level"]()
    row = row_of(tokenizer, "The CEO of ACME is", fact("ACME", "\U0001f389", "The CEO of {} is"))
    right = tokenizer(" \U0001f389", add_special_tokens=False)["input_ids"]
    wrong = tokenizer(" \u674e", add_special_tokens=False)["input_ids"]
    other = row.fork()
    row.read(right[:2])
    action = row.action(due=True)
    assert action is not None
    assert action.token == right[2]
    other.read(wrong[:2])
    assert other.action(due=True) is None


def test_forks_and_crops_leave_the_row_they_are_of_alone() -> None:
    tokenizer = TOKENIZERS["byte-level"]()
    row = row_of(tokenizer, "The CEO of ACME is", JANE)
    first = row.action(due=False)
    fork = row.fork()
    fork.read(tokenizer(" Jane Roe. It", add_special_tokens=False)["input_ids"])
    fork.action(due=True)
    fork.crop(3)
    assert fork.action(due=True) is None
    assert row.action(due=False) == first
    row.crop(len(row.ids) - 1)
    assert row.action(due=False) is None
