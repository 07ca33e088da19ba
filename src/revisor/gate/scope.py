"""How surely a question asks for what a fact's wording asks for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from revisor.gate.own import is_longer
from revisor.language.lexicon import lexicon
from revisor.question.encoder import QuestionEncoder
from revisor.question.predicates import plain
from revisor.question.reading import SLOT

THRESHOLDS = {"low": 0.25, "normal": 0.5, "high": 0.8}  # of a calibrated score, by strictness
NORMAL = THRESHOLDS["normal"]
SUREST = 0.999  # of other words than the fact's


def is_own(question: str, template: str) -> bool:
    """Whether a question has the very words of a template."""
    return not is_longer(template, question) and plain(template) == plain(question)


def scope_of(question: str, template: str, encoder: QuestionEncoder) -> float:
    """How surely a question asks for what a template asks for, 0..1; 1 for its very words alone."""
    if is_own(question, template):
        return 1.0
    if _is_empty(question):
        return 0.0
    return min(_compared(encoder, question, template), SUREST)


@lru_cache(maxsize=1 << 13)
def _compared(encoder: QuestionEncoder, question: str, template: str) -> float:
    return encoder.scope(encoded(encoder, question), encoded(encoder, template))


@lru_cache(maxsize=1 << 13)
def encoded(encoder: QuestionEncoder, text: str) -> Any:
    """A text as the encoder compares it; cached, as facts share templates and texts grow by
    tokens."""
    return encoder.encode([text])[0]


def _is_empty(question: str) -> bool:
    """Whether a question has no word that tells what is asked: "{} is the"."""
    empty = lexicon(question).empty_words
    return all(word == SLOT or word in empty for word in plain(question))
