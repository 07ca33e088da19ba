"""The index follows its ledger: commits, other processes, moments, namespaces, erasure, damage."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import NotFound, StoreDamaged, UsageError
from revisor.facts.fact import Fact
from revisor.facts.ledger import Generation, Ledger, Put, Remove
from revisor.index import FactIndex, View, bases, follow, forget
from revisor.index.basefile import NAME
from revisor.language.names import name_words


def fact(number: int, object_: str = "one", **fields: Any) -> Fact:
    given = {"subject": f"Firm {number}", "prompt": "The CEO of {} is", "object": object_}
    return Fact(**given | fields)


def put(ledger: Ledger, *facts: Fact) -> Generation:
    return ledger.apply(list(map(Put, facts)), actor="ann", reason="because")


def remove(ledger: Ledger, *facts: Fact) -> Generation:
    return ledger.apply([Remove(one.id) for one in facts], actor="bob", reason="wrong")


def objects(view: View, name: str) -> set[str]:
    """Of the facts of a name that hold at the view's moment."""
    now = view.now()
    found = [one for one in view.find(name_words(name)) if view.terms(one).hold_at(now)]
    return {view.fact(one).object for one in found}


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    """An empty ledger, on SQLite and on PostgreSQL."""
    with Ledger.open(place, create=True) as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger in a file."""
    with Ledger.open(tmp_path / "ledger.sqlite", create=True) as opened:
        yield opened


@pytest.fixture
def filed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base of one fact is worth a file, and an overlay of three is merged."""
    for module in (follow, bases):
        monkeypatch.setattr(module, "FILED", 1)
    monkeypatch.setattr(follow, "LARGE", 3)


class TestViews:
    def test_an_empty_ledger_has_an_empty_view(self, ledger: Ledger) -> None:
        with FactIndex.open(ledger) as index:
            view = index.view()
            assert (len(view), view.longest, view.generation) == (0, 0, 0)
            assert view.find(("firm", "1")) == ()
            assert not view.begins("firm")

    def test_a_commit_is_in_the_next_view_and_not_in_the_last(self, ledger: Ledger) -> None:
        with FactIndex.open(ledger) as index:
            before = index.view()
            put(ledger, fact(1))
            after = index.view()
            assert (objects(before, "firm 1"), objects(after, "FIRM 1")) == (set(), {"one"})
            put(ledger, fact(1, "two"), fact(2))
            remove(ledger, fact(2))
            assert (objects(after, "firm 1"), objects(index.view(), "firm 1")) == ({"one"}, {"two"})
            assert objects(index.view(), "firm 2") == set()
            assert [view.generation for view in (before, after, index.view())] == [0, 1, 3]
            assert [len(view) for view in (before, after, index.view())] == [0, 1, 1]

    def test_a_commit_through_another_ledger_object_is_there_at_once(
        self, ledger: Ledger, place: str
    ) -> None:
        with FactIndex.open(ledger) as index, Ledger.open(place) as other:
            put(other, fact(1))
            assert objects(index.view(), "firm 1") == {"one"}

    def test_names_are_the_subject_and_every_alias_in_any_spelling(self, local: Ledger) -> None:
        put(local, fact(1, subject="Straße 9", aliases=("S9", "The “Ninth”")))
        with FactIndex.open(local) as index:
            for name in ("STRASSE  9", "s9", "the ninth"):
                assert objects(index.view(), name) == {"one"}
                assert index.view().begins(name_words(name)[0])
            (handle,) = index.view().find(("s9",))
            assert index.view().spellings(handle) == ("Straße 9", "S9", "The “Ninth”")

    def test_reach_is_the_length_of_the_longest_name_that_begins_so(self, local: Ledger) -> None:
        put(local, fact(1, subject="New York City"), fact(2, subject="a " * 300 + "b"))
        with FactIndex.open(local) as index:
            put(local, fact(3, subject="Old York"))
            view = index.view()
            assert [view.reach(word) for word in ("new", "old", "a")] == [3, 2, 301]

    def test_reverses_are_found_by_the_object(self, local: Ledger) -> None:
        put(local, fact(1, "Jane Roe", reverse="{} is the CEO of"))
        with FactIndex.open(local) as index:
            assert objects(index.view(), "Jane Roe") == {"Firm 1"}

    def test_every_generation_can_be_seen_older_ones_and_newer_ones(self, ledger: Ledger) -> None:
        put(ledger, fact(1), fact(2))
        put(ledger, fact(1, "two"))
        with FactIndex.open(ledger) as index:
            remove(ledger, fact(1))
            seen = {g: objects(index.view(generation=g), "firm 1") for g in (0, 1, 2, 3)}
            assert seen == {0: set(), 1: {"one"}, 2: {"two"}, 3: set()}
            assert [len(index.view(generation=g)) for g in range(4)] == [0, 2, 2, 1]
            with pytest.raises(NotFound, match="no generation 4"):
                index.view(generation=4)

    def test_a_published_generation_is_the_live_one(self, ledger: Ledger) -> None:
        put(ledger, fact(1))
        put(ledger, fact(1, "two"))
        with FactIndex.open(ledger) as index:
            ledger.publish(1, actor="ann")
            assert (index.view().generation, objects(index.view(), "firm 1")) == (1, {"one"})
            put(ledger, fact(1, "three"))
            assert objects(index.view(), "firm 1") == {"one"}
            ledger.publish(3, actor="ann")
            assert objects(index.view(), "firm 1") == {"three"}

    def test_a_rollback_is_followed(self, ledger: Ledger) -> None:
        put(ledger, fact(1))
        put(ledger, fact(1, "two"), fact(2))
        with FactIndex.open(ledger) as index:
            ledger.rollback(1, actor="ann")
            assert (objects(index.view(), "firm 1"), len(index.view())) == ({"one"}, 1)

    def test_namespaces_narrow_what_is_found(self, local: Ledger) -> None:
        put(local, fact(1), fact(1, "two", namespace="a"))
        with FactIndex.open(local) as index:
            put(local, fact(1, "three", namespace="b"), fact(2, namespace="a"))
            remove(local, fact(2, namespace="a"))

            def seen(namespaces: Collection[str] | None) -> tuple[set[str], int]:
                view = index.view(namespaces=namespaces)
                return objects(view, "firm 1"), len(view)

            assert seen(None) == ({"one", "two", "three"}, 3)
            assert seen(["a", "b"]) == ({"two", "three"}, 2)
            assert seen({"default"}) == ({"one"}, 1)
            assert seen([]) == (set(), 0)


