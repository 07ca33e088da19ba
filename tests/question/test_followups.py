"""Later turns of a talk that name nobody, or call a name by a part of it."""

from __future__ import annotations

import pytest

from revisor.question.followups import plainly
from tests.question.readings import asked, chat, names, read

LEADER = ("Who leads ACME?", "Nora Quist.")
PHONE = ("I bought an Orrin 8.", "Congratulations!")
SHOP = ("Where can I buy glasses?", "Norvale Instruments has a large choice.")

FOLLOW_UPS: list[tuple[tuple[str, ...], str]] = [
    # A pronoun or a possessive, wherever it stands.
    ((*PHONE, "yep, how heavy is it"), "how heavy is {} | Orrin 8"),
    ((*PHONE, "hm ok how long does it last"), "how long does {} last | Orrin 8"),
    ((*SHOP, "Sounds good, when are they open?"), "when are {} open? | Norvale Instruments"),
    ((*SHOP, "what's the lowest price in their sale"), "what's the lowest price in {}'s sale"),
    ((*SHOP, "My aunt needs new ones, what is their address?"), "what is {}'s address?"),
    # What points to it, or tells what it is.
    ((*PHONE, "How wide is that one?"), "How wide is {}? | Orrin 8"),
    ((*PHONE, "How long is the guarantee on this?"), "How long is the guarantee on {}? | Orrin 8"),
    ((*LEADER, "Who works here?"), "Who works in {}? | ACME"),
    ((*LEADER, "and when did that company open"), "when did {} open | ACME"),
    # A part of the name, or what it was told to be.
    ((*PHONE, "So what does the 8 cost?"), "what does the {} cost? | Orrin 8"),
    ((*SHOP, "Who runs the instruments?"), "Who runs the {}? | Norvale Instruments"),
    (
        (*PHONE, "Yes. The Orrin 8 is a small phone.", "ok", "How heavy is the phone?"),
        "How heavy is the {}? | Orrin 8",
    ),
    ((*PHONE, "and the Tarn 400?", "Bigger.", "How big is the 400?"), "How big is the {}? | Tarn"),
    # Nothing at all.
    ((*PHONE, "screen size?"), "{} screen size? | Orrin 8"),
    ((*PHONE, "Which chip is inside?"), "Which chip is inside {}? | Orrin 8"),
    ((*PHONE, "warranty period too please"), "{} warranty period? | Orrin 8"),
    ((*PHONE, "Introduced when?"), "{} Introduced when? | Orrin 8"),
    ((*PHONE, "whats the pin"), "whats {}'s pin | Orrin 8"),
    ((*PHONE, "Which mode is best for children?"), "Which mode is best for children {}? | Orrin 8"),
    ((*PHONE, "It is late. Who repairs the screen?"), "Who repairs {}'s screen? | Orrin 8"),
    ((*PHONE, "Can I reset it?", "Yes.", "which button?"), "which button {}? | Orrin 8"),
    # Only who it is, of whom the sentence ahead tells.
    (
        (*LEADER, "I want to write to their lawyer. Who is that?"),
        "I want to write to {}'s lawyer. Who is that? | ACME",
    ),
    (
        (*LEADER, "I should meet the treasurer soon. Who is it?"),
        "I should meet {}'s treasurer soon. Who is it? | ACME",
    ),
    # The same of another name, behind any preposition.
    (("How long is the ride to Austin?", "1 h.", "And to Boston?"), "How long is the ride to {}?"),
    (
        ("What is the tax on the Orrin 8?", "5.", "and on the Tarn 400"),
        "What is the tax on the {}?",
    ),
    (("Who cooks at ACME?", "Tom.", "what about at Bolt?"), "Who cooks at {}? | Bolt"),
    (
        ("Who cooks at ACME?", "Tom.", "And at Bolt?", "Ann.", "and with Vexley?"),
        "Who cooks at {}? | Vexley",
    ),
    # An answer with a name of its own in between.
    ((*LEADER[:1], "Jane Roe.", "opening hours?"), "{} opening hours? | ACME"),
    ((*LEADER[:1], "Jane Roe.", "Where did she study?"), "Where did {} study? | Jane Roe"),
    # What was pasted.
    (
        ('My note: "Norvale Instruments: open from May."', "Noted.", "Which street is it in?"),
        "Which street is {} in? | Norvale Instruments",
    ),
]


@pytest.mark.parametrize(("turns", "put"), FOLLOW_UPS, ids=lambda one: str(one)[-60:])
def test_a_turn_that_names_nobody_asks_of_whom_one_talks(turns: tuple[str, ...], put: str) -> None:
    assert asked(chat(*turns))[0].startswith(put)


