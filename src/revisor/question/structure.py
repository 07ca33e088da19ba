"""What the words of an English question do: which is asked for, which belongs to the name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

from revisor.facts.fact import PLACEHOLDER

_FUNCTION = """
a an the of in on at to for from by with as is are was were be been being has have had do does did
will would can could which who whom whose what when where that it its
"""
_DETERMINER = "the a an its his her their"
_LINK = "of for in at to near behind from on about with opposite inside above"
FUNCTION = frozenset(_FUNCTION.split())
_DETERMINERS = frozenset(_DETERMINER.split())
_LINKS = frozenset(_LINK.split())
_BEING = frozenset(("is", "are", "was", "were", "has", "had", "did", "does"))
_ASKING = frozenset(("which", "what"))
_CLOSING = FUNCTION - _LINKS - _DETERMINERS - _ASKING - {"by", "as", "that", "who", "whose"}
_TELLING = frozenset(("where", "when"))
_WHENCE = frozenset(("in", "from"))  # where they end a text
_REACH = 5  # words behind "which" that it may ask for


class Role(IntEnum):
    """Where a word stands. `OUTER` and `INNER` are the nouns of "OUTER of the INNER of {}"; that
    of "INNER of {} was born in" is one, too: something is said of it."""

    LAST_BEFORE = 0  # the last word of content before the name
    BEHIND = 1  # right behind the name
    BEFORE = 2
    AFTER = 3
    ASKED = 4  # in "which NOUN"
    OUTER = 5
    INNER = 6


class Answer(IntFlag):
    """What an answer may be."""

    PERSON = 1
    PLACE = 2
    TIME = 4
    NUMBER = 8


ANYTHING = Answer(15)
_ANSWERS = {
    "who": Answer.PERSON,
    "whom": Answer.PERSON,
    "where": Answer.PLACE,
    "when": Answer.TIME,
}
_NOUNS = {
    Answer.PERSON: """
        ceo cto cfo coo chief president chairman chairwoman chairperson chair director
        manager boss head leader founder cofounder owner author writer artist painter
        composer singer performer producer actor actress screenwriter editor architect
        designer inventor creator developer coach trainer captain mayor governor minister
        king queen emperor pope bishop senator spouse wife husband father mother son
        daughter brother sister child parent friend successor predecessor winner champion
        driver teacher student speaker spokesperson secretary treasurer supervisor judge
        lawyer doctor officer executive
    """,
    Answer.PLACE: """
        headquarters hq capital birthplace location country city town village state province
        region continent address venue home hometown seat county district
    """,
    Answer.TIME: "date year birthday birthdate anniversary deadline",
    Answer.NUMBER: """
        price cost population weight height length width depth area size age number revenue
        profit income salary budget capacity speed temperature distance percentage rate
        score rank
    """,
}
_KINDS = {noun: kind for kind, nouns in _NOUNS.items() for noun in nouns.split()}
_ENDS = {
    "by": Answer.PERSON,
    "in": ANYTHING ^ Answer.PERSON ^ Answer.NUMBER,
    "at": ANYTHING ^ Answer.PERSON,
    "on": ANYTHING ^ Answer.PERSON,
    "year": Answer.TIME,
    "date": Answer.TIME,
}


class Direction(NamedTuple):
    """Between whom and whom a question looks, and what it looks for.

    Attributes:
        owned: the noun of "NOUN of {}" or "{}'s NOUN", or a number that stands for it; empty or 0
            if there is none.
        owner: the same of "{} is the NOUN of".
        by_name: "by {}" stands in it.
        by_other: "by" stands behind the name.
        answer: what answers it, an `Answer`.
    """

    owned: Any
    owner: Any
    by_name: bool
    by_other: bool
    answer: int


def asks(words: Sequence[str]) -> bool:
    """Whether a text has any word that says what is asked: "{} was the" has none."""
    told = any(_content(word) or word in _TELLING for word in words)
    return told or (bool(words) and words[-1] in _WHENCE)


def roles(words: Sequence[str]) -> list[Role]:
    """What each word does.

    Args:
        words: as `vocabulary.spoken` gives them.
    """
    name = words.index(PLACEHOLDER) if PLACEHOLDER in words else -1
    last = max((n for n in range(name) if _content(words[n])), default=-1)
    asked = -_REACH - 1
    found = []
    for n, word in enumerate(words):
        if word in _ASKING:
            asked = n
        elif word in _CLOSING or word == PLACEHOLDER:
            asked = -_REACH - 1
        if 0 < n - asked <= _REACH:
            found.append(Role.ASKED)
        elif n == last:
            found.append(Role.LAST_BEFORE)
        elif name < 0 or n > name + 1 or n == name:
            found.append(Role.AFTER)
        else:
            found.append(Role.BEHIND if n > name else Role.BEFORE)
    outer, inner = _chain(words, name)
    inner = inner or _subject(words, name)
    for places, role in ((outer, Role.OUTER), (inner, Role.INNER)):
        for n in places:
            found[n] = role
    return found


def direction(words: Sequence[str]) -> Direction:
    """Between whom and whom a question looks."""
    if PLACEHOLDER not in words:
        return Direction("", "", False, False, _answer(words, ""))
    name = words.index(PLACEHOLDER)
    before, owned, owner = _before_article(words, name), "", ""
    if before > 0 and words[before] == "of" and _content(words[before - 1]):
        owned = words[before - 1]
    elif name + 1 < len(words) and _content(words[name + 1]):
        owned = words[name + 1]
    if len(words) - name >= 3 and words[-1] == "of" and _content(words[-2]):
        owner = words[-2]
    by_name, by_other = name > 0 and words[name - 1] == "by", "by" in words[name + 1 :]
    return Direction(owned, owner, by_name, by_other, _answer(words, owned))


def _answer(words: Sequence[str], owned: str) -> Answer:
    """What answers a question: by its first question word, by the noun of "NOUN of {}", or by its
    last word.

    Args:
        owned: that noun; empty if there is none.
    """
    for place, word in enumerate(words):
        if word in _ANSWERS:
            return _ANSWERS[word]
        if word in _ASKING:
            behind = words[place + 1 : place + 3]
            return next((_KINDS[noun] for noun in behind if noun in _KINDS), ANYTHING)
        if word == "how":
            return Answer.NUMBER | Answer.TIME if words[place + 1 : place + 2] else ANYTHING
    if owned in _KINDS:
        return _KINDS[owned]
    return _ENDS.get(words[-1], ANYTHING) if words else ANYTHING


def answers_differ(one: Direction, other: Direction) -> bool:
    """Whether nothing answers both: "Who founded {}?" and "{} was founded in"."""
    return not int(one.answer) & int(other.answer)


def inverse(one: Direction, other: Direction) -> bool:
    """Whether two questions look in opposite directions: "The capital of {} is" and "{} is the
    capital of", "{} was bought by" and "What was bought by {}?"."""
    return any(
        bool(a.owned and a.owned == b.owner) or bool(a.by_name and b.by_other and not a.by_other)
        for a, b in ((one, other), (other, one))
    )


