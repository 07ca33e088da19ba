"""Several questions in one sentence, each as a sentence of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.words import fold, words
from revisor.question.forms import SLOT, asks, names_another, parsed

_TOKEN = re.compile(r"\{\}|[\w-]+|[^\w\s]")
_HEAD = 4  # words of a request ahead of its nouns
_NOUN = 3  # words of a noun with its adjectives
_WAYS = re.compile(r"^(?P<first>\w+),?\s(?P<and>\w+)\s(?P<last>\w+)\s(?P<rest>.*\{\}.*)$")


def parts(text: str, start: int, end: int, own: Sequence[Mention]) -> list[tuple[int, int]]:
    """The questions of a sentence that asks, as spans: "Who leads ACME | and where is Bolt based?",
    "What is the price of the Tarn | and its weight?". No span ends within a name of `own`."""
    said = text[start:end]
    rules, read = parsed(said)
    found, begin = [], 0
    for place in range(1, len(read)):
        at = read[place].start
        is_and = read[place].text in rules.adding and place + 1 < len(read)
        is_listed = said[:at].rstrip().endswith(",") and _is_listed(said, place)
        if not (is_and or is_listed) or any(one.start <= start + at < one.end for one in own):
            continue
        ahead = [one for one in own if start + begin <= one.start < start + at]
        owned = any(_is_complement(text[start : one.start]) for one in ahead)
        complete = owned or (not ahead and names_another(said[begin:at]))
        first = place + is_and
        if _joins(said, place, first, begin, complete):
            found.append((start + begin, start + len(said[:at].rstrip(" ,"))))
            begin = read[first].start
    found.append((start + begin, end))
    return found


def _is_listed(said: str, place: int) -> bool:
    """Whether a comma separates questions of a list: "Who leads ACME, where is it based, and when
    was it founded?"; not "ACME, which"."""
    rules, read = parsed(said)
    behind = [word.text for word in read[place:]]
    if behind[0] in rules.question_words - rules.auxiliaries - rules.relative_pronouns:
        return behind[1:2] != [] and behind[1] in rules.auxiliaries
    articles = rules.definite_articles | rules.possessive_pronouns
    return behind[0] in articles and any(
        word in rules.adding and after in articles
        for word, after in zip(behind, behind[1:], strict=False)
    )


def _is_complement(ahead: str) -> bool:
    """Whether what follows some words is that of which something is asked: "the price of the"."""
    rules, read = parsed(ahead)
    left = [word.text for word in read if word.text not in rules.articles]
    return left[-1:] != [] and left[-1] in rules.complements


def _joins(said: str, place: int, first: int, begin: int, complete: bool) -> bool:
    """Whether an "and" or a comma joins a new question to the one that began before it.

    "When and where was it founded" and "Who leads ACME and the Bolt Group" are one question.
    `place` is the word that joins or begins it, `first` its first word; `complete`: the one before
    says what it asks about.
    """
    rules, read = parsed(said)
    ahead = [word.text for word in read[:place] if word.start >= begin]
    behind = [word for word in read[first:] if word.text not in rules.trailing]
    asking = rules.question_words - rules.auxiliaries
    if not behind or all(word in rules.polite for word in ahead):
        return False
    if behind[0].text in asking:
        return not (len(ahead) == 1 and ahead[0] in asking and len(behind) > 1)
    if len(behind) < 2:
        return False
    if behind[0].text in rules.asking_verbs:
        return ahead[0] in rules.asking_verbs | rules.polite
    if behind[0].text not in rules.possessive_pronouns | rules.definite_articles:
        return False
    is_name = said[behind[1].start].isupper() and behind[1].text not in rules.asked_nouns
    return complete and not is_name and rules.comparing.isdisjoint(ahead)


class _Token(NamedTuple):
    text: str
    start: int
    end: int


def questions_of(template: str) -> list[str]:
    """The questions of a template that asks for several things: "What is the price and the weight
    of {}?", "{}'s phone number and address?", "When and where was {} born?"."""
    if not asks(template):
        return [template]
    rules = lexicon(template)
    ways = _WAYS.match(template)
    asking = rules.question_words - rules.auxiliaries
    if ways and fold(ways.group("and")) in rules.adding:
        put = [ways.group("first"), ways.group("last")]
        if all(fold(one) in asking for one in put):
            return [f"{one} {ways.group('rest')}" for one in put]
    tokens = [_Token(fold(one.group()), *one.span()) for one in _TOKEN.finditer(template)]
    slot = next((at for at, one in enumerate(tokens) if one.text == SLOT), None)
    if slot is None:
        return [template]
    found = _of_name(template, tokens, slot, rules) or _name_s(template, tokens, slot, rules)
    return found or [template]