class TestMoments:
    PAST = fact(1, "past", valid_to="2025-01-01", qualifier="1")
    LATER = fact(1, "later", valid_from="2025-01-01", valid_to="2999-01-01T12:00", qualifier="2")

    def test_a_view_shows_what_holds_at_its_moment(self, local: Ledger) -> None:
        put(local, self.PAST)
        with FactIndex.open(local) as index:
            put(local, self.LATER)

            def at(*moment: int) -> set[str]:
                view = index.view(moment=datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type]
                return objects(view, "firm 1")

            assert at(2024, 12, 31, 23, 59) == {"past"}
            assert at(2025, 1, 1) == at(2999, 1, 1, 11) == {"later"}
            assert at(2999, 1, 1, 12) == set()
            assert objects(index.view(), "firm 1") == {"later"}

    def test_a_view_changes_its_answer_when_a_boundary_passes(self, local: Ledger) -> None:
        soon = datetime.fromtimestamp(time.time() + 0.3, UTC).isoformat()
        put(local, fact(1, "now", valid_to=soon), fact(1, "soon", valid_from=soon, qualifier="2"))
        with FactIndex.open(local) as index:
            view = index.view()
            assert objects(view, "firm 1") == {"now"}
            time.sleep(0.35)
            assert objects(view, "firm 1") == {"soon"}

    def test_a_name_has_its_facts_whenever_they_hold(self, local: Ledger) -> None:
        put(local, self.PAST)
        with FactIndex.open(local) as index:
            put(local, self.LATER)
            moment = datetime(2025, 6, 1, tzinfo=UTC)
            for view in (
                index.view(),
                index.view(moment=moment),
                index.view(namespaces=["default"]),
            ):
                found = {view.fact(one).object: view.terms(one) for one in view.find(("firm", "1"))}
                assert set(found) == {"past", "later"}
                assert found["past"].start is None
                assert found["past"].end == datetime(2025, 1, 1, tzinfo=UTC)
                assert found["later"].hold_at(moment)
            assert index.view(moment=moment).now() == moment
            assert abs((index.view().now() - datetime.now(UTC)).total_seconds()) < 60

    def test_a_moment_without_a_zone_is_refused(self, local: Ledger) -> None:
        with FactIndex.open(local) as index, pytest.raises(UsageError, match="time zone"):
            index.view(moment=datetime(2025, 1, 1))


