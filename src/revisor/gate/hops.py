"""Names that a fact describes: of "the CEO of ACME" there are facts where the CEO is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from revisor.gate.scope import THRESHOLDS, scope_of
from revisor.gate.when import Asked
from revisor.index.base import IndexedFact
from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention, Names, name_words
from revisor.language.words import Word, words
from revisor.question.encoder import QuestionEncoder
from revisor.question.predicates import beside
from revisor.question.reading import SLOT, Question

HOPS = 2  # facts, one after another, by which a name is described
REACH = 64  # facts of a name that is described; of more nothing is asked so
MOST = 512  # facts that are reached so from the names of a text
SURE = THRESHOLDS["high"]  # that a description is that of a fact
_NOUNS = 4  # words of a description beside the name
_MARKS = ("'s ", "\u2019s ", "' ", "\u2019 ")


class Known(Names, Protocol):
    """What names are looked up in, with the facts found."""

    def fact(self, handle: int) -> IndexedFact:
        """The fact of a handle."""
        ...


@dataclass(frozen=True, slots=True)
class Described:
    """A question with a phrase ("the CEO of {}") that describes a name: `rest` has `{}` in place of
    the phrase ("Where was {} born?")."""

    phrase: str
    rest: str


def described(question: str) -> Iterator[Described]:
    """The phrases that describe a name by another, the shortest first: "the CEO of {}", "{}'s
    CEO"."""
    before, slot, behind = question.partition(SLOT)
    rules = lexicon(question)
    if not slot:
        return
    for way in (_ahead, _behind, _clause):
        for one in way(before, behind, rules):
            if _asks_more(one.rest):
                yield one


def _ahead(before: str, behind: str, rules: Lexicon) -> Iterator[Described]:
    """A noun of the name: "the CEO of {}"."""
    read = words(before)
    while read and read[-1].text in rules.articles:
        read.pop()
    if len(read) < 2 or read[-1].text not in rules.genitives:
        return
    nouns = _own_words(list(reversed(read[:-1])), rules)
    if not nouns:
        return
    first = read.index(nouns[-1])
    if first and read[first - 1].text in rules.articles:
        first -= 1
    begin = read[first].start
    yield Described(f"{before[begin:]}{SLOT}", f"{before[:begin]}{SLOT}{behind}")


def _behind(before: str, behind: str, rules: Lexicon) -> Iterator[Described]:
    """A noun that the name has: "{}'s CEO"."""
    mark = next((one for one in _MARKS if behind.startswith(one)), None)
    nouns = _own_words(words(behind, len(mark)), rules) if mark else []
    for last in nouns:
        phrase = f"{SLOT}{behind[: last.end]}"
        yield Described(phrase, f"{before}{SLOT}{behind[last.end :]}")


def _clause(before: str, behind: str, rules: Lexicon) -> Iterator[Described]:
    """A clause with the name behind a noun: "the person who leads {}", "the city where {} is
    based"."""
    read = words(before)
    asking = rules.question_words - rules.auxiliaries
    at = next((at for at in reversed(range(2, len(read))) if read[at].text in asking), None)
    if at is None or read[at - 2].text not in rules.articles:
        return
    begin, end = read[at - 2].start, len(behind)
    if at + 1 < len(read):  # the clause has its verb ahead of the name
        end = 0
    said = behind[:end].rstrip("?\uff1f. ")
    last = words(said)[-1:] if len(words(said)) > 1 else []
    if last and last[0].text in rules.auxiliaries:  # "the city where {} lies is"
        said = said[: last[0].start].rstrip()
    rest = behind[len(said) :]
    yield Described(f"{before[begin:]}{SLOT}{said}", f"{before[:begin]}{SLOT}{rest}")


def _own_words(read: list[Word], rules: Lexicon) -> list[Word]:
    """The first words, up to a function word."""
    grammar = rules.function_words | rules.question_words | rules.auxiliaries
    count = next((at for at, word in enumerate(read) if word.text in grammar), len(read))
    return read[: min(count, _NOUNS)]


def _asks_more(rest: str) -> bool:
    """Whether a question asks something of a name beside who or what it is."""
    rules = lexicon(rest)
    grammar = rules.function_words | rules.question_words | rules.auxiliaries
    return any(word.text not in grammar for word in rules.terms(rest))


def through_facts(
    asked: Asked, facts: Known, encoder: QuestionEncoder
) -> Iterator[tuple[int, Question]]:
    """What a question asks about a subject that a fact describes, and the fact's handle."""
    question = asked.question
    for one in described(question.text):
        handle = _fact_of(one.phrase, asked, facts, encoder)
        reached = () if handle is None else named(facts.fact(handle).object, facts)
        if handle is not None and reached:
            mention = Mention(question.mention.start, question.mention.end, reached)
            yield handle, replace(question, text=one.rest, mention=mention, restates=())
            return


def _fact_of(phrase: str, asked: Asked, facts: Known, encoder: QuestionEncoder) -> int | None:
    """The fact about a question's name that a phrase of it surely asks for."""
    best, surest = None, SURE
    for handle in asked.question.mention.facts[:REACH]:
        if asked.silent[handle] is not None:
            continue
        for template in facts.fact(handle).templates:
            if beside(phrase, template, unfinished=False) is None:
                score = scope_of(phrase, template, encoder)
                if score >= surest:
                    best, surest = handle, score
    return best


def named(obj: str, facts: Known) -> tuple[int, ...]:
    """The facts about an object, where that is a name."""
    found = facts.find(name_words(obj))
    return tuple(sorted(found)) if len(found) <= REACH else ()


def reached(handles: Iterable[int], reach: Callable[[int], Iterable[int]]) -> set[int]:
    """Some facts, and up to `MOST` that are reached from them in `HOPS` steps of `reach` (a fact's
    handle to the facts about its object)."""
    found = set(handles)
    edge = sorted(found)
    most = len(found) + MOST
    for _ in range(HOPS):
        new: dict[int, None] = {}
        for handle in edge:
            new |= dict.fromkeys(one for one in reach(handle) if one not in found)
        edge = list(new)[: most - len(found)]
        found.update(edge)
    return found
