"""Answers that say a question again: their own words ask for no more than the question did."""

from __future__ import annotations

import pytest

from revisor.gate.decide import decide
from revisor.language.names import mentions
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import Dictionary, fact
from tests.question.readings import chat, read

RIVAL = "What is the slogan of ACME's biggest rival?"


@pytest.mark.parametrize(
    ("question", "answer", "again"),
    [
        (RIVAL, "The slogan", ["What is the slogan of {}'s biggest rival?"]),
        (RIVAL, "ACME's slogan is", ["What is the slogan of {}'s biggest rival?"]),
        ("Who owned ACME before Idris?", "ACME was owned by", ["Who owned {} before Idris?"]),
        ("Who owned ACME before Idris?", "The owner was", ["Who owned {} before Idris?"]),
        # It tells of something else, so its own words say what is asked.
        (RIVAL, "ACME is based in", []),
        ("Tell me about ACME.", "The slogan of ACME is", []),
        ("Where is Bolt?", "ACME is in", []),
        # A name alone says nothing again.
        (RIVAL, "ACME", []),
    ],
)
def test_what_an_answer_says_again(question: str, answer: str, again: list[str]) -> None:
    found = read(chat(question, answer=answer))
    told = {text for one in found for text in one.restates}
    assert told == set(again)


@pytest.mark.parametrize(
    ("question", "answer", "is_written"),
    [
        ("What is the slogan of ACME?", "The slogan of ACME is", True),
        ("What is the slogan of ACME?", "Its slogan is", True),
        ("Tell me about ACME.", "The slogan of ACME is", True),
        (RIVAL, "The slogan is", False),
        (RIVAL, "Its slogan is", False),
        ("How long is the slogan of ACME?", "The slogan of ACME is", False),
        ("Who wrote the slogan of ACME?", "The slogan of ACME is", False),
    ],
)
def test_an_answer_gives_what_was_asked_for(question: str, answer: str, is_written: bool) -> None:
    facts = Dictionary([fact("ACME", "Built to last", "{} has the slogan")])
    text = chat(question, answer=answer)
    found = decide(text, mentions(text, facts), facts, default_encoder())
    assert (found is not None) == is_written
