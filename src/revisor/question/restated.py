"""Answers that say a question again: "The slogan" to "What is the slogan of ACME's rival?"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from revisor.language.lexicon import lexicon
from revisor.language.words import words
from revisor.question.put import Question

STEM = 4  # letters that two forms of a word have in common, at least
ENDING = 3  # letters that a form may add to them


def restating(said: Question, put: Sequence[Question]) -> Question:
    """What an answer's own words ask, with the questions already put that they repeat."""
    own = _content(said.text)
    asked = (one.text for one in put if one.mention.facts == said.mention.facts)
    again = [text for text in asked if _covers(_content(text), own)]
    return replace(said, restates=tuple(dict.fromkeys(again)))


def _content(text: str) -> list[str]:
    rules = lexicon(text)
    little = rules.empty_words | rules.function_words
    return [one.text for one in words(text) if one.text not in little]


def _covers(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether all words of an answer occur in the question, in one form or another."""
    return bool(said) and all(any(_same(one, other) for other in asked) for one in said)


def _same(one: str, other: str) -> bool:
    """Whether two words are forms of one: "owned", "owner"."""
    if one == other:
        return True
    stem = max(STEM, min(len(one), len(other)) - 1)
    longest = max(len(one), len(other))
    return one[:stem] == other[:stem] and longest <= stem + ENDING
