"""Whatever was put, removed, erased, published or reopened: a view is what the ledger says."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put, Remove
from revisor.index import FactIndex, View, bases, follow
from revisor.index.base import IndexedFact
from revisor.language.names import Names, mentions, name_words
from tests.gate.dictionary import Dictionary

NAMES = ("Acme", "ACME", "Acme Ltd", "Ltd", "acme-ltd", "Straße", "?", "東京", "Norvale Zürich AG")
TEXTS = (
    "Acme Ltd in Strasse or 東京, and the acme of Norvael Zürich",
    "ACME GmbH, norvalezurich, Norvale Zuerihc, Acme and Ltd",
)
FIELDS = ("id", "subject", "object", "namespace", "aliases", "valid_from", "valid_to", "qualifier")
BULK = 12
MOMENT = datetime(2025, 6, 1, tzinfo=UTC)

facts = st.builds(
    Fact,
    subject=st.sampled_from([name for name in NAMES if name != "?"]),  # it is refused
    prompt=st.sampled_from(("The CEO of {} is", "{} is in")),
    object=st.sampled_from(("Jane", "Ann", "Acme")),
    paraphrases=st.sampled_from(((), ("Who runs {}?",))),
    aliases=st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple),
    valid_to=st.sampled_from((None, "2025-01-01", "2026-01-01")),
    namespace=st.sampled_from(("default", "other")),
    id=st.sampled_from(("", "", "a", "b")),
)


def contents(view: View) -> dict[tuple[str, ...], set[tuple[object, ...]]]:
    """Every fact of a view that holds at its moment, by the words that find it."""
    found, now = defaultdict(set), view.now()
    for words in {name_words(name) for name in NAMES} | {("jane",), ("ann",)}:
        for handle in view.find(words):
            if not view.terms(handle).hold_at(now):
                continue
            fact = view.fact(handle)
            found[words].add((*(getattr(fact, name) for name in FIELDS), fact.templates))
            assert view.begins(words[0])
            assert view.reach(words[0]) >= len(words)
            assert view.longest >= len(words)
    return dict(found)


def mentioned(names: Names, facts: Callable[[int], Any]) -> list[list[tuple[object, ...]]]:
    """What some texts name, as it is written and otherwise."""
    return [
        [
            (one.start, one.end, one.within, sorted(map(str, map(facts, one.facts))))
            for one in mentions(text, names)
        ]
        for text in TEXTS
    ]


def agrees(view: View, ledger: Ledger, generation: int, namespaces: set[str] | None = None) -> bool:
    """Whether a view names what a dictionary of the ledger's facts names."""
    told = Dictionary(
        IndexedFact(
            **{name: getattr(one, name) for name in FIELDS},
            templates=(one.prompt, *one.paraphrases),
        )
        for one in ledger.facts(generation=generation, namespaces=namespaces)
    )
    return mentioned(view, view.fact) == mentioned(told, told.fact)


def expected(
    ledger: Ledger, generation: int, at: datetime, namespaces: set[str] | None = None
) -> dict[tuple[str, ...], set[tuple[object, ...]]]:
    found = defaultdict(set)
    for fact in ledger.facts(generation=generation, at=at, namespaces=namespaces):
        one = (*(getattr(fact, name) for name in FIELDS), (fact.prompt, *fact.paraphrases))
        for name in (fact.subject, *fact.aliases):
            if name_words(name):
                found[name_words(name)].add(one)
    return dict(found)


class Following(RuleBasedStateMachine):
    """A ledger in a file and an index of it, whose bases are filed and merged early."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="revisor-index-"))
        self.ledger = Ledger.open(self.folder / "ledger.sqlite", create=True)
        self.index = FactIndex.open(self.ledger, self.folder)

    def teardown(self) -> None:
        self.index.close()
        self.ledger.close()
        shutil.rmtree(self.folder)

    def generation(self, share: float) -> int:
        return round(share * self.ledger.generation)

    @rule(made=st.lists(facts, min_size=1, max_size=4, unique_by=lambda fact: fact.id))
    def put(self, made: list[Fact]) -> None:
        self.ledger.apply(list(map(Put, made)), actor="ann", reason="")

    @rule(made=st.lists(facts, min_size=8, max_size=20, unique_by=lambda fact: fact.id))
    def put_many(self, made: list[Fact]) -> None:
        self.ledger.apply(list(map(Put, made)), actor="ann", reason="")
        self.index.refresh()

    @precondition(lambda self: self.ledger.count())
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = sorted(self.ledger.live_ids(self.ledger.generation))
        self.ledger.apply([Remove(data.draw(st.sampled_from(ids)))], actor="bob", reason="")

    @precondition(lambda self: self.ledger.count())
    @rule(data=st.data(), erased=st.booleans())
    def purge(self, data: st.DataObject, erased: bool) -> None:
        ids = sorted(self.ledger.live_ids(self.ledger.generation))
        self.ledger.purge([data.draw(st.sampled_from(ids))], actor="bob")
        if erased:
            self.index.erase()

    @rule(share=st.floats(0, 1))
    def roll_back(self, share: float) -> None:
        self.ledger.rollback(self.generation(share), actor="bob")

    @rule(share=st.floats(0, 1))
    def publish(self, share: float) -> None:
        self.ledger.publish(self.generation(share), actor="bob")

    @rule(forgotten=st.booleans())
    def reopen(self, forgotten: bool) -> None:
        self.index.close()
        if forgotten:
            follow.forget(self.folder)
        self.index = FactIndex.open(self.ledger, self.folder)

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule(share=st.floats(0, 1))
    def look_at_another_generation(self, share: float) -> None:
        generation = self.generation(share)
        view = self.index.view(generation=generation, moment=MOMENT)
        assert contents(view) == expected(self.ledger, generation, MOMENT)
        assert agrees(view, self.ledger, generation)

    @invariant()
    def a_view_is_what_the_ledger_says(self) -> None:
        live, now = self.ledger.live_generation(), datetime.now(UTC)
        view = self.index.view()
        if view.generation != live:
            # So many changes at once are read beside.
            assert self.index._follower.distance(view.generation, live) > BULK
            assert self.index.refresh() == live
            view = self.index.view()
        assert len(view) == sum(1 for _ in self.ledger.facts(generation=live))
        assert contents(view) == expected(self.ledger, live, now)
        assert agrees(view, self.ledger, live)
        narrow = self.index.view(moment=MOMENT, namespaces=["other"])
        assert contents(narrow) == expected(self.ledger, live, MOMENT, {"other"})
        assert agrees(narrow, self.ledger, live, {"other"})
        others = self.ledger.facts(generation=live, namespaces={"other"})
        assert len(narrow) == sum(1 for _ in others)


def test_a_view_is_what_the_ledger_says() -> None:
    with (
        mock.patch.object(follow, "FILED", 3),
        mock.patch.object(bases, "FILED", 3),
        mock.patch.object(follow, "LARGE", 5),
        mock.patch.object(follow, "BULK", BULK),
    ):
        run_state_machine_as_test(
            Following, settings=settings(max_examples=10, stateful_step_count=12, deadline=None)
        )
