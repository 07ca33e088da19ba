"""Random histories of a store, held against a plain dictionary.

Whatever was done in whatever order: the facts of each generation are those of the dictionary; the
live ones that hold at the moment are found by their names and are what the model answers; the
index equals a fresh one; counts, chain and hashes agree.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from revisor.facts.fact import Fact
from revisor.index import FactIndex
from revisor.store import Store
from tests.stores import answers

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = ("ACME", "Basel", "Zora", "Cora")
OBJECTS = ("Vienna", "Rome", "Tokyo")
subjects = st.sampled_from(SUBJECTS)
Facts = dict[str, Fact]


def in_view(index: FactIndex, moment: datetime) -> dict[str, str]:
    """The objects that an index finds by name and that hold at a moment."""
    view = index.view(moment=moment)
    handles = [one for name in SUBJECTS for one in view.find([name.lower()])]
    facts = [view.fact(one) for one in handles if view.terms(one).hold_at(view.now())]
    return {fact.id: fact.object for fact in facts}


class AnyHistory(RuleBasedStateMachine):
    """A store, and what it should hold."""

    def __init__(self, start: Path, loaded: object) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="revisor-history-")) / "store"
        shutil.copytree(start, self.path)
        self.loaded = loaded
        self.now = EPOCH
        self.past: list[Facts] = [{}]
        self.pinned: int | None = None
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path, clock=lambda: self.now)
        self.store.__dict__["loaded"] = self.loaded

    def done(self, facts: Facts) -> None:
        if facts != self.past[-1]:
            self.past.append(facts)

    @rule(
        names=st.sets(subjects, min_size=1),
        obj=st.sampled_from(OBJECTS),
        days=st.none() | st.just(3),
    )
    def add(self, names: set[str], obj: str, days: int | None) -> None:
        end = (self.now + timedelta(days=days)).isoformat() if days else None
        facts = [
            Fact(subject=name, prompt="{} stands in", object=obj, valid_to=end)
            for name in sorted(names)
        ]
        self.store.add(facts, actor="ann")
        self.done(self.past[-1] | {fact.id: fact for fact in facts})

    @precondition(lambda self: self.past[-1])
    @rule(data=st.data(), obj=st.sampled_from(OBJECTS))
    def set(self, data: st.DataObject, obj: str) -> None:
        one = data.draw(st.sampled_from(sorted(self.past[-1])))
        self.store.set_object(one, obj)
        self.done(self.past[-1] | {one: replace(self.past[-1][one], object=obj)})

    @precondition(lambda self: self.past[-1])
    @rule(data=st.data(), purge=st.booleans())
    def remove(self, data: st.DataObject, purge: bool) -> None:
        one = data.draw(st.sampled_from(sorted(self.past[-1])))
        left = {key: fact for key, fact in self.past[-1].items() if key != one}
        if not purge:
            self.store.remove([one])
            self.done(left)
            return
        self.store.purge([one])
        self.past = [{k: f for k, f in then.items() if k != one} for then in self.past]
        self.past.append(left)

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(days=2)

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.past) - 1))
        self.store.rollback(to)
        self.done(dict(self.past[to]))
        self.pinned = None

    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.past) - 1))
        self.store.publish(number)
        self.pinned = None if number == len(self.past) - 1 else number

    @rule()
    def close_and_open(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def ask(self) -> None:
        prompts = [f"{name} stands in" for name in SUBJECTS]
        wanted = {fact.text: fact.object for fact in self.holding().values()}
        base = answers(self.store, prompts, facts=False)
        for prompt, plain, said in zip(prompts, base, answers(self.store, prompts), strict=True):
            if prompt in wanted:
                assert said.startswith(wanted[prompt])
            else:
                assert said == plain

    def live(self) -> Facts:
        return self.past[-1 if self.pinned is None else self.pinned]

    def holding(self) -> Facts:
        return {key: fact for key, fact in self.live().items() if fact.valid_at(self.now)}

    @invariant()
    def it_holds_what_it_should(self) -> None:
        newest, ledger = self.past[-1], self.store.ledger
        assert {fact.id: fact for fact in ledger.facts()} == newest
        assert ledger.count() == len(newest)
        assert ledger.generation == len(self.past) - 1
        assert ledger.pinned() == self.pinned
        wanted = {key: fact.object for key, fact in self.holding().items()}
        assert in_view(self.store.index, self.now) == wanted
        with FactIndex.open(ledger) as fresh:
            assert in_view(fresh, self.now) == wanted

    def teardown(self) -> None:
        assert self.store.verify() == []
        self.store.close()
        shutil.rmtree(self.path.parent)


def test_any_history_of_a_store_is_as_a_dictionary_tells(
    tmp_path: Path, model_folder: Path
) -> None:
    with Store.init(tmp_path / "start", model=str(model_folder), probe="off") as start:
        loaded = start.loaded
    run_state_machine_as_test(
        lambda: AnyHistory(tmp_path / "start", loaded),
        settings=settings(max_examples=6, stateful_step_count=12, deadline=None),
    )
