"""Dates as they are written: what they are made of, and the days that they mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

from revisor.language.lexicon import Lexicon, lexicon_of
from revisor.language.lists import LANGUAGES
from revisor.language.words import fold, words

DAY = timedelta(days=1)
DASH = re.compile(r"\s?[-\u2013]\s?")
_COUNTED = 20  # characters behind a number in which what it counts is looked for
_MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120}  # of a unit
_YEAR = r"(?:1\d|20|21)\d\d(?!\w|[.,:/]\d|[-\u2013]\d{1,2}(?!\d)|\s?%)"
# "2019\u5e743\u6708", but not what goes on with "before", "after" or "since".
_HAN = (
    r"\u5728?\s?(?P<han_year>(?:1\d|20|21)\d\d)\s?\u5e74(?:\s?(?P<han_month>\d{1,2})\s?\u6708)?"
    r"(?:\s?(?P<han_day>\d{1,2})\s?\u65e5)?(?!\s?[\u4e4b\u4ee5\u524d\u540e\u8d77])"
)
_NOTHING = r"(?!)"  # the pattern of a kind of word that a language lacks
_SPACE = r"(?:\s+|(?<=['\u2019]))"


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `start` on and before `end`; a calendar unit (day, week, month, quarter, year) if
    `is_unit`; `is_open`: what began within it counts, too ("in 2024", "after 2022")."""

    start: date
    end: date
    is_unit: bool = False
    is_open: bool = False


class Grammar(NamedTuple):
    """Patterns made of a language's word lists, `rules`.

    `kinds` has, by kind, what each phrase means; of the kind "link", how a date behind it is taken:
    "in", "through", "before", "after", "since", "from". `hint` finds what tells a date; `link`
    stands ahead of one, `until` between two, `onwards` behind one; `now` means the present.
    """

    rules: Lexicon
    kinds: dict[str, dict[str, str]]
    hint: re.Pattern[str]
    date: re.Pattern[str]
    link: re.Pattern[str]
    until: re.Pattern[str]
    onwards: re.Pattern[str]
    now: re.Pattern[str]


@cache
def grammar_of(language: str) -> Grammar:
    """The patterns of a language's dates."""
    rules = lexicon_of(language)
    kinds: dict[str, dict[str, str]] = {}
    for entry in rules.time_words:
        phrase, _, meant = entry.partition(" = ")
        kind, _, value = meant.partition(" ")
        kinds.setdefault(kind, {})[phrase] = value
    of = defaultdict(lambda: _NOTHING, {kind: _any_of(some) for kind, some in kinds.items()})
    now = _any_of(rules.now_words)
    for side in ("before", "after"):
        of[f"ago_{side}"] = _any_of(word for word, one in kinds["ago"].items() if one == side)
    hints = "|".join(of[kind] for kind in ("away", "decade", "century", "ago"))
    hints += rf"|{of['shift']}\s+{of['unit']}|{of['unit']}\s+{of['behind']}"
    return Grammar(
        rules=rules,
        kinds=kinds,
        hint=_pattern(rf"\d{{3}}|\b(?:{hints})\b"),
        date=_pattern(_date_pattern(of)),
        link=_pattern(rf"(?:{of['adverb']}\s+)?(?P<link>{of['link']}){_SPACE}"),
        until=_pattern(rf"\s+{of['until']}\s+|{DASH.pattern}"),
        onwards=_pattern(rf"\s+{of['onwards']}(?!\w)"),
        now=_pattern(rf"(?<!\w){now}(?!\w)"),
    )


def may_have_date(text: str) -> bool:
    """Whether a text in any language may have a date in it. Never False where it has one."""
    return bool(_any_hint().search(text))


@cache
def _any_hint() -> re.Pattern[str]:
    return _pattern("|".join(grammar_of(language).hint.pattern for language in LANGUAGES))


