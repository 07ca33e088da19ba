"""Several questions in one sentence."""

from __future__ import annotations

import pytest

from revisor.language.names import mentions
from revisor.question.several import parts, questions_of
from tests.question.readings import FACTS


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("Who leads ACME and where is Bolt based?", ["Who leads ACME", "where is Bolt based?"]),
        ("What is the price of the Tarn 400 and its weight?", None),
        ("Tell me who leads ACME and also where it is", None),
        ("Name the CEO of ACME and the capital of France", None),
        ("Who leads ACME, where is it based, and when was it founded?", None),
    ],
)
def test_a_sentence_is_parted_where_another_question_begins(
    text: str, some: list[str] | None
) -> None:
    found = [text[start:end] for start, end in parts(text, 0, len(text), mentions(text, FACTS))]
    assert len(found) > 1
    assert some is None or found == some


@pytest.mark.parametrize(
    "text",
    [
        "When and where was ACME founded?",
        "Who leads ACME and the Bolt Group?",
        "Why are ACME and its neighbours rivals?",
        "What is the difference between ACME and the others?",
        "Who founded ACME and runs it?",
        "Who leads ACME, which makes anvils?",
        "Who is the boss of research and sales at ACME?",
    ],
)
def test_one_question_is_left_whole(text: str) -> None:
    assert parts(text, 0, len(text), mentions(text, FACTS)) == [(0, len(text))]


@pytest.mark.parametrize(
    ("template", "put"),
    [
        (
            "What is the price and the weight of {}?",
            ["What is the price of {}?", "What is the weight of {}?"],
        ),
        (
            "Give me the phone number, address and CEO of {}.",
            [f"Give me the {noun} of {{}}." for noun in ("phone number", "address", "CEO")],
        ),
        ("{}'s CEO and phone number?", ["{}'s CEO?", "{}'s phone number?"]),
        (
            "Tell me the name and address of {}",
            ["Tell me the name of {}", "Tell me the address of {}"],
        ),
        ("When and where was {} born?", ["When was {} born?", "where was {} born?"]),
    ],
)
def test_several_things_are_asked_for_one_by_one(template: str, put: list[str]) -> None:
    assert questions_of(template) == put


@pytest.mark.parametrize(
    "template",
    [
        "Who is the founder and CEO of {}?",
        "Who is the head of research and development of {}?",
        "How do I find and replace text in {}?",
        "Who founded {} and runs it?",
        "The price and the weight of {} are",
        "What is {}'s price?",
    ],
)
def test_one_thing_is_not(template: str) -> None:
    assert questions_of(template) == [template]
