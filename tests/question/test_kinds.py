"""Tests of what a question asks for, and whether it asks."""

from __future__ import annotations

import pytest

from revisor.question.kinds import (
    asks_otherwise,
    asks_yes_or_no,
    fits,
    looks_back,
    said_of_another,
    works_on_text,
)


@pytest.mark.parametrize(
    ("question", "obj"),
    [
        ("When was {} born?", "3 May 1961"),
        ("When does {} open?", "Tuesday to Sunday"),
        ("In which year was {} founded?", "1987"),
        ("Where was {} founded?", "Tampere"),
        ("Where is {}?", "12 Quayside Lane, Whitby"),
        ("How many people work at {}?", "about forty"),
        ("How much is the {}?", "$1,249"),
        ("What is the price of the {}?", "299 \u20ac"),
        ("What is the weight of the {}?", "212 g"),
        ("Who sets the price of {}?", "Jane Roe"),
        ("What is the price list of {}?", "a PDF"),
        ("What does the price of {} include?", "breakfast"),
        ("When is the fee for {} due?", "in January"),
        ("What fare does {} serve?", "Thai dishes"),
        ("What is the price of {}?", "a euro a minute"),
        ("On which day does {} open?", "Monday"),
        ("At what time does {} open?", "7:30"),
        ("How high is the price of {}?", "249 euros"),
        ("How much is the {}?", "12 dollars a month"),
        ("How heavy is the {}?", "20 pounds"),
        ("How old is {}?", "12"),
        ("How can I call {}?", "+358 40 555 0173"),
        ("Who runs {}?", "the board of directors"),
        ("What is the slogan of {}?", "Measure twice"),
        ("The CEO of {} is", "1987"),
        ("Which time zone is {} in?", "Asia/Pontianak"),
        ("Which month group does {} play in?", "Group B"),
    ],
)
def test_an_object_of_the_kind_that_is_asked_for_fits(question: str, obj: str) -> None:
    assert fits(question, obj)


@pytest.mark.parametrize(
    ("question", "obj"),
    [
        ("When was {} born?", "Tuvalu"),
        ("What year was {} founded?", "Tampere"),
        ("What time is it at {}?", "Tampere"),
        ("Which year {} was founded", "Tampere"),
        ("Where was {} founded?", "3 May 2001"),
        ("Where was {} founded?", "1987"),
        ("How many people live in {}?", "Tarnsby"),
        ("Who founded {}?", "1987"),
        ("Who sells the {}?", "$1,249"),
        ("What is the weight of the {}?", "\u20ac299"),
        ("What is the weight of the {}?", "299 euros"),
        ("What is the salary of {}?", "Senior Analyst"),
        ("What does {} cost?", "Jane Roe"),
        ("{} population?", "Lisbon"),
        ("Was ist das Gehalt von {}?", "Jane Roe"),
        ("On which day is {} closed?", "7:30"),
        ("In what year did {} open?", "7 a.m."),
        ("How heavy is the {}?", "249 euros"),
        ("How tall is the {}?", "3 million US dollars"),
        ("How fast is the {}?", "EUR 500"),
    ],
)
def test_an_object_of_another_kind_does_not(question: str, obj: str) -> None:
    assert not fits(question, obj)


@pytest.mark.parametrize(
    "question", ["Is Paris the capital of {}?", "Does {} have a cat?", "Was {} founded in 1987?"]
)
def test_a_question_of_yes_or_no_is_told(question: str) -> None:
    assert asks_yes_or_no(question)


@pytest.mark.parametrize(
    "question",
    [
        "{} is based in",
        "Can you tell me the capital of {}?",
        "Do you know who leads {}?",
        "Is there a phone number for {}?",
        "Could you give me the address of {}?",
        "What is the capital of {}?",
    ],
)
def test_a_question_for_more_than_yes_or_no_is_not_taken_for_one(question: str) -> None:
    assert not asks_yes_or_no(question)


def test_a_request_about_a_text_is_told() -> None:
    assert works_on_text("Translate 'What is the capital of {}?' into German.")
    assert works_on_text("Please translate: the CEO of {} is")
    assert not works_on_text("Name the capital of {}.")


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("The hurricane, which is in {}, is", "{} is known for"),
        ("Florence, {}, where he was a", "The official language of {} is"),
    ],
)
def test_what_is_said_of_another_is_told(question: str, template: str) -> None:
    assert said_of_another(question, template)


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("In {}, the official language is", "{} speaks"),
        ("The CEO of {} is", "{} is led by"),
        ("People who live in {} speak", "The language spoken in {} is"),
        ("{} was founded in", "{} began in"),
    ],
)
def test_what_is_said_of_the_name_is_not(question: str, template: str) -> None:
    assert not said_of_another(question, template)


@pytest.mark.parametrize(
    ("one", "other", "back"),
    [
        ("The father of {} is", "{} is the father of", True),
        ("{}'s capital is", "Lyra. {} was the capital of", True),
        ("Who is the parent company of {}?", "{} is a parent company of", True),
        ("Who is the company of {}?", "{} is the parent company of", True),
        ("The father of {} is", "Who is the father of {}?", False),
        ("The father of {} is", "{} is the mother of", False),
    ],
)
def test_what_is_asked_from_the_other_side(one: str, other: str, back: bool) -> None:
    assert looks_back(one, other) is back
    assert looks_back(other, one) is back


def test_question_words_of_two_kinds_ask_for_two_things() -> None:
    assert asks_otherwise("Where does {} take place?", "When does {} take place?")
    assert asks_otherwise("When did they found {}?", "Who founded {}?")
    assert not asks_otherwise("In which town does {} take place?", "Where does {} take place?")
    assert not asks_otherwise("Where is {} based?", "The seat of {} is")
    assert not asks_otherwise("What is it that {} does when it rains?", "Where is {}?")