def _date_pattern(of: Mapping[str, str]) -> str:
    joint = rf"(?:{of['joint']}{_SPACE})?"
    count, unit = rf"\d{{1,3}}|{of['number']}", rf"(?:{of['unit']}|{of['units']})"
    article = rf"(?:{of['article']}{_SPACE})?"
    return rf"""
        (?P<the>{article})
        (?:(?P<part>{of["part"]})[\s-]+{joint}{article})?
        (?:
            (?P<iso>\d{{4}}-\d\d-\d\d) | (?P<dotted>\d{{1,2}}\.\d{{1,2}}\.\d{{4}})
          | (?:(?P<day>\d{{1,2}})(?:st|nd|rd|th|er|\.)?\s+{joint})?(?P<month>{of["month"]})\.?
            (?:\s+(?P<day_behind>\d{{1,2}})(?:st|nd|rd|th)?)?(?:\s*,\s*|\s+{joint})
            (?P<year_of_month>{_YEAR})
          | (?:q(?P<q>[1-4])|(?P<nth>\d(?:st|nd|rd|th|\.)?|{of["ordinal"]})\s+{of["quarter"]})\s+
            {joint}(?P<year_of_quarter>{_YEAR})
          | (?P<season>{of["season"]})\s+{joint}(?P<year_of_season>{_YEAR})
          | (?P<tens>(?:1\d|20)\d0)(?:['\u2019]?s|ern?)(?:\s+{unit})?
          | (?P<decade>{of["decade"]})(?:\s+{unit})? | {of["tens"]}\s+(?P<tens_behind>(?:1\d|20)\d0)
          | (?P<hundreds>\d{{1,2}})(?:st|nd|rd|th|\.)[\s-]+{of["century"]}
          | (?P<shift>{of["shift"]})\s+(?P<unit>{of["unit"]})
          | (?P<unit_ahead>{of["unit"]})\s+(?P<behind>{of["behind"]})
          | (?P<count>{count})\s+(?P<unit_ago>{unit})\s+{of["ago_after"]}
          | {of["ago_before"]}\s+(?P<count_behind>{count})\s+(?P<unit_behind>{unit})
          | (?P<away>{of["away"]})
          | (?P<calendar>{of["calendar"]}\s+)?(?P<year>{_YEAR})
        )
        (?:['\u2019]s)?(?!\w)
      | {_HAN}
    """


def said(phrase: str) -> str:
    """A phrase as the lists have it."""
    return " ".join(fold(phrase).replace("\u2019", "'").split())


def _any_of(phrases: Iterable[str]) -> str:
    """A pattern of any of some phrases, the longest first."""
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    found = "|".join(re.escape(one) for one in longest_first)
    return f"(?:{found})".replace("\\ ", r"\s+").replace("'", "['\u2019]")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.VERBOSE)


class Date(NamedTuple):
    """A date in a text; `is_full`: it names its year in a form that other numbers have, too."""

    end: int
    period: Period
    words: frozenset[str]
    is_full: bool


def date_at(sentence: str, at: int, today: date, grammar: Grammar) -> Date | None:
    """The date that begins at a place."""
    kinds = grammar.kinds
    match = grammar.date.match(sentence, at)
    if match is None:
        return None
    given = {name: said(text) for name, text in match.groupdict().items() if text}
    plain_year = given.keys() <= {"the", "year"}
    behind = words(sentence[match.end() : match.end() + _COUNTED])[:1]
    if plain_year and behind and behind[0].text in grammar.rules.counted:
        return None
    is_relative = not given.keys().isdisjoint(("shift", "count", "count_behind", "away"))
    is_month = "month" in given and not given.keys() & {"day", "day_behind"}
    # "The last year" is a length of time, and "the 2019" and "the May 2019" go on with a noun.
    if "the" in given and "part" not in given and (is_relative or is_month or plain_year):
        return None
    try:
        period = _period(given, today, kinds)
    except (ValueError, OverflowError):
        return None
    if "part" in given:
        period = _part(period, kinds["part"][given["part"]])
    little = kinds["article"] | kinds["joint"]
    own = frozenset(one.text for one in words(match.group()) if one.text not in little)
    is_full = not (is_relative or "behind" in given or "han_year" in given)
    return Date(match.end(), period, own, is_full)


