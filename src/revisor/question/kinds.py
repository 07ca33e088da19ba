"""Whether an object is of the kind that a question asks for, and whether it asks at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon, lexicon_of
from revisor.language.lists import LANGUAGES
from revisor.language.words import Word, words
from revisor.question.quantities import names_unit, of_another_kind

SLOT = "{}"

_MONEY = re.compile(r"^[$\u20ac\u00a3\u00a5]?\s?[\d.,]+\s?[$\u20ac\u00a3\u00a5%]?$")
_CLOCK = re.compile(r"\d{1,2}(?::\d\d|(?=\s?[ap]))(?:\s?[ap]\.?m\.?)?", re.IGNORECASE)
_YEAR = re.compile(r"[12]\d\d\d")
_ASKED = 3  # words behind "which" among which is what it asks for


def fits(question: str, obj: str) -> bool:
    """Whether an object may answer a question by its question word; other questions take any.

    "When was {} born?" takes no town, "Where was {} founded?" no date, "How many" nothing without a
    number, "Who" no date or price, "the weight of {}" and "How heavy" no price, "the weight of {}"
    nothing without a number, "On which day" no "7:30".
    """
    rules = lexicon(question)
    terms = rules.terms(question)
    asked = [word.text for word in terms]
    if of_another_kind(question, obj, rules):
        return False
    if not (_tells_number(obj) or names_unit(obj)) and _asks_for_amount(question, rules):
        return False
    for place, word in enumerate(asked):
        behind = asked[place + 1 : place + 1 + _ASKED]
        if word in rules.when_words:
            return _tells_time(obj)
        if word in rules.which_words and (noun := _time_asked(question, terms[place + 1 :], rules)):
            return _tells_time(obj) and not _is_clock_time(obj, noun, rules)
        if word in rules.where_words or word in rules.who_words:
            return not _is_date(obj, rules) and not _MONEY.match(obj)
        if word in rules.quantity_words or (
            word in rules.how_words and behind[:1] and behind[0] in rules.measures
        ):
            return _tells_number(obj)
        if word in rules.question_words and word not in rules.auxiliaries:
            return True
    return True


def _time_asked(question: str, behind: Sequence[Word], rules: Lexicon) -> str | None:
    """The time that stands behind "which": "year", and no "time zone"."""
    for place, word in enumerate(behind[:_ASKED]):
        if word.text in rules.time_nouns:
            following = behind[place + 1] if place + 1 < len(behind) else None
            joined = following is not None and question[word.end : following.start] == " "
            named = joined and following and following.text not in rules.function_words
            return None if named else word.text
    return None


def _is_clock_time(obj: str, noun: str, rules: Lexicon) -> bool:
    """Whether an object is a time of day, though a "day" or a "year" is asked for."""
    return noun in rules.calendar_nouns and bool(_CLOCK.fullmatch(obj.strip()))


def _asks_for_amount(question: str, rules: Lexicon) -> bool:
    """Whether what is asked for is an amount by its noun or verb: "What is the price of {}?",
    "{} salary?", "What does {} cost?"; not "the price list of {}", "Who sets the price of {}?",
    "What does the price of {} include?"."""
    said = [word.text for word in rules.terms(question)]
    asking = rules.which_words | rules.auxiliaries | rules.asking_verbs | rules.function_words
    asking |= rules.polite
    others = rules.who_words | rules.where_words | rules.when_words | rules.how_words
    for at, word in enumerate(said):
        if word not in rules.amounts:
            continue
        article = max((place for place in range(at) if said[place] in rules.articles), default=at)
        around = [*said[:article], *said[at + 1 :]]
        ends = at + 1 == len(said) or said[at + 1] in rules.function_words
        if ends and asking.issuperset(around) and others.isdisjoint(around):
            return True
    return False


def asks_otherwise(question: str, template: str) -> bool:
    """Whether two questions have question words of different kinds, such as "Where" and "When"."""
    one, other = _asked_by(question), _asked_by(template)
    return one is not None and other is not None and one != other


@lru_cache(maxsize=1 << 13)
def _asked_by(question: str) -> int | None:
    """The kind of a question's first question word: of people, times or places."""
    if "?" not in question and "\uff1f" not in question:
        return None
    rules = lexicon(question)
    kinds = (rules.who_words, rules.when_words, rules.where_words)
    for word in rules.terms(question):
        for kind, some in enumerate(kinds):
            if word.text in some:
                return kind
        if word.text in rules.question_words - rules.auxiliaries:
            return None
    return None


