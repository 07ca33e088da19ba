"""Random lives of a store, held against a plain dictionary.

Whatever was done in whatever order: the live facts are those of the dictionary; after a build each
of them that has a row is the nearest row of its own prompt while it holds, and none that ended is
in force; counts, chain and hashes agree.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
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
from revisor.neuraldb.bank import files
from revisor.neuraldb.editing.build import row_facts
from revisor.neuraldb.gate.watch import Watch
from revisor.store import Store
from tests.life.stores import logits, new_store

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = ("ACME", "Basel", "Zora", "Cora")
OBJECTS = ("Vienna", "Rome", "Tokyo")
subjects = st.sampled_from(SUBJECTS)


class AnyLife(RuleBasedStateMachine):
    """A store, and what it should hold."""

    def __init__(self, start: Path, loaded: object) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="revisor-life-")) / "store"
        shutil.copytree(start, self.path)
        self.loaded = loaded
        self.now = EPOCH
        self.past: list[dict[str, Fact]] = [{}]
        self.built: dict[str, Fact] | None = None
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path, clock=lambda: self.now)
        self.store.__dict__["loaded"] = self.loaded

    def done(self, live: dict[str, Fact]) -> None:
        if live != self.past[-1]:
            self.past.append(live)

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
        if self.built is not None:
            self.built.pop(one, None)

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(days=2)

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.past) - 1))
        self.store.rollback(to)
        self.done(dict(self.past[to]))

    @rule()
    def build(self) -> None:
        report = self.store.build()
        assert report.generation == len(self.past) - 1
        failed = {entry["id"] for entry in report.failed}
        self.built = {k: f for k, f in self.past[-1].items() if k not in failed}
        self.every_fact_is_the_nearest_row_of_its_prompt()

    def every_fact_is_the_nearest_row_of_its_prompt(self) -> None:
        for fact in (self.built or {}).values():
            watch = Watch()
            with self.store.attached(watch=watch):
                logits(self.store.loaded.model, fact)
            fired = (
                {i for hit in watch.log[0] for i in row_facts(hit.row_id)} if watch.log else set()
            )
            assert (fact.id in fired) == fact.valid_at(self.now)

    @rule(keep=st.integers(1, 2))
    def collect(self, keep: int) -> None:
        self.store.collect(keep)

    @rule()
    def close_and_open(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def it_holds_what_it_should(self) -> None:
        live = self.past[-1]
        assert {fact.id: fact for fact in self.store.ledger.facts()} == live
        assert self.store.ledger.count() == len(live)
        assert self.store.ledger.generation == len(self.past) - 1
        if self.built is not None:
            bank = self.store.bank()
            assert {i for row in bank.ids for i in row_facts(row)} == self.built.keys()
            shown = {i for row in self.store.view().ids for i in row_facts(row)}
            assert shown == {k for k, f in self.built.items() if f.valid_at(self.now)}

    def teardown(self) -> None:
        assert self.store.verify() == []
        self.store.close()
        shutil.rmtree(self.path.parent)


@pytest.mark.parametrize("share", [0.0, 9.0], ids=["own files", "shared files"])
def test_any_life_of_a_store_is_as_a_dictionary_tells(
    tmp_path: Path, folder: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", share)
    with new_store(tmp_path / "start", folder) as start:
        loaded = start.loaded
    run_state_machine_as_test(
        lambda: AnyLife(tmp_path / "start", loaded),
        settings=settings(max_examples=8, stateful_step_count=12, deadline=None),
    )
