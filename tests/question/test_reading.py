"""Sentences as templates, and the kinds of sentences; whole texts are in tests/language/corpus."""

from __future__ import annotations

import pytest

from revisor.language.names import Mention
from revisor.question import forms
from revisor.question.reading import questions
from revisor.question.records import field_asked


@pytest.mark.parametrize(
    ("sentence", "asks"),
    [
        ("Who leads ACME?", True),
        ("who leads acme", True),
        ("whos the ceo of acme", True),
        ("ACME CEO?", True),
        ("Tell me who leads ACME.", True),
        ("Please could you tell me who leads ACME.", True),
        ("Hi, who leads ACME", True),
        ("I'd like to know who leads ACME.", True),
        ("We need the phone number of ACME.", True),
        ("Nenne mir den Chef von ACME.", True),
        ("Ich möchte wissen, wer ACME leitet.", True),
        ("\u8c01\u9886\u5bfc\uff1f", True),
        ("I met the CEO of ACME.", False),
        ("When ACME was founded, it made anvils.", False),
        ("The State of Ohio needs a governor.", False),
        ("ACME is looking for a CEO.", False),
        ("", False),
    ],
)
def test_a_sentence_asks_with_a_mark_or_without(sentence: str, asks: bool) -> None:
    assert forms.asks(sentence) == asks
    assert not (asks and forms.is_statement(sentence))


@pytest.mark.parametrize(
    ("sentence", "slotted"),
    [
        ("Its CEO is", "{}'s CEO is"),
        ("Who leads it?", "Who leads {}?"),
        ("The company is based in", "{} is based in"),
        ("The company's CEO is", "{}'s CEO is"),
        ("This company was founded in", "{} was founded in"),
        ("They were founded in", "{} were founded in"),
        ("Ihr Sitz ist in", "{}'s Sitz ist in"),
        ("Die Firma sitzt in", "{} sitzt in"),
        ("The CEO is", None),
        ("A company is based in", None),
    ],
)
def test_what_stands_for_a_name_becomes_the_slot(sentence: str, slotted: str | None) -> None:
    assert forms.with_slot(sentence) == slotted


@pytest.mark.parametrize(
    ("fragment", "nothing"),
    [
        ("", True),
        ("The answer is", True),
        ("Sure! The answer is", True),
        ("It's", True),
        ("Yes, it is", True),
        ("Die Antwort lautet", True),
        ("The CEO is", False),
        ("Jane", False),
    ],
)
def test_lead_ins_of_an_answer_say_nothing(fragment: str, nothing: bool) -> None:
    assert forms.says_nothing(fragment) == nothing


@pytest.mark.parametrize(
    ("sentence", "leaves_out"),
    [
        ("Who is the CEO?", True),
        ("What is the phone number?", True),
        ("Where are the headquarters?", True),
        ("Who is the king of France?", False),
        ("Who is the CEO of globex?", False),
        ("Who wrote Hamlet?", False),
        ("The CEO is", False),
    ],
)
def test_a_question_that_leaves_its_name_out(sentence: str, leaves_out: bool) -> None:
    assert forms.leaves_name_out(sentence) == leaves_out


def test_courtesies_and_questions_that_go_on() -> None:
    assert forms.is_courtesy("Thanks!")
    assert forms.is_courtesy("Please be brief.")
    assert not forms.is_courtesy("Thanks to ACME we")
    assert forms.goes_on("And the headquarters?")
    assert forms.goes_on("What about the CEO?")
    assert not forms.goes_on("Who leads it?")


def test_markup_is_left_out_of_a_template() -> None:
    assert forms.clean("- **The  CEO** of `x`\nis") == "The CEO of x is"
    text = 'The CEO of "ACME" is'
    assert forms.filled(text, 0, Mention(12, 16, (0,)), len(text)) == "The CEO of {} is"
    assert forms.field_text("**CEO:** ") == "CEO {}"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"company": "ACME", "chief_executive": "', "chief executive"),
        ('{"company": "ACME", "founded": ', "founded"),
        ('{"a": {"x": "ACME"}, "b": {"y": "z"}, "ceo": "', "ceo"),
        ('{"ceo": "', None),
        ("| Name | CEO |\n|---|---|\n| ACME | ", "CEO"),
        ("| Name | CEO |\n|---|---|\n| ACME | Jane | ", None),
        ("Name | CEO\n---|---\nACME | ", "CEO"),
        ("ACME | ", None),
    ],
)
def test_the_field_in_which_a_record_ends(text: str, field: str | None) -> None:
    at = text.find("ACME")
    named = [Mention(at, at + 4, (0,))] if at >= 0 else []
    found = field_asked(text, named)
    assert (found and found[0]) == field
    if found is not None:
        assert found[1:] == (named[0], len(text.rstrip(" ")) if "|" in text else len(text))


def test_without_names_nothing_is_asked() -> None:
    assert questions("The CEO of ACME is", []) == []


def test_an_answer_may_have_begun_where_its_question_ends() -> None:
    text = "Who leads ACME? It is"
    question, *_ = questions(text, [Mention(10, 14, (0,))])
    assert (question.text, question.kind) == ("Who leads {}?", "question")
    assert text[question.answered_from :] == " It is"