def _of_name(template: str, tokens: list[_Token], slot: int, rules: Lexicon) -> list[str]:
    """The questions of "the price, the length and the weight of {}"; one only of "Who is the
    founder and CEO of {}?" and of "the head of research and sales of {}"."""
    at = slot - 1
    while at >= 0 and tokens[at].text in rules.articles | rules.determiners:
        at -= 1
    if at < 1 or tokens[at].text not in rules.complements:
        return []
    tail = template[tokens[at].start :]
    last = _noun_before(tokens, at, rules)
    at = _without_article(tokens, last[0], rules)
    if last[0] == last[1] or at < 1 or tokens[at - 1].text not in rules.adding:
        return []
    at -= 1
    nouns, begin = [last], at
    while True:
        if tokens[at - 1].text == ",":
            at -= 1
        noun = _noun_before(tokens, at, rules)
        if noun[0] == noun[1]:
            break
        nouns.insert(0, noun)
        begin = at = _without_article(tokens, noun[0], rules)
        if at < 1 or tokens[at - 1].text != ",":
            break
    head = template[: tokens[begin].start]
    read = [word.text for word in words(head)]
    one_person = bool(read) and read[0] in rules.who_words and read[-1] not in rules.plural_verbs
    article = template[tokens[begin].start : tokens[nouns[0][0]].start]
    told = len(read) < _HEAD and not rules.asking_verbs.isdisjoint(read[-2:])
    begins = bool(article) or not read or told or read[-1] in rules.auxiliaries
    if len(nouns) < 2 or one_person or not begins:
        return []
    return [f"{head}{article}{_said(template, tokens, noun)} {tail}" for noun in nouns]


def _name_s(template: str, tokens: list[_Token], slot: int, rules: Lexicon) -> list[str]:
    """The questions of "{}'s phone number, address and CEO?"."""
    at = slot + 1
    if at < len(tokens) and tokens[at].text in ("'", "\u2019"):
        at += 1
    if at == slot + 1 or tokens[at : at + 1] == [] or tokens[at].text != "s":
        return []
    begin = at = at + 1
    nouns = []
    joined = False
    while at < len(tokens):
        first = at
        while at < len(tokens) and _is_noun(tokens[at].text, rules) and at - first < _NOUN:
            at += 1
        if first == at:
            break
        nouns.append((first, at))
        if at < len(tokens) and tokens[at].text in rules.adding | {","}:
            joined = joined or tokens[at].text != ","
            at += 1
            while at < len(tokens) and tokens[at].text in rules.articles | rules.adding:
                joined = joined or tokens[at].text in rules.adding
                at += 1
    if not joined or len(nouns) < 2 or any(one.text not in "?.!" for one in tokens[at:]):
        return []
    head, tail = template[: tokens[begin].start], template[tokens[nouns[-1][1] - 1].end :]
    return [f"{head}{_said(template, tokens, noun)}{tail}" for noun in nouns]


def _said(template: str, tokens: list[_Token], noun: tuple[int, int]) -> str:
    return template[tokens[noun[0]].start : tokens[noun[1] - 1].end]


def _noun_before(tokens: list[_Token], end: int, rules: Lexicon) -> tuple[int, int]:
    """Where the noun, with its adjectives, begins that ends at a place; empty if there is none."""
    at = end
    while at > 0 and end - at < _NOUN and _is_noun(tokens[at - 1].text, rules):
        at -= 1
    # "Name the price": the first word is what is to be done.
    return at + (at == 0 and end > 0 and tokens[0].text in rules.asking_verbs), end


def _without_article(tokens: list[_Token], at: int, rules: Lexicon) -> int:
    return at - 1 if at > 0 and tokens[at - 1].text in rules.definite_articles else at


def _is_noun(said: str, rules: Lexicon) -> bool:
    return said[0].isalpha() and said not in rules.function_words | rules.participles
