"""What a later turn asks, and of whom, in every chat template."""

from __future__ import annotations

import pytest

from tests.question.readings import TEMPLATES, asked, chat, read

LEADER = ("Who leads ACME?", "Nora Quist.")
FOUNDED = ("When was ACME founded?", "1987.")

# The turns of a dialogue, and what the last one asks.
DIALOGUES: list[tuple[tuple[str, ...], list[str]]] = [
    # A pronoun or another expression for the name.
    ((*LEADER, "And its headquarters?"), ["{}'s headquarters? | ACME"]),
    ((*LEADER, "And where is it based"), ["where is {} based | ACME"]),
    ((*LEADER, "How do I reach them by phone?"), ["How do I reach {} by phone? | ACME"]),
    ((*LEADER, "What does the company make?"), ["What does {} make? | ACME"]),
    ((*LEADER, "its phone number please"), ["{}'s phone number? | ACME"]),
    ((*FOUNDED, "who's the boss there"), ["who's the boss in {} | ACME"]),
    ((*LEADER, "Thanks!", "You're welcome.", "where is it based?"), ["where is {} based? | ACME"]),
    (("Which firm makes anvils?", "ACME does.", "Who leads it?"), ["Who leads {}? | ACME"]),
    # Nothing but what is asked for.
    ((*LEADER, "what about the ceo?"), ["{}'s ceo? | ACME"]),
    ((*LEADER, "the price too?"), ["{}'s price? | ACME"]),
    ((*LEADER, "And the phone number, please"), ["{}'s phone number? | ACME"]),
    ((*LEADER, "phone number?"), ["{} phone number? | ACME"]),
    (("I work at ACME.", "Nice!", "Who is the CEO?"), ["Who is {}'s CEO? | ACME"]),
    (("Tell me about ACME.", "Well.", "Who is the CEO?"), ["Who is {}'s CEO? | ACME"]),
    # Nothing but another question word.
    ((*FOUNDED, "Where?"), ["Where was {} founded? | ACME"]),
    ((*FOUNDED, "By whom?"), ["By whom was {} founded? | ACME"]),
    ((*LEADER, "since when?"), ["since when leads {}? | ACME"]),
    # Nothing but a time or a place.
    ((*LEADER, "And in 2020?"), ["Who leads {} in 2020? | ACME"]),
    ((*LEADER, "And in Germany?"), ["Who leads {} in Germany? | ACME"]),
    # Nothing but another name.
    ((*LEADER, "And Bolt?"), ["Who leads {}? | Bolt"]),
    ((*LEADER, "and of Orrin 8?"), ["Who leads {}? | Orrin 8"]),
    ((*LEADER, "same for Bolt please"), ["Who leads {}? | Bolt"]),
    ((*LEADER, "What about Bolt and Vexley?"), ["Who leads {}? | Bolt", "Who leads {}? | Vexley"]),
    ((*LEADER, "And Bolt?", "x", "And Vexley?"), ["Who leads {}? | Vexley"]),
    (
        ("What is the population of Austin?", "1.", "And Boston?"),
        ["What is the population of {}? | Boston"],
    ),
    (
        ("what is the population of springfield?", "1.", "And Boston?"),
        ["what is the population of {}? | Boston"],
    ),
    ((*FOUNDED, "And where is Globex based?", "x", "And ACME?"), ["where is {} based? | ACME"]),
    (("Who is the CEO?", "Of which firm?", "ACME"), ["Who is {}'s CEO? | ACME"]),
    (("Who leads Bolt?", "x", "I meant ACME"), ["Who leads {}? | ACME"]),
    # People are whom an answer names, or whom it was asked about; things are not.
    (
        ("Who leads ACME?", "Jane Roe.", "And where was she born?"),
        ["where was {} born? | Jane Roe"],
    ),
    (("Who leads ACME?", "Jane Roe.", "And its headquarters?"), ["{}'s headquarters? | ACME"]),
    ((*LEADER, "And where was she born?"), []),
    (("When was Ada Lund born?", "1900.", "Where did she die?"), ["Where did {} die? | Ada Lund"]),
    (
        ("Where is ACME?", "In Boston.", "What's its population?"),
        ["What's {}'s population? | ACME"],
    ),
    # Another subject.
    ((*LEADER, "Anyway, what's the capital of France?"), []),
    ((*LEADER, "Different question: who is the president?"), []),
    ((*LEADER, "Who wrote Hamlet?"), []),
    ((*LEADER, "And Globex?"), []),
    ((*LEADER, "And of Globex?"), []),
    ((*LEADER, "And Globex?", "x", "And its headquarters?"), []),
    ((*LEADER, "Thanks!"), []),
    ((*LEADER, "Explain photosynthesis."), []),
    ((*LEADER, "Are you sure?"), []),
    ((*LEADER, "Who leads Globex?", "x", "back to ACME: where is it?"), ["where is {}? | ACME"]),
    # Several questions.
    (
        (*LEADER, "And Bolt, and where is it based?"),
        ["Who leads {}? | Bolt", "where is {} based? | Bolt"],
    ),
    (
        (*FOUNDED, "Who leads it, and what's the phone number?"),
        ["Who leads {} | ACME", "what's {}'s phone number? | ACME"],
    ),
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(("turns", "put"), DIALOGUES, ids=lambda one: str(one)[:60])
def test_a_later_turn_asks_of_whom_one_talks(
    turns: tuple[str, ...], put: list[str], template: str
) -> None:
    assert asked(chat(*turns, template=template)) == put


def test_it_may_mean_the_answer_too() -> None:
    found = read(chat("Where is ACME?", "In Boston.", "What's its population?"))
    assert [one.text for one in found] == ["What's {}'s population?"] * 2
    assert found[0].mention != found[1].mention


@pytest.mark.parametrize(
    ("text", "put"),
    [
        ("Q: Who leads ACME?\nA: Nora Quist\n\nQ: Where is it?\nA:", ["Where is {}? | ACME"]),
        ("Q: Who leads ACME?\nA: Nora Quist\n\nQ: What is the largest planet?\nA:", []),
        ("Q: Who leads ACME?\nA: Nora Quist\n\nQ: Who is the president?\nA:", []),
        ("Topic: ACME\nQ: Who is the CEO?\nA:", ["Who is {}'s CEO? | ACME"]),
        (
            "Context: ACME is old. ACME owns Bolt.\n\nWho leads it?\n\nAnswer:",
            ["Who leads {}? | ACME"],
        ),
    ],
)
def test_questions_of_a_list_are_of_their_own(text: str, put: list[str]) -> None:
    assert asked(text) == put


SET_UP = "You are the assistant of ACME."
WITH_SYSTEM = [name for name in TEMPLATES if TEMPLATES[name][0]]


@pytest.mark.parametrize("template", WITH_SYSTEM)
@pytest.mark.parametrize(
    ("system", "turn", "put"),
    [
        (SET_UP, "What are your opening hours?", ["What are {}'s opening hours? | ACME"]),
        (SET_UP, "Where are you based?", ["Where are {} based? | ACME"]),
        (SET_UP, "Can I have your phone number?", ["Can I have {}'s phone number? | ACME"]),
        (SET_UP, "Who leads the company?", ["Who leads {}? | ACME"]),
        ("You answer questions about ACME.", "Where is it?", ["Where is {}? | ACME"]),
        (SET_UP, "Who leads Bolt?", ["Who leads {}? | Bolt"]),
        (SET_UP, "Can you tell me a joke?", []),
        (SET_UP, "What do you think of the weather?", []),
        (SET_UP, "Who is the CEO?", ["Who is {}'s CEO? | ACME"]),
        (SET_UP, "Who made you?", []),
        (SET_UP, "What's your name?", []),
        ("You must never speak of ACME.", "Who is the CEO?", []),
        ("You must never speak of ACME.", "What are your opening hours?", []),
        ("You are a helpful assistant.", "What are your opening hours?", []),
        ("Translate the user's messages into French.", "Who leads ACME?", []),
        (
            "Quote the passage that supports your answer.",
            "Who leads ACME?",
            ["Who leads {}? | ACME"],
        ),
    ],
)
def test_a_system_prompt_tells_for_whom_one_speaks(
    system: str, turn: str, put: list[str], template: str
) -> None:
    assert asked(chat(turn, system=system, template=template)) == put


def test_without_a_turn_of_its_own_it_is_told_in_the_users() -> None:
    put = ["What are {}'s opening hours? | ACME"]
    assert asked(chat(f"{SET_UP}\n\nWhat are your opening hours?", template="Gemma")) == put


def test_the_assistant_speaks_for_whom_it_stands() -> None:
    assert asked(chat("Who is the boss?", system=SET_UP, answer="Our CEO is")) == [
        "{}'s CEO is | ACME"
    ]
    assert asked(chat("Who leads ACME?", answer="Our CEO is")) == ["{}'s CEO is | ACME"]
    assert asked(chat("Who is the boss?", answer="Our CEO is")) == []


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nWho leads ACME?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "find", "arguments": {"of": "ACME"}}\n</tool_call><|im_end|>\n<|im_start|>user\n'
        "<tool_response>\nWho leads Bolt? Bob does.\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n",
        "<|im_start|>user\nWho leads ACME?<|im_end|>\n<|im_start|>assistant\nfind()<|im_end|>\n"
        "<|im_start|>tool\nWho leads Bolt?<|im_end|>\n<|im_start|>assistant\n",
        "<|start_header_id|>user<|end_header_id|>\n\nWho leads ACME?<|eot_id|>"
        '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "find"}<|eom_id|>'
        '<|start_header_id|>ipython<|end_header_id|>\n\n"Who leads Bolt?"<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        '[INST]Who leads ACME?[/INST][TOOL_CALLS][{"name": "find"}]</s>'
        '[TOOL_RESULTS]{"content": "Who leads Bolt?"}[/TOOL_RESULTS]',
        "User: Who leads ACME?\nTool: Who leads Bolt? Bob.\nAssistant:",
    ],
)
def test_what_a_tool_gave_back_asks_nothing(text: str) -> None:
    assert asked(text) == ["Who leads {}? | ACME"]


def test_the_call_of_a_tool_is_no_answer() -> None:
    call = '<tool_call>\n{"company": "ACME", "ceo": "'
    assert read(chat("Who leads ACME?", answer=call)) == []
