"""Whether an object with a unit is a quantity of the kind that a question asks for.

"How long does the shuttle take?" is not answered "14 km", "How heavy is it?" not "299 euros".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from itertools import pairwise

from revisor.language.lexicon import Lexicon, lexicon, lexicon_of
from revisor.language.lists import LANGUAGES
from revisor.language.phrases import found
from revisor.language.words import fold, words

COUNT = "count"
# A plain count is no quantity of these: "How many files may I send?" is not answered "2 GB".
_COUNTLESS = frozenset(("data", "power", "voltage", "torque", "temperature", "sound", "speed"))
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
_SIGNS = ("$", "\u20ac", "\u00a3", "\u00a5")
_UNIT = re.compile(r"%|\u00b0\s?[CFcf]\b|[^\W\d_]+(?:/[^\W\d_]+|[\u00b2\u00b3])?")
_BEHIND = 3  # words behind a number among which its unit is: "3 million US dollars"
_RATES = frozenset(("per", "a", "an", "pro", "par", "por"))  # of one quantity to another
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
        return told <= _COUNTLESS
    return bool(asked) and asked.isdisjoint(told)


@lru_cache(maxsize=1 << 13)
def asked_for(question: str, rules: Lexicon) -> frozenset[str]:
    """The kinds of quantities that a question asks for; empty where its words tell of none. A noun
    ahead of another ("weight loss") asks for none."""
    said = [word.text for word in words(question)]
    asked: set[str] = set()
    for begin, end, values in found(said, rules.quantities):
        if end - begin > 1 or end == len(said) or said[end] in rules.function_words:
            asked |= {kind for value in values for kind in value.split()}
    for _, end, _ in found(said, rules.counting):
        two = said[end : end + 2]
        spelled = [unit for unit in (" ".join(two), *two) if len(unit) > 1]  # "l" is an article
        units = [kinds for unit in spelled if (kinds := _units().get(unit))]
        asked |= units[0] if units else {COUNT}
    if "duration" in asked and "length" in asked and not rules.lasting.isdisjoint(said):
        return frozenset(("duration",))
    return frozenset(asked)


@lru_cache(maxsize=1 << 12)
def told_by(obj: str) -> frozenset[str]:
    """The kinds of the quantities that an object is: of "14 km (20 minutes)" length and duration.

    An object with other words tells of none ("30 Seconds to Mars", "free within 5 km"), nor does
    what is told by another quantity ("60 miles per hour"), but for money.
    """
    numbers = frozenset().union(*(lexicon_of(one).numbers_told for one in LANGUAGES))
    spans = [match.span() for match in _NUMBER.finditer(obj)]
    spans += [(word.start, word.end) for word in words(obj) if word.text in numbers]
    told: set[str] = set()
    for start, end in spans:
        ahead, rest = obj[:start].rstrip(), obj[end:]
        before = _UNIT.findall(ahead[-_WIDE:])
        signed = ahead.endswith(_SIGNS) or rest.lstrip().startswith(_SIGNS)
        if signed or (before and "money" in _of_unit(before[-1])):
            told.add("money")
        told |= _behind(rest, numbers)
    return frozenset(told) if told and _is_plain(obj, numbers, told) else frozenset()


def names_unit(obj: str) -> bool:
    """Whether an object names a unit, maybe without a number: "a euro a minute"."""
    return any(word.text in _units() for word in words(obj))


def _is_plain(obj: str, numbers: frozenset[str], told: Collection[str]) -> bool:
    """Whether an object has no words but numbers, units and those of grammar, and tells no rate:
    "2 to 8 kg", not "50 miles an hour"; "5 euros a day" tells money alone."""
    said = [fold(unit) for unit in _UNIT.findall(obj)]
    if set(told) != {"money"} and not _RATES.isdisjoint(said):
        return False
    known = lexicon(obj).function_words | numbers
    pairs = [" ".join(two) for two in pairwise(said)]
    joined = {word for pair in pairs if pair in _units() for word in pair.split()}
    return all(word in known or word in joined or _of_unit(word) for word in said)


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