def _content(word: str) -> bool:
    return word != PLACEHOLDER and word not in FUNCTION


def _before_article(words: Sequence[str], place: int) -> int:
    """The place of the word before one, articles left out; -1 if there is none."""
    place -= 1
    while place >= 0 and words[place] in _DETERMINERS:
        place -= 1
    return place


def _chain(words: Sequence[str], name: int) -> tuple[list[int], list[int]]:
    """Places of the nouns of "OUTER of the INNER of {}", or of "OUTER of {}'s INNER"."""
    link = _before_article(words, name)
    if link < 1 or words[link] not in _LINKS:
        return [], []
    inner = _run(words, link - 1)
    ahead = inner[-1] - 1 if inner else -1
    if ahead >= 1 and words[ahead] in _DETERMINERS and words[ahead - 1] in _LINKS:
        outer = _run(words, ahead - 2)
        if outer:
            return outer, inner
    if inner and name + 1 < len(words) and _content(words[name + 1]):
        return inner[:1], []
    told = any(map(_content, words[name + 1 :]))  # "The NOUN of {} was born in"
    return [], inner if told else []


def _subject(words: Sequence[str], name: int) -> list[int]:
    """Places of the noun of "{}'s NOUN was born in": what is said is said of it."""
    end = name + 1
    while name >= 0 and end < len(words) and _content(words[end]):
        end += 1
    if name < 0 or words[end : end + 1] == [] or words[end] not in _BEING:
        return []
    return list(range(name + 1, end)) if any(map(_content, words[end:])) else []


def _run(words: Sequence[str], place: int) -> list[int]:
    """Places of words of content that stand together, from one leftwards."""
    found = []
    while place >= 0 and _content(words[place]):
        found.append(place)
        place -= 1
    return found
