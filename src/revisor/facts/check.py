"""What is wrong or worth knowing about facts taken together: contradictions, repetitions, age.

A new object for a fact that the ledger holds (the same id) is an update, not a conflict. A
conflict is what cannot be both: two objects for one id among the new facts, or two objects under
two ids for one question about one subject. Facts are about one subject where a name of one (its
subject, a declared alias) is a name of the other, in normal form. They answer one question where
they declare one relation and qualifier, or where a prompt or paraphrase of one is that of the
other but for case, spaces, punctuation and articles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from revisor.facts.fact import PLACEHOLDER, Fact, normal_form, parse_time
from revisor.facts.rules import template

Kind = Literal[
    "same id", "same statement", "same relation", "other words", "alias", "said twice", "reversed"
]
NOTES: tuple[Kind, ...] = ("said twice", "reversed")
"""Kinds that are worth knowing and contradict nothing."""

_ARTICLES = {"the", "a", "an"}
COMPUTED = re.compile("[0-9a-f]{16}")
"""The form of an id that nobody chose."""

_NO_WORD = re.compile(r"[^\w{}]+")
_BETWEEN_INITIALS = re.compile(r"(?<=\b[^\W\d_]) (?=[^\W\d_]\b)")  # in "c e o"


class LiveFacts(Protocol):
    """What a check needs of a ledger."""

    def about(self, subjects: Iterable[str]) -> Iterator[Fact]:
        """The live facts about these subjects, compared in normal form."""
        ...

    def aliased(self) -> Iterator[Fact]:
        """The live facts that declare aliases of their subject."""
        ...

    def known(self, fact_ids: Iterable[str]) -> dict[str, Fact]:
        """Those of these ids that are live, with their facts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Two facts that cannot both hold, or that are worth looking at together.

    Attributes:
        kind: `same id`; or what is alike under two ids: the `same statement`, the `same
            relation`, the prompts in `other words`, the subject by an `alias`. Notes are `said
            twice` (one object, two ids) and `reversed` (A is B's what B is A's).
        fact: the later fact.
        other: what it is held against: an earlier fact, or a live one.
        in_ledger: whether `other` is a live fact of the ledger.
    """

    kind: Kind
    fact: Fact
    other: Fact
    in_ledger: bool

    @property
    def is_note(self) -> bool:
        """Whether both may hold."""
        return self.kind in NOTES

    def __str__(self) -> str:
        where = "in the ledger" if self.in_ledger else "in the same import"
        verb = "goes with" if self.is_note else "contradicts"
        return (
            f"{self.fact.text!r} -> {self.fact.object!r} (id {self.fact.id}{_source(self.fact)}) "
            f"{verb} {self.other.object!r} of {self.other.text!r} (id {self.other.id}"
            f"{_source(self.other)}) {where}: {self.kind}"
        )


def _source(fact: Fact) -> str:
    return f", source {fact.source}" if fact.source else ""


def conflicts_between(new: Iterable[Fact], ledger: LiveFacts | None = None) -> list[Finding]:
    """The contradictions among `new` facts, then those against the live facts of `ledger`.

    Objects are compared in normal form; a fact is told with the first one that it contradicts.
    Two statements whose times of validity do not meet do not contradict one another under two
    ids; under one id they do, since a fact has one value at a time. A live fact whose id is
    among `new` is about to change, and its reverse with it, so neither is held against the rest of
    `new`.
    """
    index = _Index()
    found: list[Finding] = []
    for fact in new:
        earlier = index.ids.get(fact.id)
        if earlier is None:
            found += index.contradicted_by(fact, in_ledger=False)
            index.add(fact)
        elif _differ(fact, earlier):
            found.append(Finding(kind="same id", fact=fact, other=earlier, in_ledger=False))
    if ledger is None:
        return found
    found += _taken(index.ids, ledger)
    told: set[str] = set()
    for live in _live_of(ledger, index.names):
        changing = live.id in index.ids or live.reverse_of in index.ids
        if not changing and live.id not in told:
            told.add(live.id)
            found += index.contradicting(live)
    return found


def findings(facts: Iterable[Fact]) -> list[Finding]:
    """Everything that facts with different ids say against one another, and the notes.

    A ledger has one live value for an id, so this is what `revisor check` tells of it.
    """
    index = _Index()
    found: list[Finding] = []
    for fact in facts:
        found += index.contradicted_by(fact, in_ledger=True)
        found += index.notes_on(fact)
        index.add(fact)
    return found


class _Index:
    """Facts by the questions they answer about the names of their subjects."""

    def __init__(self) -> None:
        self.ids: dict[str, Fact] = {}
        self.names: set[str] = set()
        # A fact may have a thousand keys, so a key is one number, and keys that the same facts
        # have share one list of them.
        self._numbers: dict[tuple[str, ...], int] = {}
        self._answering: dict[int, list[Fact]] = {}

    def add(self, fact: Fact) -> None:
        self.ids[fact.id] = fact
        self.names.update(_names(fact))
        alone = [fact]
        longer: dict[int, list[Fact]] = {}
        kept = []  # so that no id is given to another list meanwhile
        for key in self._keys(fact):
            others = self._answering.get(key)
            if others is None:
                self._answering[key] = alone
                continue
            if id(others) not in longer:
                longer[id(others)] = [*others, fact]
                kept.append(others)
            self._answering[key] = longer[id(others)]

    def contradicted_by(self, fact: Fact, *, in_ledger: bool) -> Iterator[Finding]:
        """The first fact that says something else where `fact` answers, if any does."""
        for other in self._alike(fact):
            if _differ(fact, other):
                yield Finding(
                    kind=_likeness(fact, other), fact=fact, other=other, in_ledger=in_ledger
                )
                return

    def contradicting(self, live: Fact) -> Iterator[Finding]:
        """Every fact here that says something else than a live one."""
        for fact in self._alike(live):
            if _differ(fact, live):
                yield Finding(kind=_likeness(fact, live), fact=fact, other=live, in_ledger=True)

    def notes_on(self, fact: Fact) -> Iterator[Finding]:
        """Facts that say the same under another id, and those that say it the other way round."""
        for other in self._alike(fact):
            if not _differ(fact, other):
                yield Finding(kind="said twice", fact=fact, other=other, in_ledger=True)
                break
        turned = self._keys(fact, names=(normal_form(fact.object),))
        for other in self._others(turned, fact):
            declared = fact.reverse_of == other.id or other.reverse_of == fact.id
            turned_round = normal_form(other.object) in _names(fact) and _meet(fact, other)
            if turned_round and not declared:
                yield Finding(kind="reversed", fact=fact, other=other, in_ledger=True)
                break

    def _alike(self, fact: Fact) -> Iterator[Fact]:
        """The facts here that answer a question which `fact` answers, at the same time."""
        return (one for one in self._others(self._keys(fact), fact) if _meet(fact, one))

    def _others(self, keys: Iterable[int], fact: Fact) -> Iterator[Fact]:
        seen, read = {fact.id}, set[int]()
        for key in filter(self._answering.__contains__, keys):
            others = self._answering[key]
            if id(others) in read:
                continue
            read.add(id(others))
            for other in others:
                if other.id not in seen:
                    seen.add(other.id)
                    yield other

    def _keys(self, fact: Fact, names: Iterable[str] | None = None) -> list[int]:
        """A key for each question about each name; equal where two facts answer the same."""
        numbers = self._numbers
        questions = [numbers.setdefault(one, len(numbers)) for one in _questions(fact)]
        names = _names(fact) if names is None else names
        highs = [numbers.setdefault(("name", name), len(numbers)) << 32 for name in names]
        return [high | question for high in highs for question in questions]


def _taken(new: Mapping[str, Fact], ledger: LiveFacts) -> Iterator[Finding]:
    """Facts to which somebody gave the id of a live one about another name and another question."""
    chosen = [one for one in new if not COMPUTED.fullmatch(one)]
    for fact_id, live in ledger.known(chosen).items() if chosen else ():
        fact = new[fact_id]
        same_name = not set(_names(fact)).isdisjoint(_names(live))
        if not same_name and set(_questions(fact)).isdisjoint(_questions(live)):
            yield Finding(kind="same id", fact=fact, other=live, in_ledger=True)


def _live_of(ledger: LiveFacts, names: set[str]) -> Iterator[Fact]:
    """The live facts that have one of the names as subject, or as an alias."""
    yield from ledger.about(names)
    for fact in ledger.aliased():
        if any(normal_form(alias) in names for alias in fact.aliases):
            yield fact


def _names(fact: Fact) -> tuple[str, ...]:
    if not fact.aliases:
        return (normal_form(fact.subject),)
    return tuple(dict.fromkeys(map(normal_form, (fact.subject, *fact.aliases))))


def _questions(fact: Fact) -> Iterable[tuple[str, ...]]:
    """What the fact answers about its subject, equal where two facts answer the same."""
    prompts = [fact.prompt, *(template(text, fact.subject) for text in fact.paraphrases)]
    found: list[tuple[str, ...]]
    found = [(fact.namespace, "words", wording(one)) for one in prompts if one is not None]
    if fact.relation:
        found.append((fact.namespace, "relation", normal_form(fact.relation), fact.qualifier))
    return dict.fromkeys(found)


def wording(prompt: str) -> str:
    """A prompt without what does not change its meaning: case, punctuation, articles, spaces."""
    words = _BETWEEN_INITIALS.sub("", _NO_WORD.sub(" ", normal_form(prompt))).split()
    return " ".join(word for word in words if word not in _ARTICLES) or PLACEHOLDER


def _likeness(fact: Fact, other: Fact) -> Kind:
    """In what two facts with different objects are alike."""
    if normal_form(fact.subject) != normal_form(other.subject):
        return "alias"
    if normal_form(fact.prompt) == normal_form(other.prompt):
        return "same statement"
    if (
        fact.relation
        and other.relation
        and (normal_form(fact.relation) == normal_form(other.relation))
    ):
        return "same relation"
    return "other words"


def same_subject(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """The facts by the normal form of their subject, both in the order given."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(normal_form(fact.subject), []).append(fact)
    return groups


def expired(facts: Iterable[Fact], now: datetime) -> list[Fact]:
    """The facts that no longer hold at `now` (an aware datetime)."""
    return [fact for fact in facts if fact.valid_to and parse_time(fact.valid_to) <= now]


def _differ(one: Fact, other: Fact) -> bool:
    return normal_form(one.object) != normal_form(other.object)


def _meet(one: Fact, other: Fact) -> bool:
    """Whether there is a moment at which both hold."""
    return _starts_before_end(one, other) and _starts_before_end(other, one)


def _starts_before_end(one: Fact, other: Fact) -> bool:
    if not one.valid_from or not other.valid_to:
        return True
    return parse_time(one.valid_from) < parse_time(other.valid_to)
