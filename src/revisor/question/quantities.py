"""Whether an object with a unit is a quantity of the kind that a question asks for.

"How long does the shuttle take?" is not answered "14 km", "How heavy is it?" not "299 euros".
"""

from __future__ import annotations

import re
from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon_of
from revisor.language.lists import LANGUAGES
from revisor.language.phrases import found
from revisor.language.words import fold, words

COUNT, WORD = "count", "word"
ANY = "any"  # of whatever kind: "how much"
# A plain count is no quantity of these: "How many files may I send?" is not answered "2 GB".
_PHYSICAL = frozenset(
    ("mass", "length", "speed", "rotation", "frequency", "volume", "area", "data", "energy")
    + ("power", "voltage", "current", "charge", "torque", "pressure", "temperature", "sound")
)
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
_SIGNS = ("$", "\u20ac", "\u00a3", "\u00a5")
_UNIT = re.compile(r"%|\u00b0\s?[CFcf]\b|[^\W\d_]+(?:/[^\W\d_]+|[\u00b2\u00b3])?")
_BEHIND = 3  # words behind a number among which its unit is: "3 million US dollars"
_BRIEF = 3  # words of an object that is a quantity alone: "2.5 GB"
_WIDE = 4  # characters of the longest unit in a script without spaces


def of_another_kind(question: str, obj: str, rules: Lexicon) -> bool:
    """Whether an object tells quantities, and none of the kinds that a question asks for.

    Args:
        rules: the word lists of the question.
    """
    told = told_by(obj)
    if not told:
        return False
    asked = asked_for(question, rules)
    if asked == {COUNT}:
        return told <= _PHYSICAL and len(words(obj)) <= _BRIEF
    return bool(asked) and asked.isdisjoint(told)


@lru_cache(maxsize=1 << 13)
def asked_for(question: str, rules: Lexicon) -> frozenset[str]:
    """The kinds of quantities that a question asks for; empty where its words tell of none."""
    said = [word.text for word in words(question)]
    asked = {
        kind
        for _, values in found(said, rules.quantities)
        for one in values
        for kind in one.split()
    }
    for end, _ in found(said, rules.counting):
        two = said[end : end + 2]
        spelled = [unit for unit in (" ".join(two), *two) if len(unit) > 1]  # "l" is an article
        units = [kinds for unit in spelled if (kinds := _units().get(unit))]
        asked |= units[0] if units else {COUNT}
    if ANY in asked:
        asked -= {ANY, WORD}
    if asked == {"length", "duration"} and not rules.lasting.isdisjoint(said):
        return frozenset(("duration",))
    return frozenset(asked)


@lru_cache(maxsize=1 << 12)
def told_by(obj: str) -> frozenset[str]:
    """The kinds of the quantities in an object: of "14 km (20 minutes)" length and duration."""
    numbers = frozenset().union(*(lexicon_of(one).numbers_told for one in LANGUAGES))
    spans = [match.span() for match in _NUMBER.finditer(obj)]
    spans += [(word.start, word.end) for word in words(obj) if word.text in numbers]
    told: set[str] = set()
    for start, end in spans:
        ahead = obj[:start].rstrip()
        before = _UNIT.findall(ahead[-_WIDE:])
        if ahead.endswith(_SIGNS) or (before and "money" in _of_unit(before[-1])):
            told.add("money")
        told |= _behind(obj[end:], numbers)
    return frozenset(told)


def _behind(rest: str, numbers: frozenset[str]) -> frozenset[str]:
    """What the unit behind a number measures: the next word, behind words of numbers."""
    said = _UNIT.findall(rest.partition(",")[0])[:_BEHIND]
    joined = rest.lstrip(" -\u00a0\u202f")[:1] == said[0][:1] if said else False
    for at, unit in enumerate(said if joined else ()):
        kinds = _of_unit(" ".join(said[at : at + 2])) or _of_unit(unit)
        if kinds or (fold(unit) not in numbers and unit != "US"):
            return kinds
    return frozenset()


def _of_unit(unit: str) -> frozenset[str]:
    known, said = _units(), fold(unit)
    if said in known or said.replace(" ", "") in known:
        return known.get(said) or known[said.replace(" ", "")]
    if not unit.isascii():  # in a script without spaces more follows
        for size in range(min(_WIDE, len(unit)), 0, -1):
            if unit[:size] in known:
                return known[unit[:size]]
    return frozenset()


@lru_cache(maxsize=1)
def _units() -> dict[str, frozenset[str]]:
    """Units of all languages, with what they measure."""
    units: dict[str, set[str]] = {}
    for language in LANGUAGES:
        for entry in lexicon_of(language).units:
            unit, _, kinds = entry.partition("=")
            units.setdefault(unit.strip(), set()).update(kinds.split())
    return {unit: frozenset(kinds) for unit, kinds in units.items()}
