"""What kind of sentence one is."""

from __future__ import annotations

import pytest

from revisor.language.names import Mention
from revisor.question import forms


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
        ("ACME is led by ____.", True),
        ("The CEO of ACME, [blank], is here.", True),
        ("Quote the motto of ACME.", True),
        ("__ACME is led by Jane Roe.__", False),
        ("ACME.__init__ is called by Jane Roe.", False),
        ("- [ ] Meet the CEO of ACME.", False),
        ("It is late, and I wonder when ACME closes.", True),
        ("The lights are off, but I need them to know ACME is open.", False),
        ("Nenne mir den Chef von ACME.", True),
        ("Ich möchte wissen, wer ACME leitet.", True),
        ("\u8c01\u9886\u5bfc\uff1f", True),
        ("I met the CEO of ACME.", False),
        ("When ACME was founded, it made anvils.", False),
        ("The State of Ohio needs a governor.", False),
        ("ACME is looking for a CEO.", False),
        ("I don't want to know who leads ACME.", False),
        ("I'm not asking who leads ACME.", False),
        ("You are the assistant of ACME.", False),
        ("", False),
    ],
)
def test_a_sentence_asks_with_a_mark_or_without(sentence: str, asks: bool) -> None:
    assert forms.asks(sentence) == asks
    assert not (asks and forms.is_statement(sentence))


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
        ("What is the name of the CEO?", True),
        ("phone number?", True),
        ("Who is in charge?", True),
        ("Who is the king of France?", False),
        ("Who is the CEO of globex?", False),
        ("Who wrote Hamlet?", False),
        ("The CEO is", False),
    ],
)
def test_a_question_that_leaves_its_name_out(sentence: str, leaves_out: bool) -> None:
    assert forms.leaves_name_out(sentence) == leaves_out


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("Who wrote Hamlet?", True),
        ("the capital of france", True),
        ("the price of the iPhone 15", True),
        ("What was the price in 2019?", False),
        ("the date of birth", False),
        ("What is the ARR?", False),
        ("the capital of the UK", True),
        ("WHO IS THE CEO", False),
    ],
)
def test_a_name_that_is_not_known_is_told_by_its_capital_or_its_place(
    said: str, names: bool
) -> None:
    assert forms.names_another(said) == names


def test_a_question_about_such_a_name_has_a_slot_for_it() -> None:
    slotted = forms.with_slot_for_another
    assert slotted("What is the population of New York?") == "What is the population of {}?"
    assert slotted("what is the population of austin") == "what is the population of {}"
    assert slotted("Where is Globex based?") == "Where is {} based?"
    assert slotted("Who is it?") is None


def test_courtesies_and_questions_that_go_on() -> None:
    assert forms.is_courtesy("Thanks!")
    assert forms.is_courtesy("Please be brief.")
    assert forms.is_courtesy("How are you?")
    assert not forms.is_courtesy("Thanks to ACME we")
    assert forms.goes_on("And the headquarters?")
    assert forms.goes_on("What about the CEO?")
    assert not forms.goes_on("Who leads it?")
    assert forms.adds("And the headquarters.")
    assert not forms.adds("And the weather was fine.")
    assert not forms.adds("And thanks.")


@pytest.mark.parametrize(
    ("around", "repeats"),
    [
        ("And |?", True),
        ("and of the |?", True),
        ("same for | please", True),
        ("What about | then?", True),
        ("I mean that of |.", True),
        ("Who leads |?", False),
        ("| CEO?", False),
        ("And who is |?", False),
    ],
)
def test_what_stands_around_a_name_may_only_repeat_a_question(around: str, repeats: bool) -> None:
    assert forms.repeats(around) == repeats


@pytest.mark.parametrize(
    ("sentence", "rest"),
    [
        ("Just kidding, who leads it?", ", who leads it?"),
        ("Never mind.", "."),
        ("No, who leads it?", ", who leads it?"),
        ("Actually, where is it?", ", where is it?"),
        ("No one knows who leads it.", None),
        ("Who actually leads it?", None),
    ],
)
def test_words_that_take_a_question_back(sentence: str, rest: str | None) -> None:
    end = forms.takes_back(sentence)
    assert (sentence[end:] if end else None) == rest


@pytest.mark.parametrize(
    ("sentence", "title"),
    [("How ACME Was Won", True), ("How was ACME won", False), ("Who is the CEO of ACME", False)],
)
def test_a_title_is_told_by_its_capitals(sentence: str, title: bool) -> None:
    assert forms.is_title(sentence) == title


def test_a_list_of_words_has_short_items_without_verbs() -> None:
    assert forms.is_list("apple, ACME, banana, ceo")
    assert not forms.is_list("ACME, led by Jane Roe, is based in")
    assert not forms.is_list("In Rome, ACME is, or was, large")


@pytest.mark.parametrize(
    ("sentence", "hands"),
    [
        ("Translate:", True),
        ("Translate into German:", True),
        ("Please correct the sentence below.", True),
        ("Summarise this article.", True),
        ("Translate 'anvil' into German.", False),
        ("Quote the passage, then answer the question.", False),
        ("Correct, ACME is led by", False),
        ("Count me in.", False),
    ],
)
def test_a_request_works_on_a_text_that_stands_elsewhere(sentence: str, hands: bool) -> None:
    assert forms.hands_text(sentence) == hands


def test_a_request_for_something_made_up() -> None:
    assert forms.asks_for_fiction("Write a short poem about ACME.")
    assert forms.asks_for_fiction("Please tell me a joke.")
    assert not forms.asks_for_fiction("Write a letter to ACME.")
    assert not forms.asks_for_fiction("Who wrote the poem?")
    assert not forms.asks_for_fiction("Tell me how many stories ACME Tower has.")


def test_markup_is_left_out_of_a_template() -> None:
    assert forms.clean("- **The  CEO** of `x`\nis") == "The CEO of x is"
    assert forms.clean("'Who leads it?'") == "Who leads it?"
    text = 'The CEO of "ACME" is'
    assert forms.filled(text, 0, Mention(12, 16, (0,)), len(text)) == "The CEO of {} is"
    assert forms.field_text("**CEO:** ") == "CEO {}"
