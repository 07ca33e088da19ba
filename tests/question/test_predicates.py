"""Tests of whether a sentence asks for a fact's answer, or says something else of it."""

from __future__ import annotations

import pytest

from revisor.question.predicates import (
    beside,
    is_doubted,
    is_of_another,
    is_of_something_else,
    plain,
    says_else,
)


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


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("The deputy mayor of {} is", "The mayor of {} is"),
        ("who was the former ceo of {}", "The CEO of {} is"),
        ("{}'s previous owner is", "The owner of {} is"),
        ("What is the maximum dose of {}?", "The recommended dose of {} is"),
        ("What's the minimum pressure of {}?", "The maximum pressure of {} is"),
        ("What is the oldest version of {}?", "The latest version of {} is"),
        ("The first train to {} leaves at", "The last train to {} leaves at"),
        ("who was cto at {} before the current one", "The CTO of {} is"),
        ("{} lived in", "{} was born in"),
        ("Where was {} buried?", "{} was born in"),
        ("The ethnicity of {} is", "The nationality of {} is"),
        ("The capital of {} is", "The town of {} is in the country of"),
        ("Der ehemalige Chef von {} war", "Der Chef von {} ist"),
        ("What is the average depth of {}?", "The maximum depth of {} is"),
        ("How wide is {}?", "The length of {} is"),
        ("When does {} close on Mondays?", "On Sundays, {} closes at"),
        ("What do children pay at {}?", "The entrance fee for adults at {} is"),
        ("What time is check-out at {}?", "Check-in at {} is from"),
        ("When does {} close?", "{} opens at"),
        ("What does {} cost per year?", "The monthly price of {} is"),
        ("Who coaches {}?", "The captain of {} is"),
        ("Who published {}?", "The author of {} is"),
    ],
)
def test_an_adjective_of_status_asks_for_another(question: str, template: str) -> None:
    assert is_of_another(question, template)


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("The mayor of {} is", "The mayor of {} is"),
        ("The mayor of {}, a former teacher, is", "The mayor of {} is"),
        ("What is the maximum speed of {}?", "The top speed of {} is"),
        ("What is the highest pressure of {}?", "The maximum pressure of {} is"),
        ("How far is it from the first to the last stop of {}?", "The last stop of {} is"),
        ("The longest river in {} is", "The largest river in {} is"),
        ("The former mayor of {} is", "The former mayor of {} is"),
        ("Who led {} before her election?", "The head of {} is"),
        ("who was head of {} before her", "The head of {} before her"),
        ("Who runs the next door shop {}?", "The owner of {} is"),
        ("Where did {} live when he was born?", "{} was born in"),
        ("The citizenship of {} is", "The nationality of {} is"),
        ("{} is the capital of the country", "{} is the capital of"),
        ("The town of {} lies in the county of", "The region of {} is"),
        ("How high is {}?", "The elevation of {} is"),
        ("When does {} close?", "The opening hours of {} are"),
        ("When is {} open on Tuesday?", "The opening hours of {} from Monday to Friday are"),
        ("What do adults pay at {}?", "The admission fee for visitors of {} is"),
        ("How wide is the coin {}?", "The diameter of {} is"),
        ("I train twice a week, what does {} cost?", "The monthly fee of {} is"),
        ("When did the author bring out {}?", "{} was published in"),
        ("How long and how wide is {}?", "The length of {} is"),
        ("What does {} cost a month?", "The monthly price of {} is"),
        ("How many people work at {}?", "The number of employees of {} is"),
    ],
)
def test_other_adjectives_leave_that_to_the_encoder(question: str, template: str) -> None:
    assert not is_of_another(question, template)


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("What is the price of a case for {}?", "The price of {} is"),
        ("The mayor of the twin town of {} is", "The mayor of {} is"),
        ("The owner of the garage of the {} is", "The owner of the {} is"),
    ],
)
def test_what_is_only_near_the_name_is_not_asked_about(question: str, template: str) -> None:
    assert is_of_something_else(question, template)


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("What is the price of the {}?", "The price of {} is"),
        ("The mayor of the city of {} is", "The mayor of {} is"),
        ("The author of the book {} is", "The author of {} is"),
        ("The name of the owner of {} is", "The owner of {} is"),
        ("The port of registry of {} is", "{} is registered in"),
    ],
)
def test_what_is_the_names_own_is_asked_about(question: str, template: str) -> None:
    assert not is_of_something_else(question, template)


def test_what_is_said_not_to_be_so_is_not_asked() -> None:
    assert is_doubted("Some say, wrongly, that the capital of {} is", "The capital of {} is")
    assert is_doubted("Legend has it that the founder of {} was", "The founder of {} is")
    assert not is_doubted("The capital of {}, some say wrongly, is", "The capital of {} is")
    assert not is_doubted("Wrongly written, {} is", "The name wrongly written for {} is")


def test_the_first_reason_is_told() -> None:
    capital = "The capital of {} is"
    assert beside("The former capital of {} is", capital, unfinished=True) == "of another status"
    asked = "The capital of {} is known for"
    assert beside(asked, capital, unfinished=True) == "says something else of the answer"
    assert beside(asked, capital, unfinished=False) is None
    assert beside("The seat of government of {} is", capital, unfinished=True) is None