def _period(given: dict[str, str], today: date, kinds: dict[str, dict[str, str]]) -> Period:
    """The period of a date by its pattern's groups; ValueError or OverflowError if there is
    none."""
    if "han_year" in given:
        parts = [int(given.get(name, 1)) for name in ("han_year", "han_month", "han_day")]
        unit = "day" if "han_day" in given else "month" if "han_month" in given else "year"
        return _unit(date(*parts), unit)
    if "iso" in given:
        return _unit(date.fromisoformat(given["iso"]), "day")
    if "dotted" in given:
        day, month, year = map(int, given["dotted"].split("."))
        return _unit(date(year, month, day), "day")
    if "month" in given:
        year, month = int(given["year_of_month"]), int(kinds["month"][given["month"]])
        told = given.get("day", given.get("day_behind"))
        return _unit(date(year, month, int(told or 1)), "day" if told else "month")
    if "year_of_quarter" in given:
        nth = given.get("q") or kinds["ordinal"].get(given["nth"]) or given["nth"][0]
        return _unit(date(int(given["year_of_quarter"]), 3 * int(nth) - 2, 1), "quarter")
    if "season" in given:
        first = date(int(given["year_of_season"]), int(kinds["season"][given["season"]]), 1)
        return Period(first, _shifted(first, 3))
    if "year" in given:
        return _unit(date(int(given["year"]), 1, 1), "year")
    if "hundreds" in given:
        year = 100 * int(given["hundreds"]) - 99
        return Period(date(year, 1, 1), date(year + 100, 1, 1))
    tens = given.get("tens", given.get("tens_behind"))
    if tens or "decade" in given:
        year = int(tens or kinds["decade"][given["decade"]])
        return _unit(date(year, 1, 1), "decade")
    return _relative(given, today, kinds)


def _relative(given: dict[str, str], today: date, kinds: dict[str, dict[str, str]]) -> Period:
    """The period of a date that is told from today: "last year", "two years ago", "yesterday"."""
    if "away" in given:
        return _unit(today + int(kinds["away"][given["away"]]) * DAY, "day")
    if "shift" in given:
        unit, by = kinds["unit"][given["unit"]], int(kinds["shift"][given["shift"]])
    elif "behind" in given:
        unit, by = kinds["unit"][given["unit_ahead"]], int(kinds["behind"][given["behind"]])
    else:
        count = given.get("count", given.get("count_behind", ""))
        unit = (kinds["unit"] | kinds["units"])[given.get("unit_ago", given.get("unit_behind", ""))]
        by = -int(kinds["number"].get(count, count))
    if unit == "day":
        return _unit(today + by * DAY, "day")
    if unit == "week":
        return _unit(today + (7 * by - today.weekday()) * DAY, "week")
    length = _MONTHS[unit]
    since = (12 * today.year + today.month - 1) // length * length
    return _unit(_shifted(date(1, 1, 1), since - 12 + by * length), unit)


def _unit(first: date, unit: str) -> Period:
    """A day, week, month, quarter, year or decade by its first day."""
    if unit in _MONTHS:
        end = _shifted(first, _MONTHS[unit])
    else:
        end = first + (7 if unit == "week" else 1) * DAY
    is_short = unit != "decade"
    return Period(first, end, is_unit=is_short, is_open=is_short)


def _shifted(first: date, months: int) -> date:
    month = 12 * first.year + first.month - 1 + months
    return date(month // 12, month % 12 + 1, first.day)


def _part(period: Period, part: str) -> Period:
    """A part of a period: its first or last day, or a third of it ("early 2019")."""
    third = (period.end - period.start) / 3
    start = period.start + {"mid": 1, "late": 2}.get(part, 0) * third
    end = period.start + {"early": 1, "mid": 2}.get(part, 3) * third
    if part == "first":
        end = start + DAY
    elif part == "last":
        start = end - DAY
    return Period(start, end)