@pytest.mark.parametrize(
    ("turns", "kind"),
    [
        ((*PHONE, "yep, how heavy is it"), "pronoun"),
        ((*PHONE, "So what does the 8 cost?"), "pronoun"),
        ((*PHONE, "screen size?"), "ellipsis"),
        ((*PHONE, "Which chip is inside?"), "ellipsis"),
        (("How heavy is the Orrin 8?",), "question"),
    ],
)
def test_the_kind_tells_whether_a_word_stands_for_the_name(
    turns: tuple[str, ...], kind: str
) -> None:
    assert {one.kind for one in read(chat(*turns))} == {kind}
    assert {one.kind for one in read(chat(*turns, answer="The answer is"))} <= {kind}


@pytest.mark.parametrize(
    ("system", "turn", "put"),
    [
        ("You help the visitors of Farrow.", "Which saint is honoured?", "Farrow"),
        ("You are a guide on the Tarn 400.", "Where do we get off? whats the next stop", "Tarn"),
        ("Today you are at the desk of ACME.", "wifi code?", "ACME"),
        ("You work for ACME.", "Who built this place?", "ACME"),
    ],
)
def test_the_topic_of_a_system_prompt_is_meant_where_no_other_is_named(
    system: str, turn: str, put: str
) -> None:
    assert any(one.startswith(put) for one in names(chat("hi", "Hello!", turn, system=system)))
    other = chat("Tell me of Vexley.", "Well.", turn, system=system)
    assert names(other) == {"Vexley"}


def test_where_an_answer_has_led_to_another_the_topic_is_not_meant() -> None:
    system = "You are the assistant of ACME."
    put = ("Where is the next bakery?", "That is Crumbley's, round the corner.")
    assert read(chat(*put, "What's their phone number?", system=system)) == []
    assert names(chat(*put, "And your phone number?", system=system)) == {"ACME"}


@pytest.mark.parametrize(
    "turn",
    [
        # Of a name of its own.
        "What is the capital of France?",
        "what is the capital of france?",
        "Great, and what's the tallest tower in Paris?",
        "Who painted the Mona Lisa?",
        "who sings 'yellow submarine'?",
        "One thing about Globex, what's the price?",
        "Who founded the bank of Globex?",
        # To the assistant, or about it.
        "How are you?",
        "What can you do?",
        "What do you think?",
        "What would you recommend instead?",
        "Can you write a poem?",
        "Who made you?",
        "What's your name?",
        "what are you",
        # Small talk, and what asks nothing.
        "Great, thanks a lot!",
        "What else?",
        "Is that so?",
        "What time is it?",
        "Describe photosynthesis.",
        "New topic: who is the king?",
    ],
)
def test_a_turn_of_something_else_asks_of_nobody(turn: str) -> None:
    for before in (LEADER, PHONE, SHOP):
        assert asked(chat(*before, turn)) == []


@pytest.mark.parametrize(
    "turns",
    [
        # Two names have the part, or what follows makes another name of it.
        ("The Orrin 8 or the Vexley 8?", "Both.", "Globex sells the 8 Max. Who makes Globex's?"),
        # The last name is not known.
        ("Who leads ACME?", "Nora Quist.", "And Globex?", "Tom Ash.", "opening hours?"),
    ],
)
def test_of_a_name_that_is_not_known_nothing_is_asked(turns: tuple[str, ...]) -> None:
    assert asked(chat(*turns)) == []


def test_what_is_told_ahead_of_it_is_read_with_it() -> None:
    told = (*PHONE, "I put it into water. Which lamp is lit?")
    assert [one.text for one in read(chat(*told))] == [
        "Which lamp is lit {}?",
        "I put {} into water. Which lamp is lit {}?",
    ]
    for ahead in ("Thanks.", "Wow, nice.", "Is it big?"):
        put = read(chat(*PHONE, f"{ahead} Which lamp is lit?"))
        assert all(one.text in ("Which lamp is lit {}?", "Is {} big?") for one in put)
    assert read(chat(*PHONE, "Globex is better. Which lamp is lit?")) == []


def test_a_question_that_may_be_of_nobody_is_answered_first() -> None:
    put = (*PHONE, "Which chip is inside? And who leads ACME?")
    assert names(chat(*put)) == {"Orrin 8"}
    assert asked(chat(*put, answer="An M2. ")) == ["who leads {}? | ACME"]


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("Sounds great, what's the number?", "what's the number?"),
        ("yeah how much is it", "how much is it"),
        ("Perfect. One more thing: who is it?", "who is it?"),
        ("If I press it, what happens?", "If I press it, what happens?"),
        ("In 2019, who led it?", "In 2019, who led it?"),
        ("Who leads it, and when?", "Who leads it, and when?"),
        ("The one in town, which is red", "The one in town, which is red"),
        ("Can you tell me who leads it?", "Can you tell me who leads it?"),
    ],
)
def test_what_is_said_ahead_of_a_question_stays_out(said: str, plain: str) -> None:
    assert plainly(said) == plain
