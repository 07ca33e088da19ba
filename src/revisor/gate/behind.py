"""What is still said of a name behind what answered a question about it."""

from __future__ import annotations

import re
from functools import cache

from revisor.language.lexicon import lexicon
from revisor.language.words import any_between, words
from revisor.question.predicates import plain
from revisor.question.reading import SLOT

_SET_OFF = re.compile(r"\s*[,)\uff0c\uff09]\s*")
_COMMA = re.compile(r",\s+")
LEAST = 2  # letters of an ending that a verb has more than


def said_behind(question: str, ahead: str, behind: str) -> str | None:
    """What continues a question behind its answer, as a template; None if nothing does.

    "The CEO of ACME is Jane Roe, a former" says nothing more: that is said of Jane Roe. What is
    said of the name goes on behind a conjunction ("... Jane Roe and is based in"), behind an answer
    in commas ("ACME, led by Jane Roe, is based in"), and where another verb follows ("ACME makes
    anvils, employs"). `ahead` and `behind` stand on either side of the answer.
    """
    set_off = ahead.lstrip().startswith((",", "(")) and _SET_OFF.match(behind)
    found = set_off or _going_on(question).match(behind) or _verb(question, behind)
    if not found or not words(behind, found.end()):
        return None
    return f"{SLOT} {behind[found.end() :].strip()}"


def _verb(question: str, tail: str) -> re.Match[str] | None:
    """The comma ahead of another verb in a sentence whose subject is the name."""
    rules = lexicon(question)
    if any(word not in rules.articles for word in plain(question.partition(SLOT)[0])):
        return None
    found = _COMMA.match(tail)
    said = words(tail, found.end())[:1] if found else []
    if not said or tail[said[0].start].isupper():
        return None
    word = said[0].text
    is_verb = len(word) > LEAST and word.endswith(tuple(rules.verb_endings))
    return found if is_verb or word in rules.auxiliaries else None


def _going_on(question: str) -> re.Pattern[str]:
    """What stands between what was said of a name and what more is said of it: " and "."""
    rules = lexicon(question)
    return _joint(rules.conjunctions & rules.joining)


@cache
def _joint(conjunctions: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"[,;\uff0c\uff1b]?(?:{any_between(conjunctions)})|[;\uff1b]\s*")
