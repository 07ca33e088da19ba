"""What changed since a base was made: facts that began and rows that ended, each at a step.

A view reads the overlay as of its own step, so one writer may go on adding while others read: a
fact that began later, or ended later, is for a view what it was. Nothing is ever taken out; what
must not stay in memory is left out of a new overlay (`without`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, TypeVar

from revisor.index.base import Base, IndexedFact, Terms
from revisor.index.build import templates_of
from revisor.index.keys import name_key
from revisor.index.near import both_tell
from revisor.language.spelling import (
    beginnings,
    corrected_words,
    deletions,
    name_words,
    plain_texts,
    spelling,
)

if TYPE_CHECKING:
    from revisor.facts.following import Row

_Key = TypeVar("_Key")
NEVER = 1 << 62


class Overlay:
    """Facts beside those of a base, numbered from 0.

    Attributes:
        names: by a name's key, the numbers of its facts.
        first_words: by word, the most words of a name that begins with it.
        plain: by a plain text, the numbers of the facts with a name of that text.
        begins: by a text, what `beginnings` tell of it.
        words: by a name's word without one letter, the words.
        born, died: by number, the step at which a fact began and ended.
        ended: by row of the base, the step at which it ended.
        alive: number of facts in base and overlay that hold at the last step.
        step: the last one.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._number_of: dict[int, int] = {}  # by key of the ledger
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.facts: list[IndexedFact] = []
        self.terms: list[Terms] = []
        self.names: dict[int, tuple[int, ...]] = {}
        self.first_words: dict[str, int] = {}
        self.plain: dict[str, tuple[int, ...]] = {}
        self.begins: dict[str, int] = {}
        self.words: dict[str, tuple[str, ...]] = {}
        self.born: list[int] = []
        self.died: list[int] = []
        self.ended: dict[int, int] = {}
        self.alive = base.count
        self.longest = base.longest
        self.step = 0

    def __len__(self) -> int:
        """How many entries it has, ended ones included."""
        return len(self.facts) + len(self.ended)

    def apply(self, begun: Iterable[Row], ended: Iterable[int]) -> None:
        """Take one more step, which views of earlier steps do not see; unknown `ended` keys are
        ignored."""
        step = self.step + 1
        for key in ended:
            self._end(key, step)
        for row in begun:
            self._begin(row, step)
        self.step = step

    def _end(self, key: int, step: int) -> None:
        number = self._number_of.pop(key, None)
        if number is not None:
            self.died[number] = step
        else:
            row = self._base.row_of(key)
            if row is None or row in self.ended:
                return
            self.ended[row] = step
        self.alive -= 1

    def _begin(self, row: Row, step: int) -> None:
        aliases = tuple(json.loads(row.aliases or "[]"))
        wordings = templates_of(row.prompt, json.loads(row.paraphrases or "[]"), row.subject)
        fact = IndexedFact(
            id=row.fact_id,
            subject=row.subject,
            object=row.object,
            templates=self._shared.setdefault(wordings, wordings),
            namespace=row.namespace,
            aliases=aliases,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            qualifier=row.qualifier,
        )
        terms = Terms.of(row.namespace, aliases, row.valid_from, row.valid_to, row.qualifier)
        self._add(row.key, fact, terms, step)

    def _add(self, key: int, fact: IndexedFact, terms: Terms, step: int) -> None:
        number = len(self.facts)
        # A reader finds a number by `names` only, so all else of it must be there before.
        self.facts.append(fact)
        self.terms.append(terms)
        self.died.append(NEVER)
        self.born.append(step)
        for name in dict.fromkeys((fact.subject, *fact.aliases)):
            self._add_name(name, number)
        self._number_of[key] = number
        self.alive += 1

    def _add_name(self, name: str, number: int) -> None:
        words = name_words(name)
        if not words:
            return
        longest = max(self.first_words.get(words[0], 0), len(words))
        self.first_words[words[0]] = longest
        self.longest = max(self.longest, longest)
        spelled = spelling(name)
        for text, tells in beginnings(spelled).items():
            self.begins[text] = both_tell(self.begins.get(text, 0), tells)
        for word in corrected_words(spelled):
            for left in deletions(word):
                known = self.words.get(left, ())
                if word not in known:
                    self.words[left] = (*known, word)
        for text in plain_texts(spelled):
            _append(self.plain, text, number)
        _append(self.names, name_key(words), number)

    def living(self) -> dict[int, IndexedFact]:
        """The facts that hold at the last step, by their keys in the ledger."""
        return {key: self.facts[number] for key, number in self._number_of.items()}

    def without(self, keys: Set[int]) -> Overlay:
        """Another overlay with what holds now and nothing of the rows with these ledger keys."""
        left = Overlay(self._base)
        gone = [row for row in map(self._base.row_of, keys) if row is not None]
        left.ended = dict.fromkeys([*self.ended, *gone], 1)
        left.alive -= len(left.ended)
        for key, number in self._number_of.items():
            if key not in keys:
                left._add(key, self.facts[number], self.terms[number], 1)
        left.step = 1
        return left


def _append(numbers: dict[_Key, tuple[int, ...]], key: _Key, number: int) -> None:
    known = numbers.get(key, ())
    if known[-1:] != (number,):
        numbers[key] = (*known, number)
