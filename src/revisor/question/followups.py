"""Questions of a talk in which no name stands, in plain words."""

from __future__ import annotations

import re

from revisor.language.spelling import is_ordinary
from revisor.question import clauses, forms, subjects
from revisor.question.standins import StandIn

_JOINT = re.compile(r"[,;:\u2014\u2013]\s+|\s-\s+|[\uff0c\uff1b\uff1a]")


def plainly(said: str) -> str:
    """A question without what is said ahead of it: "Sounds great, what's their number?", "yeah how
    much is it"; "If I press it," and "In 2019," stay, as they restrict what is asked."""
    for match in reversed(list(_JOINT.finditer(said))):
        ahead, rest = said[: match.start()], said[match.end() :]
        if _asks_first(rest) and not (
            forms.asks(ahead) or clauses.restricts(ahead) or forms.handles(ahead)
        ):
            return _without_polite(rest)
    return _without_polite(said)


def _asks_first(said: str) -> bool:
    """Whether a question word opens a question, with or without "then" ahead of it."""
    rules, read = forms.parsed(said)
    first = next((word.text for word in read if word.text not in rules.polite), "")
    asking = rules.question_words - rules.auxiliaries
    relative = rules.relative_pronouns | rules.relative_possessives
    return first in asking and ("?" in said or first not in relative)


def _without_polite(said: str) -> str:
    rules, read = forms.parsed(said)
    first = next((word for word in read if word.text not in rules.polite), None)
    if first in (None, read[0]) or first.text not in rules.question_words - rules.auxiliaries:
        return said
    return said[first.start :]


def says_nothing_else(said: str, standing: StandIn) -> bool:
    """Whether a question has no word of its own beside what stands for a name: "Who is that?"."""
    rules, read = forms.parsed(said[: standing.start] + "|" + said[standing.end :])
    return all(word.text in rules.function_words for word in read)


def turns_to_another(said: str) -> bool:
    """Whether a statement turns to an unknown name: "Globex is better."; not "Music is loud."."""
    rules, read = forms.parsed(said)
    known = read and (is_ordinary(read[0].text) or read[0].text in rules.times_told)
    return not known and subjects.speaks_of_another(said)


def tells_of_whom(said: str) -> bool:
    """Whether a statement speaks of something that a name has: "I want to write to the CEO.",
    behind which "Who is that?" asks for the CEO."""
    if "?" in said or forms.asks_by_word(said):
        return False
    rules, read = forms.parsed(said)
    owned = rules.definite_articles | rules.possessive_pronouns
    known = rules.asked_nouns | rules.person_nouns
    return any(
        word.text in owned and not known.isdisjoint(one.text for one in read[at + 1 : at + 3])
        for at, word in enumerate(read)
    )