class TestFiles:
    def test_a_file_is_written_once_and_opened_again(
        self, ledger: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(ledger, *map(fact, range(20)))
        folder = tmp_path / "index"
        with FactIndex.open(ledger, folder):
            first = (folder / NAME).stat()
        put(ledger, fact(1, "two"))
        with FactIndex.open(ledger, folder) as index:
            assert (folder / NAME).stat().st_ino == first.st_ino
            assert objects(index.view(), "firm 1") == {"two"}

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
    def test_a_damaged_file_is_made_anew(
        self, local: Ledger, tmp_path: Path, filed: None, damage: str
    ) -> None:
        put(local, *map(fact, range(20)))
        FactIndex.open(local, tmp_path).close()
        file = tmp_path / NAME
        data = bytearray(file.read_bytes())
        whole = bytes(data)
        if damage == "flipped":
            data[data.rindex(b"Firm 7")] ^= 4
        damaged = {"cut": data[:-64], "empty": b"", "text": b"hello"}.get(damage, data)
        file.write_bytes(damaged)
        with FactIndex.open(local, tmp_path) as index:
            assert objects(index.view(), "firm 7") == {"one"}
        assert file.read_bytes() == whole

    def test_the_file_of_another_ledger_is_not_used(self, tmp_path: Path, filed: None) -> None:
        for name in ("a", "b"):
            with Ledger.open(tmp_path / f"{name}.sqlite", create=True) as ledger:
                put(ledger, fact(1, f"of {name}"))
                with FactIndex.open(ledger, tmp_path) as index:
                    assert objects(index.view(), "firm 1") == {f"of {name}"}

    def test_a_file_folded_by_other_rules_is_not_used(
        self, local: Ledger, tmp_path: Path, filed: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(local, fact(1))
        FactIndex.open(local, tmp_path).close()
        before = (tmp_path / NAME).read_bytes()
        monkeypatch.setattr(bases, "folding", lambda: "other")
        FactIndex.open(local, tmp_path).close()
        assert (tmp_path / NAME).stat().st_size == len(before)
        assert follow.Base(before).head["folding"] != "other"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_may_only_be_read_is_read(
        self, local: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(local, fact(1))
        folder = tmp_path / "index"
        folder.mkdir(mode=0o555)
        with FactIndex.open(local, folder) as index:
            assert objects(index.view(), "firm 1") == {"one"}

    def test_a_snapshot_is_a_view_without_a_ledger(self, local: Ledger) -> None:
        put(local, fact(1), fact(2))
        put(local, fact(1, "two"))
        with FactIndex.open(local) as index:
            now, before = View.of(index.snapshot()), View.of(index.snapshot(generation=1))
        assert (objects(now, "firm 1"), objects(before, "firm 1")) == ({"two"}, {"one"})
        with pytest.raises(StoreDamaged, match="Export it again"):
            View.of(b"hello")
        assert [(view.generation, len(view)) for view in (before, now)] == [(1, 2), (2, 2)]

    def test_a_folder_that_cannot_be_one_is_done_without(
        self, local: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(local, fact(1))
        (tmp_path / "file").touch()
        with FactIndex.open(local, tmp_path / "file") as index:
            assert objects(index.view(), "firm 1") == {"one"}

    def test_a_large_overlay_is_merged_beside_its_readers(
        self, local: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(local, fact(0))
        with FactIndex.open(local, tmp_path) as index:
            old = index.view()
            for number in range(1, 6):
                put(local, fact(number))
                assert objects(index.view(), f"firm {number}") == {"one"}
            builder = index._builder
            assert builder is not None
            builder.join()
            assert follow.Base(follow.contents(tmp_path)).count > 1
            assert (len(old), len(index.view())) == (1, 6)
            assert {len(objects(index.view(), f"firm {number}")) for number in range(6)} == {1}

    def test_more_than_is_read_at_once_is_there_after_a_refresh(
        self, local: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "BULK", 5)
        with FactIndex.open(local) as index:
            put(local, *map(fact, range(20)))
            assert index.refresh() == 1
            assert len(index.view()) == 20
            put(local, *(fact(number, "two") for number in range(20)))
            assert len(index.view(generation=1)) == 20
            assert objects(index.view(generation=1), "firm 3") == {"one"}


class TestErasure:
    SECRET = fact(3, "hush", subject="Xyzzy Plugh", aliases=("Frobozz",))

    def test_no_byte_of_a_purged_fact_is_left_in_the_index(
        self, ledger: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(ledger, *map(fact, range(2)), self.SECRET)
        with FactIndex.open(ledger, tmp_path / "index") as index:
            old = index.view(generation=1)
            assert objects(old, "frobozz") == {"hush"}
            assert b"Xyzzy" in (tmp_path / "index" / NAME).read_bytes()
            ledger.purge([self.SECRET.id], actor="ann")
            index.erase()
            for view in (index.view(), index.view(generation=1), index.view(generation=2)):
                assert (objects(view, "frobozz"), len(view)) == (set(), 2)
        written = b"".join(path.read_bytes() for path in (tmp_path / "index").iterdir())
        number = int(self.SECRET.id, 16).to_bytes(8, sys.byteorder)
        assert not any(word in written for word in (b"Xyzzy", b"Frobozz", b"hush", number))

    def test_a_fact_that_is_only_in_the_overlay_goes_too(self, ledger: Ledger) -> None:
        with FactIndex.open(ledger) as index:
            put(ledger, fact(1), self.SECRET)
            put(ledger, replace(self.SECRET, object="other"))
            assert objects(index.view(), "frobozz") == {"other"}
            ledger.purge([self.SECRET.id], actor="ann")
            assert objects(index.view(), "frobozz") == set()
            assert "Plugh" not in repr(index._overlay.facts)
            assert len(index.view()) == 1

    def test_a_purge_while_nobody_looked_is_found_at_opening(
        self, ledger: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(ledger, fact(1), self.SECRET)
        remove(ledger, self.SECRET)
        FactIndex.open(ledger, tmp_path).close()
        put(ledger, self.SECRET)
        FactIndex.open(ledger, tmp_path).close()
        ledger.purge([self.SECRET.id], actor="ann")
        with FactIndex.open(ledger, tmp_path) as index:
            assert len(index.view()) == 1
        assert b"Xyzzy" not in (tmp_path / NAME).read_bytes()

    def test_a_forgotten_file_is_made_anew(
        self, local: Ledger, tmp_path: Path, filed: None
    ) -> None:
        put(local, fact(1))
        FactIndex.open(local, tmp_path).close()
        forget(tmp_path)
        with FactIndex.open(local, tmp_path) as index:
            assert objects(index.view(), "firm 1") == {"one"}

    def test_a_purged_name_is_not_found_while_the_base_still_has_it(
        self, local: Ledger, tmp_path: Path, filed: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FactIndex, "_start_beside", lambda index, work: None)
        put(local, fact(1), self.SECRET)
        with FactIndex.open(local, tmp_path) as index:
            local.purge([self.SECRET.id], actor="ann")
            for view in (index.view(), index.view(generation=1)):
                assert (objects(view, "xyzzy plugh"), len(view)) == (set(), 1)


def _commit_elsewhere(place: str, object_: str) -> None:
    with Ledger.open(place) as ledger:
        put(ledger, fact(1, object_))


@contextmanager
def elsewhere() -> Iterator[Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


def test_what_another_process_commits_is_live_within_a_second(ledger: Ledger, place: str) -> None:
    with FactIndex.open(ledger) as index, elsewhere() as pool:
        pool.apply(_commit_elsewhere, (place, "one"))
        time.sleep(2 * follow.LOOK_S)
        assert objects(index.view(), "firm 1") == {"one"}
        pool.apply(_commit_elsewhere, (place, "two"))
        assert index.refresh() == 2
        assert objects(index.view(), "firm 1") == {"two"}


def test_a_look_costs_nothing_while_nobody_commits(local: Ledger) -> None:
    put(local, fact(1))
    with FactIndex.open(local) as index:
        view = index.view()
        time.sleep(1.5 * follow.LOOK_S)
        assert index.view() is view


def test_readers_see_whole_generations_while_others_write(local: Ledger, filed: None) -> None:
    # In every generation all facts have the same object.
    put(local, *(fact(number, "0") for number in range(4)))
    faults: list[set[str]] = []
    done = threading.Event()

    with FactIndex.open(local) as index:

        def read() -> None:
            while not done.is_set():
                view = index.view()
                seen = {one for number in range(4) for one in objects(view, f"firm {number}")}
                if len(seen) != 1 or len(view) != 4:
                    faults.append(seen)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for turn in range(1, 13):
            put(local, *(fact(number, str(turn)) for number in range(4)))
            assert objects(index.view(), "firm 2") == {str(turn)}
        done.set()
        for reader in readers:
            reader.join()
    assert faults == []


def test_an_own_commit_is_in_every_view_while_another_thread_reads_it(
    local: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local, fact(1))
    with FactIndex.open(local) as index:
        reading, news = threading.Event(), index._follower.news

        def slow(*args: Any, **named: Any) -> Any:
            reading.set()
            time.sleep(0.3)
            return news(*args, **named)

        monkeypatch.setattr(index._follower, "news", slow)
        put(local, fact(1, "two"))
        first = threading.Thread(target=index.view)
        first.start()
        assert reading.wait(10)
        assert objects(index.view(), "Firm 1") == {"two"}
        first.join()


def test_a_restored_ledger_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "a.sqlite", create=True) as ledger:
        put(ledger, fact(1))
        with FactIndex.open(ledger) as index:
            with ledger._connection(writes=True) as connection:
                for table in ("audit", "revisions", "generations", "meta"):
                    connection.exec_driver_sql(
                        f"DELETE FROM {table}" + (" WHERE key = 'head'" * (table == "meta"))
                    )
            put(ledger, fact(1, "two"), fact(2))
            assert (objects(index.view(), "firm 1"), len(index.view())) == ({"two"}, 2)