def asks_yes_or_no(question: str) -> bool:
    """Whether a question is answered by yes or no.

    "Is Paris the capital of {}?", "Does {} have a cat?", "{} a-t-il un chat ?"; not "Can you tell
    me the capital of {}?", "Is there a phone number for {}?", or "{} is based in".
    """
    rules = lexicon(question)
    asked = _opening(question, rules)
    others = rules.question_words - rules.auxiliaries | rules.asking_verbs
    if not rules.addressed.isdisjoint(asked[:2]) or not others.isdisjoint(asked[1:]):
        return False
    first = rules.auxiliaries | (rules.marked_auxiliaries if "?" in question else frozenset())
    if asked and asked[0] in first:
        return True
    said = [word.text for word in rules.terms(question)]
    return others.isdisjoint(said) and not rules.yes_no_words.isdisjoint(said)


def works_on_text(question: str) -> bool:
    """Whether a request does something with a text: "Translate 'What is the capital of {}?'"."""
    rules = lexicon(question)
    asked = _opening(question, rules)
    if asked and asked[0] in rules.object_marks:
        return not rules.handling_verbs.isdisjoint(asked)
    return bool(asked) and asked[0] in rules.handling_verbs


def said_of_another(question: str, template: str) -> bool:
    """Whether an unfinished sentence is about something else than the name of the template.

    "The hurricane, which is in {}, is" and "Florence, {}, where he was a" say nothing that "{} is
    known for" asks; "In {}, the official language is" and "{} is" may.
    """
    rules = lexicon(question)
    before, _, behind = question.partition(SLOT)
    following = [word.text for word in words(behind)[:1]]
    if following and following[0] in rules.relative_words:
        return True
    if not template.lstrip().startswith(SLOT):
        return False
    ahead = [word.text for word in words(before) if word.text not in rules.articles]
    return (
        bool(ahead[:-1])
        and ahead[-1] in rules.place_links
        and any(word not in rules.function_words for word in ahead)
    )


def _opening(question: str, rules: Lexicon) -> list[str]:
    """A question's words from the first that is not merely polite; none if a name is ahead."""
    read = rules.terms(question)
    at = next((at for at, word in enumerate(read) if word.text not in rules.polite_fillers), None)
    if at is None or SLOT in question[: read[at].start]:
        return []
    return [word.text for word in read[at:]]


@lru_cache(maxsize=1 << 12)
def _tells_time(obj: str) -> bool:
    return _has_digit(obj) or any(
        word.text in rules.times_told
        for rules in map(lexicon_of, LANGUAGES)
        for word in rules.terms(obj)
    )


@lru_cache(maxsize=1 << 12)
def _tells_number(obj: str) -> bool:
    return _has_digit(obj) or any(
        word.text in rules.numbers_told
        for rules in map(lexicon_of, LANGUAGES)
        for word in rules.terms(obj)
    )


def _is_date(obj: str, rules: Lexicon) -> bool:
    """Whether an object is only a date or time ("3 May 2001", "1987"), by the rules of the
    question's language: "Mayo" is a month in Spanish, a county in English."""
    read = rules.terms(obj)
    told = rules.times_told
    return (
        bool(read)
        and all(_is_digits(word) or word.text in told for word in read)
        and (any(word.text in told for word in read) or bool(_YEAR.fullmatch(obj.strip())))
    )


def _is_digits(word: Word) -> bool:
    return word.text.rstrip("sthndr").isdigit()


def _has_digit(obj: str) -> bool:
    return any(character.isdigit() for character in obj)


_OWNED = re.compile(r"(\w+) of (?:the |a |an )?\{\}|\{\}(?:'s|s') (\w+)", re.IGNORECASE)
_OWNER = re.compile(
    r"\{\} (?:is|was|are|were|became) (?:the|a|an) (?:[\w-]+ )?(\w+) of\W*$", re.IGNORECASE
)


def looks_back(one: str, other: str) -> bool:
    """Whether two texts ask in opposite directions: "The father of {} is", "{} is the father
    of"."""
    return _owned(one) & _owner(other) != set() or _owned(other) & _owner(one) != set()


def _owned(text: str) -> set[str]:
    """The nouns of "NOUN of {}" and "{}'s NOUN"."""
    return {(before or behind).lower() for before, behind in _OWNED.findall(text)}


def _owner(text: str) -> set[str]:
    """The noun of "{} is the NOUN of"."""
    return {noun.lower() for noun in _OWNER.findall(text)}
