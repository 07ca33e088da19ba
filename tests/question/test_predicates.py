"""Tests of whether a sentence asks for a fact's answer, or says something else of it."""

from __future__ import annotations

import pytest

from revisor.question.predicates import plain, says_else


def test_the_words_of_a_template_keep_its_slot() -> None:
    assert plain("The CEO of {}, now, is") == ("the", "ceo", "of", "{}", "now", "is")


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("The capital of {} is known for", "The capital of {} is"),
        ("The capital of {} lives on", "What is the capital of {}?"),
        ("The woman who runs {} needs", "Who runs {}?"),
        ("According to the guide, the capital of {} was built by", "The capital of {} is"),
        ("The next release of {} adds support for", "The next release of {} is"),
        ("The headquarters of {} burned down in", "The headquarters of {} are in"),
        ("Die Hauptstadt von {} ist bekannt für", "Die Hauptstadt von {} ist"),
        ("La capital de {} es famosa por", "La capital de {} es"),
    ],
)
def test_a_sentence_that_goes_on_about_the_answer_asks_for_something_else(
    question: str, template: str
) -> None:
    assert says_else(question, template)


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("The capital of {} is", "The capital of {} is"),
        ("The capital of {} is called", "The capital of {} is"),
        ("The capital of {} is the city of", "The capital of {} is"),
        ("The capital of {}, known for its beer, is", "The capital of {} is"),
        ("The price of {} currently stands at", "The price of {} is"),
        ("The headquarters of {} are located in", "The headquarters of {} are in"),
        ("The woman who runs {} is a lawyer named", "Who runs {}?"),
        ("What is the capital of {} known as?", "The capital of {} is"),
        ("I'd like to write to the CFO of {}. Who is that?", "Who is the CFO of {}?"),
        ("Look up the capital of {} and write it here:", "The capital of {} is"),
        ("{} was founded by", "{} was founded in"),
        ("Die Hauptstadt von {} heißt", "Die Hauptstadt von {} ist"),
    ],
)
def test_a_sentence_that_comes_to_the_answer_does_not(question: str, template: str) -> None:
    assert not says_else(question, template)
