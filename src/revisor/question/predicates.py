"""Whether an unfinished sentence asks for a fact's answer or says something else of it."""

from __future__ import annotations

from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.words import words
from revisor.question import forms

SLOT = forms.SLOT

_LEAST = 3  # words of a noun phrase with a name in it
_LINK = 2  # last words of a template among which its verb is
_ASIDES = tuple(",;:(\u2013\u2014-")


@lru_cache(maxsize=1 << 14)
def plain(template: str) -> tuple[str, ...]:
    """The words of a template, folded, its slots among them."""
    parts = [tuple(word.text for word in words(part)) for part in template.split(SLOT)]
    return tuple(word for part in parts for word in (*part, SLOT))[:-1]


def says_else(question: str, template: str) -> bool:
    """Whether an unfinished sentence has a template's noun phrase as its subject and says something
    else of it than what or who it is.

    "The capital of {} is known for", "The capital of {} needs" and "The man who runs {} lives in"
    do; "The capital of {} is called", "The capital of {} lies in" do not.
    """
    if forms.asks(question):
        return False
    rules = lexicon(question)
    asked = plain(question)
    for phrase in _phrases(template):
        for start in range(len(asked) - len(phrase)):
            end = start + len(phrase)
            if asked[start:end] == phrase and not _is_aside(question, asked, end):
                return _is_of_others(asked[end:], rules)
    return False


@lru_cache(maxsize=1 << 13)
def _phrases(template: str) -> tuple[tuple[str, ...], ...]:
    """The noun phrases with a name that a template asks for: "the capital of {}" of "The capital of
    {} is" and of "What is the capital of {}?", "runs {}" of "Who runs {}?"."""
    rules, said = lexicon(template), plain(template)
    ends = range(len(said) - 1, max(_LEAST, len(said) - _LINK) - 1, -1)
    found = [said[:at] for at in ends if said[at] in rules.copulas][:1]
    asking = rules.question_words - rules.auxiliaries
    if said[:1] and said[0] in asking:
        skipped = 2 if said[1:2] and said[1] in rules.copulas else 1
        by_who = said[0] in rules.who_words
        found += [said[skipped:]] if skipped == 2 or by_who else []
    return tuple(one for one in found if SLOT in one and _names_what(one, rules))


def _names_what(phrase: tuple[str, ...], rules: Lexicon) -> bool:
    return any(word != SLOT and word not in rules.function_words for word in phrase)


def _is_aside(question: str, asked: tuple[str, ...], end: int) -> bool:
    """Whether a phrase that ends with a name has a comma, a dash or a bracket behind it."""
    behind = question.rpartition(SLOT)[2].lstrip()
    return asked[end - 1] == SLOT and behind.startswith(_ASIDES)


def _is_of_others(tail: tuple[str, ...], rules: Lexicon) -> bool:
    """Whether what follows a noun phrase leads to something else than what it names."""
    said = list(tail)
    while said and said[0] in rules.present_words:
        said.pop(0)
    known = rules.function_words | rules.present_words | rules.amounting | rules.auxiliaries
    nouns = rules.generic_nouns | rules.asked_nouns | rules.person_nouns
    own = [word for word in said if word not in known | nouns]
    if not own:
        return False
    return said[-1] in rules.of_others or said[0] not in rules.auxiliaries | rules.amounting
