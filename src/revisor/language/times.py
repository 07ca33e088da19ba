"""Times that a sentence tells: which period it speaks of, and by which words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from revisor.language.dates import DASH, DAY, Date, Grammar, Period, date_at, grammar_of, said
from revisor.language.lexicon import language_of
from revisor.language.words import words

SLOT = "{}"  # where a name was
_WORD = re.compile(r"(?<![\w'\u2019])(?=\w)|(?<=[\u4e00-\u9fff}])(?=\u5728?\d)")
_AT_END = re.compile(r"[\s?.!:)\"'*_]*$")
_PARTS = re.compile(r"[,;(\u2014]|\)(?=\s|$)|\s[-\u2013](?=\s)")  # what parts clauses
_NOT_AHEAD = "-\u2013/.,#$\u20ac\u00a3"  # right ahead of a number that is no year


@dataclass(frozen=True, slots=True)
class TimeTold:
    """A time in a text: `period` is None for the present; `words` are those of a date, folded
    ("march", "2020"), and none for the present."""

    start: int
    end: int
    period: Period | None
    words: frozenset[str]


@lru_cache(maxsize=1 << 12)
def times_told(sentence: str, today: date) -> tuple[TimeTold, ...]:
    """The times that a sentence tells of what it asks or says, in order.

    "In March 2020", "as of 2021-05-01", "from 2015 to 2017", "two years ago", "currently". What has
    no date ("before the war") is none, nor is a time of something else: an event ("born in 1950, {}
    lives in"), an insertion ("{}, sold in 2019, is"), a thing ("the 1994 film {}"). "Since 2020"
    means the present, and so does a year, or a shorter time, that includes today.
    """
    grammar = grammar_of(language_of(sentence))
    if not (grammar.hint.search(sentence) or grammar.now.search(sentence)):
        return ()
    return tuple(_found(sentence, today, grammar))


def tells_time(text: str) -> bool:
    """Whether a text tells a time by a date ("in 2019", "last year"), not by "now"."""
    return any(one.words for one in times_told(text, date(2000, 1, 1)))


def without_times(sentence: str, told: Sequence[TimeTold]) -> str:
    """A sentence without the words of some times; what means the present stays.

    "Who was the CEO of {} in 2019?" becomes "Who was the CEO of {}?".
    """
    for one in reversed(told):
        if not one.words:
            continue
        ahead, behind = sentence[: one.start].rstrip(), sentence[one.end :].lstrip()
        parted = not ahead or ahead[-1] in ",(\u2013-\uff0c"
        if parted and behind[:1] in tuple(",:)\u2013-\uff0c"):
            ahead, behind = ahead[:-1].rstrip(), behind[1:].lstrip()
        elif parted and behind[:1] in ("", "?", ".", "!"):
            ahead = ahead[:-1].rstrip()
        joint = "" if behind[:1] in ("", "?", ".", "!", ",", ":", ";") else " "
        sentence = f"{ahead}{joint}{behind}".strip()
    return sentence


def _found(sentence: str, today: date, grammar: Grammar) -> Iterator[TimeTold]:
    done = 0
    for match in _WORD.finditer(sentence):
        if match.start() < done:
            continue
        one = _told(sentence, match.start(), today, grammar)
        if one is not None:
            done = one.end
            if not one.words or not _is_of_another(sentence, one, grammar):
                yield one


def _told(sentence: str, at: int, today: date, grammar: Grammar) -> TimeTold | None:
    now = grammar.now.match(sentence, at)
    if now:
        return TimeTold(at, now.end(), None, frozenset())
    link = grammar.link.match(sentence, at)
    linked = _linked(sentence, at, link, today, grammar) if link else None
    return linked or _bare(sentence, at, today, grammar)


# A date in its place


def _linked(
    sentence: str, at: int, link: re.Match[str], today: date, grammar: Grammar
) -> TimeTold | None:
    """A time behind a word that leads to one: "in 2019", "from 2015 to 2017", "since May 2020"."""
    way = grammar.kinds["link"][said(link.group("link"))]
    first = date_at(sentence, link.end(), today, grammar)
    if first is None:
        return None
    if way in ("from", "since", "in"):
        second = _second(sentence, first.end, today, grammar, dashed=way == "in")
        if second is not None:
            return _range(at, first, second)
    if way == "from":
        onwards = grammar.onwards.match(sentence, first.end)
        if onwards is None:
            return None
        first, way = first._replace(end=onwards.end()), "since"
    return TimeTold(at, first.end, _taken(way, first.period, today), first.words)


def _second(sentence: str, at: int, today: date, grammar: Grammar, *, dashed: bool) -> Date | None:
    """The date to which a time goes that began with another."""
    until = (DASH if dashed else grammar.until).match(sentence, at)
    found = date_at(sentence, until.end(), today, grammar) if until else None
    return found if found is not None and (found.is_full or not dashed) else None


def _range(at: int, first: Date, second: Date) -> TimeTold | None:
    """From some day of one date to some day of another: "from 2015 to 2017"."""
    start, end = first.period.end - DAY, second.period.start + DAY
    if start >= end:
        return None
    return TimeTold(at, second.end, Period(start, end), first.words | second.words)


def _taken(way: str, period: Period, today: date) -> Period | None:
    """The period meant by a date and the word that leads to it; None for the present.

    "Before 2021", and "until 2021", is the day before; "after 2022" is from then until today.
    """
    if way == "since" and period.start <= today:
        return None
    if way == "before":
        return Period(period.start - DAY, period.start)
    if way == "after":
        is_past = period.end <= today
        return Period(period.end, (today if is_past else period.end) + DAY, is_open=is_past)
    if way == "through":
        return replace(period, is_unit=False, is_open=False)
    return None if period.is_unit and period.start <= today < period.end else period


def _bare(sentence: str, at: int, today: date, grammar: Grammar) -> TimeTold | None:
    """A time without a leading word: "last year" anywhere, a date where a text begins or ends ("{}
    CEO 2019"), a year ahead of what is asked for ("the 2019 CEO of {}")."""
    first = date_at(sentence, at, today, grammar)
    if first is None:
        return None
    if not first.is_full:
        owning = grammar.rules.articles | grammar.rules.possessive_pronouns | {"s"}
        if not owning.isdisjoint(word.text for word in words(sentence[:at])[-1:]):
            return None  # "the last year", "his last year", "{}'s last year"
    else:
        second = _second(sentence, first.end, today, grammar, dashed=True)
        told = _range(at, first, second) if second else None
        end = told.end if told else first.end
        if not (_opens(sentence, at, end, grammar) or _closes(sentence, at, end, grammar)):
            return None
        if told is not None:
            return told
    return TimeTold(at, first.end, _taken("in", first.period, today), first.words)


def _opens(sentence: str, at: int, end: int, grammar: Grammar) -> bool:
    """Whether a date opens a sentence ("2019: the CEO of {} was"), or its noun ("{}'s 2019 CEO
    is")."""
    rules = grammar.rules
    behind = sentence[end:].lstrip()
    word = next((one.text for one in words(behind)[:1] if one.start == 0), "")
    if not sentence[:at].strip(" \"'*_("):
        going_on = rules.auxiliaries | rules.question_words | rules.asked_nouns | rules.articles
        return behind[:1] in tuple(",:-\u2013{") or word in going_on
    ahead = {one.text for one in words(sentence[:at])[-1:]}
    return word in rules.asked_nouns and not ahead.isdisjoint(rules.articles | {"s"})


def _closes(sentence: str, at: int, end: int, grammar: Grammar) -> bool:
    """Whether a date closes a sentence as its time: "ceo of {} 2019"; not "older than 1990"."""
    ahead = sentence[:at].rstrip()
    if not ahead or sentence[at - 1] in _NOT_AHEAD or not _AT_END.match(sentence, end):
        return False
    if ahead.endswith(SLOT):
        return True
    if ahead.endswith("("):
        return not ahead[:-1].rstrip().endswith(SLOT)
    word = words(ahead)[-1:]
    return bool(word) and word[0].text not in grammar.rules.function_words


# Of what a time is


def _is_of_another(sentence: str, told: TimeTold, grammar: Grammar) -> bool:
    """Whether a time is of something else than of what a sentence asks or says."""
    rules, links = grammar.rules, grammar.kinds["link"]
    if sentence[told.end : told.end + 1] in tuple(".!?") and words(sentence[told.end :]):
        return True
    parts = [match.span() for match in _PARTS.finditer(sentence)]
    left = next((span for span in reversed(parts) if span[1] <= told.start), None)
    right = next((span for span in parts if span[0] >= told.end), None)
    ahead = [word.text for word in words(sentence[left[1] if left else 0 : told.start])]
    if ahead and (ahead[-1] in rules.happenings or ahead[-1] in rules.dated_nouns):
        return True
    # "Since the merger in 2019" is not in 2019.
    if any(links.get(word) == "since" for word in ahead):
        return True
    if right is None:
        return False
    if left is not None and _is_inserted(sentence, told, left[1], right[0], grammar):
        return True
    return _leads_in(sentence, told, right[0], grammar)


def _is_inserted(sentence: str, told: TimeTold, start: int, end: int, grammar: Grammar) -> bool:
    """Whether a time stands in an insertion that says more: "{}, which was sold in 2019, is"."""
    inner = sentence[start:end]
    rules = grammar.rules
    rest = f"{sentence[start : told.start]} {sentence[told.end : end]}"
    beside = [word.text for word in words(rest)]
    if SLOT in inner or all(word in rules.function_words for word in beside):
        return False
    return SLOT in sentence[:start] or rules.question_words.isdisjoint(beside)


def _leads_in(sentence: str, told: TimeTold, end: int, grammar: Grammar) -> bool:
    """Whether a time stands in a first clause about something else: "Released in 1995, {} is"; not
    in "At a meeting in 2019, {} chose as its CEO"."""
    rules = grammar.rules
    read = [word.text for word in words(sentence[:end])]
    ahead = [word.text for word in words(sentence[: told.start])]
    if SLOT in sentence[:end] or all(word in rules.function_words for word in ahead):
        return False
    if not (rules.question_words - rules.when_words | rules.asking_verbs).isdisjoint(read):
        return False
    first = next((word for word in ahead if word not in rules.polite), ahead[0])
    return first not in grammar.kinds["link"] and first not in rules.when_words
