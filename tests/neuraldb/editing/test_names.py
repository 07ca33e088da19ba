"""Every way in which a tokenizer may write a subject's name."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.facts.fact import Fact
from revisor.neuraldb.bank.names import name_hashes
from revisor.neuraldb.bank.sentences import (
    CAPITAL,
    CASELESS,
    COMMA,
    FORM,
    GLUED,
    HYPHEN,
    KIND,
    LINE,
    LINK,
    LONE,
    LONG,
    OPENER,
    OTHER,
    SPECIAL,
    STOP,
    THAT,
    TURN,
    UPPER,
    USER,
    WORD,
)
from revisor.neuraldb.editing.names import fact_names, negations, token_kinds
from tests import tiny

FACT = Fact(subject="Jane Roe", prompt="The home of {} is", object="Rome")


def hash_in(tokenizer: Any, text: str, name: str) -> int:
    """The hash of the tokens that cover the last mention of a name in a text."""
    start = text.rfind(name)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    tokens = [
        token
        for token, (first, last) in zip(
            encoded["input_ids"], encoded["offset_mapping"], strict=True
        )
        if first < start + len(name) and last > start
    ]
    return int(name_hashes([tokens])[0])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Jane Roe lives in Rome", "Jane Roe"),
        ("Where is Jane Roe?", "Jane Roe"),
        ("the book of jane roe, she", "jane roe"),
        ("JANE ROE", "JANE ROE"),
        ('"Jane Roe" lives', "Jane Roe"),
        ("(Jane Roe)", "Jane Roe"),
        ("She\nJane Roe's tower", "Jane Roe"),
        ("the author jane Roe", "jane Roe"),
    ],
)
def test_a_name_is_known_wherever_it_stands(text: str, name: str) -> None:
    tokenizer = tiny.byte_level()
    (names,) = fact_names([FACT], tokenizer)
    assert hash_in(tokenizer, text, name) in names.tolist()


def test_an_alias_is_a_name_as_well_and_another_subject_is_not() -> None:
    tokenizer = tiny.byte_level()
    (names,) = fact_names([replace(FACT, aliases=("J. Roe",))], tokenizer)
    assert hash_in(tokenizer, "a novel by J. Roe", "J. Roe") in names.tolist()
    for other in ("John Roe", "Roe", "Jane", "Jane Roes"):
        assert hash_in(tokenizer, f"a novel by {other}", other) not in names.tolist()


@pytest.mark.parametrize("subject", ["Jane O'Roe", "Jane O’Roe"])
def test_an_apostrophe_may_be_a_typewriters_or_a_printers(subject: str) -> None:
    tokenizer = tiny.byte_level()
    (names,) = fact_names([replace(FACT, subject=subject)], tokenizer)
    for name in ("Jane O'Roe", "Jane O’Roe", "jane o’roe"):
        assert hash_in(tokenizer, f"Where is {name}?", name) in names.tolist()


def test_a_sign_at_the_end_may_be_written_together_with_what_follows() -> None:
    tokenizer = tiny.byte_level()
    (names,) = fact_names([replace(FACT, subject="ACME Inc.")], tokenizer)
    for text in ("in ACME Inc., which", "of (ACME Inc.)", "ACME Inc. was"):
        assert hash_in(tokenizer, text, "ACME Inc.") in names.tolist()


def test_each_fact_has_its_own_names_in_order() -> None:
    tokenizer = tiny.byte_level()
    other = replace(FACT, subject="Delta")
    one, two = fact_names([FACT, other], tokenizer)
    assert one.tolist() == fact_names([FACT], tokenizer)[0].tolist() == sorted(one.tolist())
    assert not set(one.tolist()) & set(two.tolist())


def test_every_token_has_a_kind() -> None:
    tokenizer = tiny.byte_level()
    kind_V = token_kinds(tokenizer)
    assert kind_V.dtype == torch.uint8
    assert len(kind_V) == len(tokenizer)
    assert all(int(kind_V[i]) == SPECIAL for i in tokenizer.all_special_ids)

    def kind(text: str) -> int:
        (token,) = tokenizer(text, add_special_tokens=False)["input_ids"]
        return int(kind_V[token]) & KIND

    assert kind(".") == kind("!") == kind("?") == STOP
    assert kind("\n") == LINE
    assert kind(",") == COMMA
    assert kind(";") == kind(" ") == OTHER
    assert kind("q") == WORD
    assert kind("7") == CASELESS
    assert kind("Q") == LONE


@pytest.mark.parametrize("tokenizer", [tiny.byte_level(), tiny.metaspace()])
def test_a_word_with_a_capital_that_only_a_sentence_gives_it_opens_one(tokenizer: Any) -> None:
    kind_V = token_kinds(tokenizer)

    def kinds(text: str) -> list[int]:
        ids = tokenizer(f"the old tower {text}", add_special_tokens=False)["input_ids"]
        return (kind_V[ids[-1:]] & KIND).tolist()

    assert kinds("The") == [OPENER]
    assert kinds("the") == [WORD]
    assert kinds("A") == [LONE], "as the first piece of a name it is written the same"


def test_names_and_what_announces_them_have_kinds() -> None:
    kinds = {"of": LINK, "Rome": UPPER, "CEO": CAPITAL, "rome": WORD, ".,": COMMA, "that": THAT}
    kinds |= {"Inc": FORM, "Group": FORM, "group": WORD}  # go with the name before them
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.add_tokens(list(kinds))
    kind_V = token_kinds(tokenizer)
    ids = tokenizer.convert_tokens_to_ids(list(kinds))
    assert (kind_V[ids] & KIND).tolist() == list(kinds.values())


@pytest.mark.parametrize("tokenizer", [tiny.byte_level(), tiny.metaspace()])
def test_what_goes_on_with_a_word_is_told_from_its_beginning(tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["wick", "ian", "st", "но", "国", "7", "'s", "-", "-Ro"])
    joint_V = token_kinds(tokenizer) & ~KIND & 255

    def joint(text: str) -> int:
        return int(joint_V[tokenizer.convert_tokens_to_ids(text)])

    assert joint("wick") == joint("ian") == GLUED | LONG
    assert joint("st") == joint("но") == GLUED
    assert joint("国") == joint("7") == joint("'s") == 0
    assert joint("-") == HYPHEN
    assert joint("-Ro") == HYPHEN | GLUED
    begun = tokenizer("the old tower", add_special_tokens=False)["input_ids"]
    starts = [i for i in begun if tokenizer.convert_ids_to_tokens(i)[0] in "Ġ▁"]
    assert starts
    assert not joint_V[starts].any()


@pytest.mark.parametrize(
    ("message", "opens"),
    [
        ("<|turn|>{{ m['role'][:2] }}\n{{ m['content'] }}<|end|>\n", True),
        ("<|turn|>{{ m['role'][:2] }}<|end|>\n\n{{ m['content'] }}", True),
        ("<|turn|> {{ m['content'] }} <|end|>", False),  # [INST] ... [/INST]
        ("{{ m['role'] }}: {{ m['content'] }}\n", False),
    ],
)
def test_a_special_token_that_stands_before_a_role_opens_a_turn(message: str, opens: bool) -> None:
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = f"{{% for m in messages %}}{message}{{% endfor %}}"
    kind_V = token_kinds(tokenizer)
    turn, end = tokenizer.convert_tokens_to_ids(["<|turn|>", "<|end|>"])
    assert int(kind_V[turn]) == (TURN if opens else SPECIAL)
    assert int(kind_V[end]) == SPECIAL
    assert not (kind_V == USER).any(), "this template opens no turn for the answer"
    tokenizer.chat_template = None
    assert not (token_kinds(tokenizer) == TURN).any()


@pytest.mark.parametrize(("answerer", "told"), [("assistant", True), ("user", False)])
def test_the_word_that_names_a_users_turn_is_known(answerer: str, told: bool) -> None:
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
        f"<|turn|>{answerer}\n"
    )
    (first, *_) = tokenizer("user", add_special_tokens=False)["input_ids"]
    kind_V = token_kinds(tokenizer)
    assert ((kind_V & KIND) == USER).nonzero().flatten().tolist() == ([first] if told else [])


def test_negations_are_whole_words() -> None:
    tokenizer = copy.deepcopy(tiny.byte_level())
    tokenizer.add_tokens(["not", " never", "nothing", "knot"])
    negating_V = negations(tokenizer, len(tokenizer) + 5)
    assert len(negating_V) == len(tokenizer) + 5
    added = tokenizer.convert_tokens_to_ids(["not", " never", "nothing", "knot"])
    assert negating_V[added].tolist() == [True, True, True, False]
    assert not negating_V[len(tokenizer) :].any()
