"""What stands for a name, or is left out where one belongs."""

from __future__ import annotations

import pytest

from revisor.language.names import Mention
from revisor.question.standins import (
    Party,
    asked_otherwise,
    attribute,
    given_name,
    is_impersonal,
    may_mean,
    stand_in,
)


@pytest.mark.parametrize(
    ("sentence", "slotted"),
    [
        ("Its CEO is", "{}'s CEO is"),
        ("Who leads it?", "Who leads {}?"),
        ("The company is based in", "{} is based in"),
        ("The company's CEO is", "{}'s CEO is"),
        ("This company was founded in", "{} was founded in"),
        ("They were founded in", "{} were founded in"),
        ("Ihr Sitz ist in", "{}s Sitz ist in"),
        ("Die Firma sitzt in", "{} sitzt in"),
        ("Son siège est à", "siège de {} est à"),
        ("Who's the boss there?", "Who's the boss in {}?"),
        ("How do I reach her by phone?", "How do I reach {} by phone?"),
        ("The CEO is", None),
        ("A company is based in", None),
        ("Who leads the city of Paris?", None),
        ("Who leads the company Globex?", None),
        ("Who is the person who leads Globex?", None),
        ("What time is it?", None),
        ("Who won this year?", None),
        ("Is there a phone number?", None),
        ("Hello there, who leads Globex?", None),
    ],
)
def test_what_stands_for_a_name_becomes_the_slot(sentence: str, slotted: str | None) -> None:
    found = stand_in(sentence)
    assert (found and found.filled(sentence)) == slotted


@pytest.mark.parametrize(
    ("sentence", "party", "slotted"),
    [
        ("What are your opening hours?", "asks", "What are {}'s opening hours?"),
        ("Where are you based?", "asks", "Where are {} based?"),
        ("Our CEO is", "answers", "{}'s CEO is"),
        ("What do you think?", "asks", None),
        ("Can you tell me the price?", "asks", None),
        ("Our CEO is", "asks", None),
    ],
)
def test_one_party_may_speak_for_a_name(sentence: str, party: Party, slotted: str | None) -> None:
    found = stand_in(sentence, spoken_by=party)
    assert (found and found.filled(sentence)) == slotted


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("Ada Lund was here. She", True),
        ("The birthplace of Ada Lund is Rome. She", True),
        ("I met the CEO of Ada Lund. She", False),
        ("Ada Lund's CEO was here. She", False),
        ("I work at Ada Lund. She", False),
    ],
)
def test_a_person_is_not_the_firm_that_they_are_of(text: str, person: bool) -> None:
    at = text.index("Ada Lund")
    mention = Mention(at, at + len("Ada Lund"), (0,))
    she, it = stand_in("She was born in"), stand_in("It was founded in")
    assert she is not None
    assert it is not None
    assert may_mean(she, text, mention) == person
    assert may_mean(it, text, mention)


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("Who is the CEO?", "Who is {}'s CEO?"),
        ("What is the name of the CEO?", "What is the name of {}'s CEO?"),
        ("The headquarters are in", "{}'s headquarters are in"),
        ("Headquarters?", "{} Headquarters?"),
        ("When founded?", "When founded {}?"),
        ("Quel est le siège ?", "Quel est le siège de {} ?"),
    ],
)
def test_a_name_that_is_left_out_is_given(said: str, given: str) -> None:
    assert given_name(said) == given


def test_what_goes_on_with_a_question_is_an_attribute() -> None:
    assert attribute("And the price too?") == "{}'s price?"
    assert attribute("what about the ceo") == "{}'s ceo"


@pytest.mark.parametrize(
    ("frame", "said", "otherwise"),
    [
        ("When was {} founded?", "Where?", "Where was {} founded?"),
        ("When was {} founded?", "And by whom?", "by whom was {} founded?"),
        ("Who's the CEO of {}?", "since when?", "since when is the CEO of {}?"),
        ("Who leads {}?", "Since when?", "Since when leads {}?"),
        ("Tell me the CEO of {}.", "Since when?", None),
        ("When was {} founded?", "Where is Rome?", None),
        ("When was {} founded?", "And Bolt?", None),
    ],
)
def test_another_question_word_asks_another_thing(
    frame: str, said: str, otherwise: str | None
) -> None:
    assert asked_otherwise(frame, said) == otherwise


def test_a_pronoun_that_stands_for_nothing() -> None:
    assert is_impersonal("What time is it?")
    assert not is_impersonal("Who is it?")
    assert not is_impersonal("What year was it founded?")
