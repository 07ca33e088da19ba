"""Whether a question that has the words of a fact's wording asks for what the fact says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.phrases import found
from revisor.language.words import words
from revisor.question import forms

SLOT = forms.SLOT
SAYS_ELSE = "says something else of the answer"
DOUBTED = "said not to be so"
ANOTHER = "of another status"
SOMETHING_ELSE = "of something near the name"
NEGATED = "asks for what is not so"
BESIDE = frozenset((SAYS_ELSE, DOUBTED, ANOTHER, SOMETHING_ELSE, NEGATED))

_LEAST = 3  # words of a noun phrase with a name in it
_LINK = 2  # last words of a template among which its verb is
_TURNED = ("kin", "ownership", "learning")  # what two have of each other
_ASIDES = tuple(",;:(\u2013\u2014-")


@lru_cache(maxsize=1 << 14)
def plain(template: str) -> tuple[str, ...]:
    """The words of a template, folded, its slots among them."""
    parts = [tuple(word.text for word in words(part)) for part in template.split(SLOT)]
    return tuple(word for part in parts for word in (*part, SLOT))[:-1]


@lru_cache(maxsize=1 << 14)
def beside(question: str, template: str, *, unfinished: bool) -> str | None:
    """Why a question, maybe an unfinished one, asks for something else than a template whose words
    it has; None if it may not."""
    if unfinished and says_else(question, template):
        return SAYS_ELSE
    if unfinished and is_doubted(question, template):
        return DOUBTED
    if is_of_another(question, template):
        return ANOTHER
    if is_of_something_else(question, template):
        return SOMETHING_ELSE
    if is_negated(question, template):
        return NEGATED
    return None


def says_else(question: str, template: str) -> bool:
    """Whether an unfinished sentence has a template's noun phrase as its subject, but does not say
    what or who that is.

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


def is_doubted(question: str, template: str) -> bool:
    """Whether an unfinished sentence denies what follows: "Some say, wrongly, that the capital of
    {} is"."""
    rules, said = lexicon(question), plain(template)
    read = rules.terms(question.partition(SLOT)[0])
    return any(word.text in rules.doubts and word.text not in said for word in read)


def is_negated(question: str, template: str) -> bool:
    """Whether a question asks in a template's words for what is not so: "Who is not the mayor of
    {}?", "The mayor of {} is not"; not "I do not know who is the mayor of {}"."""
    rules = lexicon(question)
    asked = [word.text for word in rules.terms(question)]
    said = {word.text for word in rules.terms(template)}
    if rules.denials.isdisjoint(asked) or not rules.denials.isdisjoint(said):
        return False
    own = set(asked) - rules.function_words - rules.denials - rules.auxiliaries
    asking = rules.question_words - rules.auxiliaries
    first = next((at for at, word in enumerate(asked) if word in asking), -1)
    return own <= said | asking and not rules.denials.isdisjoint(asked[first + 1 :])


def is_of_another(question: str, template: str) -> bool:
    """Whether an adjective makes the noun of a question another one than the template's.

    "The deputy mayor of {} is" asks for nobody who "The mayor of {} is" tells of, nor "the maximum
    dose of {}" for "The recommended dose of {} is". Where the template itself says which of several
    it means ("The latest version of {} is"), only the contrary ("the oldest version") decides. "Who
    led {} before the current one?" asks for another, too.
    """
    rules, said, asked = lexicon(question), plain(template), plain(question)
    if _tells_succession(question, rules) and not _tells_succession(template, rules):
        return True
    if _is_contrary(asked, said, rules):
        return True
    if not (rules.statuses | rules.statuses_behind | rules.superlatives).isdisjoint(said):
        return False
    nouns = {word for word in said if word != SLOT and word not in rules.function_words}
    return any(
        (one in rules.statuses and other in nouns)
        or (one in nouns and other in rules.statuses_behind)
        for one, other in pairwise(asked)
    )


def _is_contrary(asked: tuple[str, ...], said: tuple[str, ...], rules: Lexicon) -> bool:
    """Whether two texts tell opposite sides of one thing: "minimum" and "maximum" of a size, "born"
    and "lived" of a life; not where one tells both, nor where a sentence turns to the other side:
    "{} is the daughter of" asks for a parent."""
    one, other = _sides(asked, rules), _sides(said, rules)
    turned = _TURNED if asked[-1:] and asked[-1] in rules.genitives else ()
    return any(
        not sides & one[what]
        for what, sides in other.items()
        if what in one and what not in turned and len(sides) == len(one[what]) == 1
    )


def on_one_side(question: str, template: str) -> bool:
    """Whether two texts tell of one thing on the same side: "COO" and "operating officer"."""
    rules = lexicon(question)
    one, other = _sides(plain(question), rules), _sides(plain(template), rules)
    return any(sides & one.get(what, set()) for what, sides in other.items())


def _sides(said: tuple[str, ...], rules: Lexicon) -> dict[str, set[str]]:
    """On which sides of what the words of a text stand."""
    sides: dict[str, set[str]] = {}
    for entry in found(said, rules.opposites):
        for what, _, side in (value.partition(" ") for value in entry.values):
            sides.setdefault(what, set()).add(side)
    return sides


def _tells_succession(text: str, rules: Lexicon) -> bool:
    """Whether a text ends with who came ahead of another."""
    return text.casefold().rstrip("?.! ").endswith(tuple(rules.successions))


def is_of_something_else(question: str, template: str) -> bool:
    """Whether a question asks about something near the name instead of the name: "The price of a
    case for {} is" for "The price of {} is"; not "the population of the city of {}"."""
    rules, said, asked = lexicon(question), plain(template), plain(question)
    nouns = set(_owned(said, rules))
    own = rules.function_words | rules.generic_nouns | set(said)
    for at, (word, following) in enumerate(pairwise(asked)):
        rest = asked[at + 2 :]
        if word not in nouns or following not in rules.genitives or SLOT not in rest:
            continue
        between = [one for one in rest[: rest.index(SLOT)] if one not in rules.articles]
        if between and between[-1] in rules.complements | rules.place_links:
            return not own.issuperset(between)
    return False


def _owned(said: tuple[str, ...], rules: Lexicon) -> Iterator[str]:
    """The nouns of "NOUN of {}" and "NOUN of the {}"."""
    for at, word in enumerate(said):
        if word == SLOT:
            ahead = [one for one in said[:at] if one not in rules.articles]
            if len(ahead) > 1 and ahead[-1] in rules.genitives:
                yield ahead[-2]


@lru_cache(maxsize=1 << 13)
def _phrases(template: str) -> tuple[tuple[str, ...], ...]:
    """A template's noun phrases with the name: "the capital of {}" in "What is the capital of
    {}?"."""
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
    """Whether what follows a noun phrase does not say what it names."""
    said = list(tail)
    while said and said[0] in rules.present_words:
        said.pop(0)
    known = rules.function_words | rules.present_words | rules.amounting | rules.auxiliaries
    nouns = rules.generic_nouns | rules.asked_nouns | rules.person_nouns
    own = [word for word in said if word not in known | nouns]
    if not own:
        return False
    return said[-1] in rules.of_others or said[0] not in rules.auxiliaries | rules.amounting
