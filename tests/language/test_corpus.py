"""Sentences with what they name, ask and open, read by the real parts: a table of cases a kind."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from revisor.gate.choice import Decision, chosen
from revisor.gate.decide import candidates, decide
from revisor.gate.scope import NORMAL
from revisor.language.names import mentions
from revisor.language.reader import NameReader
from revisor.question.encoder import default_encoder
from revisor.question.reading import questions
from tests.gate.dictionary import Dictionary, fact

CORPUS = Path(__file__).parent / "corpus"
KINDS = ("text", "own", "dialogues", "records")

# Openings of a user's and the assistant's turn, and the end of either, as templates render them.
CHATS = {
    "ChatML": ("<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"),
    "Phi 4": ("<|im_start|>user<|im_sep|>", "<|im_start|>assistant<|im_sep|>", "<|im_end|>"),
    "Llama 3": (
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "Llama 4": (
        "<|header_start|>user<|header_end|>\n\n",
        "<|header_start|>assistant<|header_end|>\n\n",
        "<|eot|>",
    ),
    "Llama 2": ("<s>[INST] ", " [/INST] ", "</s>"),
    "Gemma": ("<start_of_turn>user\n", "<start_of_turn>model\n", "<end_of_turn>\n"),
    "Phi 3": ("<|user|>\n", "<|assistant|>\n", "<|end|>\n"),
    "Zephyr": ("<|user|>\n", "<|assistant|>\n", "</s>\n"),
    "Granite": (
        "<|start_of_role|>user<|end_of_role|>",
        "<|start_of_role|>assistant<|end_of_role|>",
        "<|end_of_text|>\n",
    ),
    "DeepSeek": ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    "DeepSeek R1": (
        "<｜User｜>",
        "<｜Assistant｜><think>\nHm.\n</think>\n\n",
        "<｜end▁of▁sentence｜>",
    ),
    "Qwen 3": (
        "<|im_start|>user\n",
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_end|>\n",
    ),
    "Cohere": (
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
    ),
    "gpt-oss": (
        "<|start|>user<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
        "<|end|>",
    ),
    "Kimi": (
        "<|im_user|>user<|im_middle|>",
        "<|im_assistant|>assistant<|im_middle|>",
        "<|im_end|>",
    ),
    "EXAONE": ("[|user|]", "[|assistant|]", "[|endofturn|]\n"),
    "brackets": ("[user] ", "[assistant] ", "\n"),
}


def cases(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((CORPUS / f"{kind}.toml").read_text("utf-8"))[
        "case"
    ]
    return found


@cache
def facts() -> Dictionary:
    told = tomllib.loads((CORPUS / "facts.toml").read_text("utf-8"))["fact"]
    return Dictionary(
        fact(one["subject"], one["object"], *one["templates"], aliases=one.get("aliases", ()))
        for one in told
    )


def asked(text: str) -> Decision | None:
    return decide(text, mentions(text, facts()), facts(), default_encoder())


def in_chat(text: str, chat: str) -> str:
    user, assistant, end = CHATS[chat]
    return text.replace("<U>", user).replace("<A>", assistant).replace("<E>", end)


@pytest.mark.parametrize("case", cases("names"), ids=lambda case: case["text"][:50])
def test_names_are_found_as_listed(case: dict[str, Any]) -> None:
    text = case["text"]
    found = mentions(text, facts())
    shown = [text[one.start : one.end] for one in found if one.within is None]
    assert shown == case["mentions"]
    within = [text[one.start : one.end] for one in found if one.within is not None]
    assert within == case.get("within", [])
    reader = NameReader(facts())
    for end in range(len(text) + 1):
        reader.read(text[:end])
    assert reader.mentions(text) == found


def check(text: str, case: dict[str, Any]) -> None:
    whole = [one for one in mentions(text, facts()) if one.within is None]
    read = [one.text for one in questions(text, whole)]
    assert read[: len(case.get("reads", ()))] == case.get("reads", [])
    decision = asked(text)
    if not case.get("skip_decision"):
        assert (decision.fact.object if decision else "") == case["asks"], read
    if "opens" in case and not (case.get("skip_decision") and decision is None):
        assert bool(decision and decision.fact.is_due) == case["opens"]


@pytest.mark.parametrize(
    "case",
    [case for kind in KINDS for case in cases(kind) if "<U>" not in case["text"]],
    ids=lambda case: case["text"][-60:],
)
def test_texts_ask_for_the_facts_listed(case: dict[str, Any]) -> None:
    check(case["text"], case)


@pytest.mark.parametrize("chat", CHATS)
def test_in_every_chat_template_turns_ask_for_the_facts_listed(chat: str) -> None:
    for case in cases("dialogues"):
        if "<U>" in case["text"]:
            check(in_chat(case["text"], chat), case)


@pytest.mark.parametrize(
    "before",
    [
        "<|im_start|>system\nYou work for ACME.<|im_end|>\n",
        "<|start_header_id|>system<|end_header_id|>\n\nYou work for ACME.<|eot_id|>",
        "<s>[INST] <<SYS>>\nYou work for ACME.\n<</SYS>>\n\n",
        "[SYSTEM_PROMPT]You work for ACME.[/SYSTEM_PROMPT]",
    ],
)
def test_a_system_prompt_tells_of_whom_one_asks_and_asks_nothing_itself(before: str) -> None:
    turn = "<|im_start|>user\nAnd who is the CEO?<|im_end|>\n<|im_start|>assistant\n"
    named = "<|im_start|>user\nWho is the CEO of ACME?<|im_end|>\n<|im_start|>assistant\n"
    for put in (turn, named):
        answered = asked(before + put)
        assert answered is not None
        assert answered.fact.object == "Jane Roe"
    assert asked(before[: before.index("ACME") + 4] + " whose CEO is") is None


def test_a_model_that_thinks_is_left_to_its_thoughts() -> None:
    start = "<|im_start|>user\nWho is the CEO of ACME?<|im_end|>\n<|im_start|>assistant\n"
    assert asked(f"{start}<think>\nThe CEO of ACME is") is None
    done = asked(f"{start}<think>\nThe CEO of ACME is somebody.\n</think>\n\n")
    assert done is not None
    assert done.fact.is_due
    start = "<|start|>user<|message|>Who is the CEO of ACME?<|end|><|start|>assistant"
    assert asked(f"{start}<|channel|>analysis<|message|>The CEO of ACME is") is None
    assert asked(start) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_compared_would_decide_nothing(kind: str) -> None:
    for case in cases(kind):
        text = in_chat(case["text"], "ChatML")
        read = candidates(text, mentions(text, facts()), facts(), default_encoder())
        whole, found = chosen(read, NORMAL), asked(text)
        assert (whole and whole.fact.id) == (found and found.fact.id), text
