"""Who speaks: turns of chat templates and labels."""

from __future__ import annotations

import pytest

from revisor.language.turns import may_open_answer, turns


def spoken(text: str) -> list[tuple[str, str]]:
    """The turns of a text: role and words."""
    return [(one.role, text[one.start : one.end].strip()) for one in turns(text)]


def test_each_turn_has_the_name_that_its_marker_gives() -> None:
    parts = ("system\nBe brief.", "tool\n42", "user\nHi")
    system, tool, user, _ = turns("".join(f"<|im_start|>{one}<|im_end|>\n" for one in parts))
    assert (system.name, tool.name, user.name) == ("system", "tool", "user")
    assert (system.sets_up, tool.sets_up, tool.reports, user.reports) == (True, False, True, False)
    labelled = "System: Be brief.\nTool: 42\nUser: Hi\nAssistant:"
    assert [one.sets_up for one in turns(labelled)] == [True, False, False, False]
    assert [one.reports for one in turns(labelled)] == [False, True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] ",
        "[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n",
    ],
)
def test_a_system_prompt_sets_up_in_every_template(text: str) -> None:
    system, user, answer = turns(text)
    assert (system.role, user.role, answer.role) == ("other", "asks", "answers")
    assert system.sets_up


CALL = '<tool_call>\n{"name": "find"}\n</tool_call>'


def test_calls_of_tools_and_what_they_gave_back_are_neither_questions_nor_answers() -> None:
    text = (
        "<|im_start|>user\nHi<|im_end|>\n"
        f"<|im_start|>assistant\nWell. {CALL}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nWho?\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert [one for one in spoken(text) if one[1]] == [
        ("asks", "Hi"),
        ("answers", "Well."),
        ("other", '{"name": "find"}'),
        ("other", "Who?"),
    ]
    assert spoken(text)[-1] == ("answers", "")


def test_behind_a_call_the_same_one_speaks_on() -> None:
    assert spoken(f"<|im_start|>assistant\n{CALL}\nWell")[-1] == ("answers", "Well")
    result = '[INST]Hi[/INST][TOOL_CALLS][{}]</s>[TOOL_RESULTS]{"of": "x"}[/TOOL_RESULTS]'
    assert [role for role, _ in spoken(result)][-3:] == ["other", "other", "answers"]


PASTED = "Context: ACME makes anvils.\n\nWho leads it?"


def test_a_question_below_a_passage_is_asked() -> None:
    chat = f"<|im_start|>user\n{PASTED}<|im_end|>\n<|im_start|>assistant\n"
    assert spoken(chat)[:2] == [("other", "ACME makes anvils."), ("asks", "Who leads it?")]
    assert spoken(f"{PASTED}\n\nAnswer:")[:2] == spoken(chat)[:2]
    told = PASTED.replace("Who leads it?", "It is old.")
    assert ("asks", "It is old.") not in spoken(f"{told}\n\nAnswer:")
    assert [role for role, _ in spoken(PASTED)] == ["other"]


def test_a_request_before_a_colon_is_a_label_unless_it_has_a_subject() -> None:
    assert spoken("Answer the question briefly: Who?\nAnswer:")[0] == ("asks", "Who?")
    told = "Tell me more about ACME: who leads it?"
    assert spoken(told) == [("text", told)]


@pytest.mark.parametrize(
    ("text", "may"), [("1. Jane\n2.", True), ("2) ", True), ("Answer:", True), ("Jane", False)]
)
def test_where_an_answer_may_open(text: str, may: bool) -> None:
    assert may_open_answer(text) == may
