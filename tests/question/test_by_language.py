"""Which of two encoders compares: that for English, or that for several languages."""

from __future__ import annotations

from importlib.resources import files
from typing import IO

import pytest

from revisor.question.by_language import ENGLISH, LANGUAGES, ByLanguage
from revisor.question.encoder import default_encoder
from revisor.question.scope_encoder import ScopeEncoder

CEO, CAPITAL = "The CEO of {} is", "The capital of {} is"


def scope(question: str, template: str) -> float:
    encoder = default_encoder()
    return encoder.scope(*encoder.encode([question, template]))


@pytest.mark.parametrize(
    ("question", "template"),
    [
        ("Was ist die Hauptstadt von {}?", CAPITAL),
        ("Quelle est la capitale de {} ?", CAPITAL),
        ("¿Cuál es la capital de {}?", CAPITAL),
        ("{}的首都是哪里？", CAPITAL),
        ("Quelle est la capitale de {} ?", "La capitale de {} est"),
        ("What is the capital of {}?", "La capitale de {} est"),
    ],
)
def test_a_question_in_another_language_asks_for_the_same(question: str, template: str) -> None:
    assert scope(question, template) >= 0.5
    assert scope(question, CEO) < 0.5


def test_english_is_compared_by_the_encoder_for_english_alone() -> None:
    opened: list[str] = []

    def opening(name: str) -> IO[bytes]:
        opened.append(name)
        return (files("revisor.data") / name).open("rb")

    encoder = ByLanguage(opening)
    question, template = encoder.encode(["Who leads {}?", CEO])
    with opening(ENGLISH) as file:
        english = ScopeEncoder.read(file)
    assert encoder.scope(question, template) == english.scope(
        *english.encode(["Who leads {}?", CEO])
    )
    assert LANGUAGES not in opened, "it is read when it is needed"
    (german,) = encoder.encode(["Wer leitet {}?"])
    encoder.scope(german, template)
    encoder.scope(german, german)
    assert opened.count(LANGUAGES) == 1
