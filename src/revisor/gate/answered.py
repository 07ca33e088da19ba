"""Whether a text has given the answer that it asks for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

from revisor.gate.scope import NORMAL, scope_of
from revisor.index.base import IndexedFact
from revisor.language.words import words
from revisor.question.encoder import QuestionEncoder
from revisor.question.reading import SLOT, Question


class FactsOf(Protocol):
    """What is known of the facts that a name has."""

    def fact(self, handle: int) -> IndexedFact: ...


def is_answered(text: str, question: Question, obj: str, template: str) -> bool:
    """Whether the object stands where the answer may have begun, other than as a part of the name
    or of the question's own words."""
    mention, begin = question.mention, question.answered_from
    part = text[begin:]
    if begin <= mention.start:
        part = f"{text[begin : mention.start]} | {text[mention.end :]}"
    count = _times(part, obj)
    return count > 0 and count > _times(template.replace(SLOT, "|"), obj)


def was_given(
    text: str, question: Question, handle: int, facts: FactsOf, encoder: QuestionEncoder
) -> bool:
    """Whether an answer to several questions already has the object that the next one asks for,
    more often than earlier questions ask for other facts with that object.

    A question about an unknown name may have had any answer.
    """
    if question.replied_from is None:
        return False
    obj = facts.fact(handle).object
    given = _times(text[question.replied_from : question.answered_from], obj)
    return given > 0 and given > sum(
        not readings or any(_asks_for(one, obj, handle, facts, encoder) for one in readings)
        for readings in question.ahead
    )


def _asks_for(
    question: Question, obj: str, other_than: int, facts: FactsOf, encoder: QuestionEncoder
) -> bool:
    """Whether a question asks for a fact with this object, other than one."""
    return any(
        scope_of(question.text, template, encoder) >= NORMAL
        for handle in question.mention.facts
        if handle != other_than and facts.fact(handle).object == obj
        for template in facts.fact(handle).templates
    )


def _times(text: str, obj: str) -> int:
    return sum(1 for _ in object_pattern(obj).finditer(text))


@lru_cache(maxsize=1 << 14)
def object_pattern(obj: str) -> re.Pattern[str]:
    """An object where it stands in a text, whatever stands between its words."""
    read = words(obj)
    if not read:
        return re.compile(re.escape(obj))
    parts = [re.escape(obj[word.start : word.end]) for word in read]
    lead = r"(?<![^\W_])" if _parts_words(obj[read[0].start]) else ""
    tail = r"(?![^\W_])" if _parts_words(obj[read[-1].end - 1]) else ""
    return re.compile(lead + r"[\W_]*".join(parts) + tail)


def _parts_words(character: str) -> bool:
    """Whether a character stands in words that other characters go on."""
    return character.isalnum() and len(words(character * 2)) == 1
