"""The ledger: transactions, generations, history, and reading at any of them."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from revisor.errors import BadInput, Conflict, NotFound, StoreDamaged, UsageError
from revisor.facts import database, migrations
from revisor.facts.fact import Fact
from revisor.facts.ledger import Change, Generation, Ledger, Put, Remove
from tests.databases import Databases


def fact(number: int, object_: str = "one", **fields: str) -> Fact:
    given = {"subject": f"Firm {number}", "prompt": "The CEO of {} is", "object": object_}
    return Fact(**given | fields)  # type: ignore[arg-type]


def put(ledger: Ledger, *facts: Fact) -> Generation:
    return ledger.apply(map(Put, facts), actor="ann", reason="because")


def remove(ledger: Ledger, *ids: str) -> Generation:
    return ledger.apply(map(Remove, ids), actor="bob", reason="wrong")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store" / "ledger.sqlite"


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with Ledger.open(place, create=True) as opened:
        yield opened


A, B, C = fact(1), fact(2), fact(3)


class TestWriting:
    def test_an_empty_ledger_is_generation_zero(self, ledger: Ledger) -> None:
        assert (ledger.generation, ledger.count(), list(ledger.facts())) == (0, 0, [])

    def test_a_batch_of_changes_is_one_generation_with_its_counts(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        changes: list[Change] = [Put(A), Put(fact(2, "two")), Put(C), Remove(A.id)]
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        made = ledger.apply(changes, actor="ann", reason="news", now=moment)
        assert made == Generation(
            number=2,
            parent=1,
            at="2026-01-02T03:04:05.000+00:00",
            actor="ann",
            reason="news",
            added=1,
            updated=1,
            removed=1,
            unchanged=1,
            live=2,
        )
        assert ledger.log() == [made, *ledger.log()[1:]]
        assert [generation.number for generation in ledger.log()] == [2, 1]
        assert ledger.log(limit=1) == [made]

    def test_every_field_comes_back_as_it_was_put(self, ledger: Ledger) -> None:
        full = Fact(
            subject="Ünïcode «ACME»",
            prompt='The "CEO" of {}\nis',
            object="'; DROP TABLE facts; --",
            relation="P169",
            paraphrases=("{} is led by", "[] {}"),
            aliases=("Acmé", "|"),
            object_before="John",
            source="https://example.org",
            valid_from="2024-01-01",
            valid_to="2025-01-01T00:00+02:00",
            namespace="firms",
            qualifier="chief",
            id="acme-ceo",
        )
        put(ledger, full, A)
        assert list(ledger.facts()) == [full, A]
        assert ledger.get("acme-ceo") == full

    def test_putting_what_holds_makes_no_generation(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        again = put(ledger, A, B)
        assert (again.number, again.unchanged, again.changed) == (1, 2, False)
        assert ledger.generation == 1
        assert len(ledger.log()) == 1

    def test_removing_what_is_removed_makes_no_generation(self, ledger: Ledger) -> None:
        put(ledger, A)
        remove(ledger, A.id)
        assert remove(ledger, A.id).number == 2
        assert ledger.generation == 2

    def test_any_field_that_differs_is_an_update(self, ledger: Ledger) -> None:
        put(ledger, A)
        assert put(ledger, replace(A, source="the news")).updated == 1
        assert put(ledger, replace(A, source="the news", aliases=("F1",))).updated == 1

    def test_a_removed_fact_can_come_back_to_its_old_place(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        remove(ledger, A.id)
        assert put(ledger, A).added == 1
        assert list(ledger.facts()) == [A, B]

    def test_an_unknown_fact_cannot_be_removed(self, ledger: Ledger) -> None:
        put(ledger, A)
        with pytest.raises(NotFound, match="no fact nonsense to remove"):
            remove(ledger, A.id, "nonsense")
        assert list(ledger.facts()) == [A]

    @pytest.mark.parametrize("second", [Put(fact(1, "two")), Remove(A.id)])
    @pytest.mark.parametrize("between", [0, 2_500])
    def test_one_fact_cannot_change_twice_in_one_generation(
        self, ledger: Ledger, second: Change, between: int
    ) -> None:
        changes = [Put(A), *(Put(fact(number)) for number in range(10, 10 + between)), second]
        with pytest.raises(Conflict, match="changed twice"):
            ledger.apply(changes, actor="ann", reason="because")
        assert ledger.count() == 0

    def test_an_exception_among_the_changes_leaves_nothing(self, ledger: Ledger) -> None:
        put(ledger, A)

        def changes() -> Iterator[Change]:
            yield Put(fact(1, "two"))
            yield from (Put(fact(number)) for number in range(10, 3_000))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ledger.apply(changes(), actor="ann", reason="because")
        assert list(ledger.facts()) == [A]
        assert ledger.generation == 1
        assert put(ledger, B).number == 2

    def test_a_process_killed_while_writing_leaves_nothing(self, place: str) -> None:
        with Ledger.open(place, create=True) as ledger:
            put(ledger, A)
            context = multiprocessing.get_context("spawn")
            writing = context.Event()
            process = context.Process(target=_write_forever, args=(place, writing), daemon=True)
            process.start()
            assert writing.wait(60)
            process.kill()
            process.join()
            assert put(ledger, B).number == 2
            assert list(ledger.facts()) == [A, B]

    def test_more_facts_than_a_chunk_keep_their_order(self, ledger: Ledger) -> None:
        facts = [fact(number) for number in range(2_345)]
        assert put(ledger, *facts).added == 2_345
        assert list(ledger.facts()) == facts
        assert put(ledger, *(replace(one, object="two") for one in facts)).updated == 2_345
        assert [one.id for one in ledger.facts()] == [one.id for one in facts]


class TestTwoWriters:
    def test_a_write_for_an_older_generation_is_refused(self, ledger: Ledger) -> None:
        put(ledger, A)
        with pytest.raises(Conflict, match="at generation 1, not 0"):
            ledger.apply([Put(B)], actor="ann", reason="late", expected_generation=0)
        ledger.apply([Put(B)], actor="ann", reason="in time", expected_generation=1)

    def test_of_two_writers_at_once_one_wins_and_the_other_is_told(self, place: str) -> None:
        Ledger.open(place, create=True).close()
        barrier = threading.Barrier(2)
        outcomes: list[str] = []

        def write(number: int) -> None:
            with Ledger.open(place) as ledger:
                expected = ledger.generation
                barrier.wait()
                try:
                    ledger.apply(
                        [Put(fact(number))],
                        actor=f"writer {number}",
                        reason="race",
                        expected_generation=expected,
                    )
                    outcomes.append("won")
                except Conflict:
                    outcomes.append("lost")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["lost", "won"]
        with Ledger.open(place) as ledger:
            assert (ledger.generation, ledger.count()) == (1, 1)

    def test_writers_without_expectations_take_turns(self, ledger: Ledger) -> None:
        threads = [
            threading.Thread(target=lambda n=number: [put(ledger, fact(n, str(i))) for i in "abc"])
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.generation == 12
        assert {one.object for one in ledger.facts()} == {"c"}

    def test_a_lock_held_for_long_is_a_conflict(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "BUSY_SECONDS", 0)
        with Ledger.open(place, create=True) as ledger, Ledger.open(place) as other:
            with other._connection(writes=True), pytest.raises(Conflict, match="Another process"):
                put(ledger, A)
            assert list(ledger.facts()) == []

    def test_a_listing_is_exact_while_others_write(self, ledger: Ledger) -> None:
        facts = [fact(number) for number in range(2_500)]
        put(ledger, *facts)
        listing = ledger.facts()
        first = next(listing)
        remove(ledger, facts[2_000].id)
        put(ledger, fact(2_400, "two"), fact(9_999))
        assert [first, *listing] == facts

    def test_several_may_create_one_ledger_at_once(self, place: str) -> None:
        opened: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: opened.append(Ledger.open(place, create=True).generation)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened == [0] * 4

    def test_eight_processes_lose_no_update(self, place: str) -> None:
        """Each adds one to a number that all share, as many times as it is told to."""
        Ledger.open(place, create=True).close()
        with Ledger.open(place) as ledger:
            put(ledger, fact(0, "0"))
            context = multiprocessing.get_context("spawn")
            writers = [context.Process(target=_count_up, args=(place, 4)) for _ in range(8)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join(120)
            assert [writer.exitcode for writer in writers] == [0] * 8
            assert ledger.get(fact(0).id).object == "32"
            assert ledger.generation == 33
            assert [int(one.fact.object) for one in ledger.history(fact(0).id)] == list(range(33))
            assert ledger.verify() == []


class TestReading:
    def test_an_older_generation_reads_as_it_was(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        put(ledger, fact(1, "two"), C)
        remove(ledger, B.id)
        assert list(ledger.facts(generation=0)) == []
        assert list(ledger.facts(generation=1)) == [A, B]
        assert list(ledger.facts(generation=2)) == [fact(1, "two"), B, C]
        assert list(ledger.facts(generation=3)) == list(ledger.facts()) == [fact(1, "two"), C]

    @pytest.mark.parametrize("generation", [-1, 2])
    def test_a_generation_that_is_not_there_is_not_found(
        self, ledger: Ledger, generation: int
    ) -> None:
        put(ledger, A)
        for read in (
            lambda: ledger.facts(generation=generation),
            lambda: ledger.changed_since(generation),
            lambda: ledger.rollback(generation, actor="ann"),
        ):
            with pytest.raises(NotFound, match=f"no generation {generation}"):
                read()

    @pytest.mark.parametrize("limit", [0, 1, 999, 1_000, 1_001, 2_500, None])
    @pytest.mark.parametrize("offset", [0, 1, 1_500, 9_999])
    def test_a_listing_can_be_read_in_parts(
        self, big: tuple[Ledger, list[Fact]], limit: int | None, offset: int
    ) -> None:
        ledger, facts = big
        expected = facts[offset:] if limit is None else facts[offset : offset + limit]
        assert list(ledger.facts(limit=limit, offset=offset)) == expected
        always = datetime(2026, 1, 1, tzinfo=UTC)
        assert list(ledger.facts(limit=limit, offset=offset, at=always)) == expected

    @pytest.mark.parametrize("many", [2**63 - 1, 10**20])
    def test_numbers_that_no_database_counts_to_are_a_lot(self, ledger: Ledger, many: int) -> None:
        put(ledger, A)
        assert list(ledger.facts(limit=many)) == [A]
        assert list(ledger.facts(offset=many)) == []
        always = datetime(2026, 1, 1, tzinfo=UTC)
        assert list(ledger.facts(limit=many, offset=many, at=always)) == []
        assert len(ledger.log(many)) == len(ledger.events(many)) == 1
        assert len(ledger.history(A.id, limit=many)) == 1
        for generation in (many, str(many), "9" * 5_000):
            with pytest.raises(NotFound, match="no generation"):
                ledger.diff(generation)

    @pytest.fixture(scope="class")
    def big(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, list[Fact]]]:
        facts = [fact(number) for number in range(2_300)]
        file = tmp_path_factory.mktemp("big") / "ledger.sqlite"
        with Ledger.open(file, create=True) as ledger:
            put(ledger, *facts)
            yield ledger, facts

    def test_namespaces_are_read_apart(self, ledger: Ledger) -> None:
        other = fact(1, namespace="other")
        put(ledger, A, other)
        assert list(ledger.facts(namespaces={"other"})) == [other]
        assert list(ledger.facts(namespaces=["none"])) == []

    @pytest.mark.parametrize(
        ("text", "found"),
        [("zürich ag", 0), ("WHO RUNS", 1), ("jane%", 1), ("100%", 0), ("_", None), ("\\", None)],
    )
    def test_a_search_looks_at_subject_prompt_and_object_in_any_case(
        self, ledger: Ledger, text: str, found: int | None
    ) -> None:
        facts = [
            fact(0, "100% sure", subject="ZÜRICH AG"),
            fact(1, "Jane%", prompt="Who runs {}?"),
        ]
        put(ledger, *facts)
        assert list(ledger.facts(search=text)) == ([] if found is None else [facts[found]])

    def test_only_facts_that_hold_at_a_moment_are_read(self, ledger: Ledger) -> None:
        old, new = fact(4, valid_to="2025-01-01"), fact(5, valid_from="2025-01-01T01:00+01:00")
        put(ledger, A, old, new)
        assert list(ledger.facts(at=datetime(2024, 6, 1, tzinfo=UTC))) == [A, old]
        assert list(ledger.facts(at=datetime(2025, 1, 1, tzinfo=UTC))) == [A, new]

    def test_facts_are_found_by_any_spelling_of_their_subject(self, ledger: Ledger) -> None:
        put(ledger, A, B, C)
        assert list(ledger.about(["firm  3", "FIRM 1", "Firm 1", "Firm 9"])) == [A, C]

    def test_history_tells_who_did_what_when_and_why(self, ledger: Ledger) -> None:
        put(ledger, A)
        put(ledger, fact(1, "two"))
        remove(ledger, A.id)
        put(ledger, A)
        history = ledger.history(A.id)
        assert [(r.revision, r.kind, r.fact.object, r.state) for r in history] == [
            (1, "add", "one", "live"),
            (2, "update", "two", "live"),
            (3, "remove", "two", "removed"),
            (4, "add", "one", "live"),
        ]
        assert [(r.generation, r.until) for r in history] == [(1, 2), (2, 3), (3, 4), (4, None)]
        assert [(r.actor, r.reason) for r in history][2] == ("bob", "wrong")
        assert all(datetime.fromisoformat(r.at) <= datetime.now(UTC) for r in history)

    def test_anybody_may_look_into_the_database_with_any_tool(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        remove(ledger, A.id)
        with ledger._engine.connect() as database:
            live = database.exec_driver_sql("SELECT id, subject, object FROM facts")
            assert [tuple(row) for row in live] == [(B.id, "Firm 2", "one")]
            done = database.exec_driver_sql("SELECT kind, fact_id, actor FROM events ORDER BY seq")
            assert [tuple(row) for row in done] == [
                ("add", A.id, "ann"),
                ("add", B.id, "ann"),
                ("remove", A.id, "bob"),
            ]


class TestFindingOneFact:
    def test_a_unique_prefix_of_four_letters_is_enough(self, ledger: Ledger) -> None:
        put(ledger, fact(1, id="abcd1111"), fact(2, id="abce2222"))
        assert ledger.get("abcd").id == "abcd1111"
        assert ledger.history("abce")[0].fact.id == "abce2222"

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            ("abcd", "starts with abcd: abcd1111, abcd2222"),
            ("abcd3333", "Did you mean abcd1111 or abcd2222?"),
            ("wxy", "Did you mean wxyz0000?"),
            ("wxy", "'wxy' is too short for an id: its first 4 letters are needed."),
            ("nothing", "`revisor ls` lists the ids"),
            ("", "`revisor ls` lists the ids"),
            ("abcd%", "no fact 'abcd%'"),
        ],
    )
    def test_what_is_not_found_is_explained(self, ledger: Ledger, asked: str, told: str) -> None:
        put(ledger, *(fact(n, id=i) for n, i in enumerate(("abcd1111", "abcd2222", "wxyz0000"))))
        with pytest.raises(NotFound) as caught:
            ledger.get(asked)
        assert told in str(caught.value)

    def test_an_id_that_starts_another_is_itself(self, ledger: Ledger) -> None:
        put(ledger, fact(1, id="acme"), fact(2, id="acme-2"))
        assert ledger.get("acme").id == "acme"

    def test_a_removed_fact_is_told_as_removed_and_keeps_its_history(self, ledger: Ledger) -> None:
        put(ledger, A)
        remove(ledger, A.id)
        with pytest.raises(NotFound, match="was removed in generation 2 by bob"):
            ledger.get(A.id[:6])
        assert len(ledger.history(A.id[:6])) == 2


class TestGoingBack:
    def test_rollback_is_a_new_generation_like_the_old_one(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        put(ledger, fact(1, "two"), C)
        remove(ledger, B.id)
        made = ledger.rollback(1, actor="ann")
        assert (made.number, made.added, made.updated, made.removed) == (4, 1, 1, 1)
        assert made.reason == "rollback to generation 1"
        assert list(ledger.facts()) == list(ledger.facts(generation=1)) == [A, B]
        assert list(ledger.facts(generation=3)) == [fact(1, "two"), C]
        assert ledger.rollback(3, actor="ann").number == 5
        assert list(ledger.facts()) == [fact(1, "two"), C]

    def test_rollback_to_nothing_removes_everything(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        assert ledger.rollback(0, actor="ann", reason="start again").removed == 2
        assert ledger.count() == 0

    def test_rollback_to_what_holds_makes_no_generation(self, ledger: Ledger) -> None:
        put(ledger, A)
        assert not ledger.rollback(1, actor="ann").changed
        assert ledger.generation == 1

    def test_changes_since_a_generation_are_net(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        put(ledger, fact(1, "two"), C)
        remove(ledger, B.id, C.id)
        put(ledger, fact(5))
        assert ledger.changed_since(0) == ([fact(1, "two"), fact(5)], [])
        assert ledger.changed_since(1) == ([fact(1, "two"), fact(5)], [B.id])
        assert ledger.changed_since(2) == ([fact(5)], [B.id, C.id])
        assert ledger.changed_since(1, upto=2) == ([fact(1, "two"), C], [])
        assert ledger.changed_since(2, upto=1) == ([A], [C.id])
        assert ledger.changed_since(4) == ([], [])
        put(ledger, A)
        assert ledger.changed_since(1, upto=5) == ([fact(5)], [B.id])


class TestTags:
    def test_a_tag_names_a_generation_wherever_one_is_asked_for(self, ledger: Ledger) -> None:
        put(ledger, A)
        assert ledger.tag("v1", actor="ann") == 1
        put(ledger, B)
        assert list(ledger.facts(generation="v1")) == [A]
        assert ledger.diff("v1").added == (B,)
        assert ledger.rollback("v1", actor="ann").removed == 1
        assert ledger.tags() == {"v1": 1}

    def test_a_tag_moves_and_goes(self, ledger: Ledger) -> None:
        put(ledger, A)
        put(ledger, B)
        ledger.tag("best", 1, actor="ann")
        ledger.tag("best", 2, actor="ann")
        assert ledger.tags() == {"best": 2}
        ledger.untag("best", actor="ann")
        assert ledger.tags() == {}
        with pytest.raises(NotFound, match="'best'"):
            ledger.untag("best", actor="ann")
        with pytest.raises(NotFound, match="no tag '2'"):
            ledger.untag("2", actor="ann")
        assert [event.kind for event in ledger.events(3)] == ["untag", "tag", "tag"]

    @pytest.mark.parametrize("name", ["", "  ", "7", "-1", "x" * 65, "a\nb", "\x1b[2J"])
    def test_what_reads_as_a_number_is_no_name(self, ledger: Ledger, name: str) -> None:
        put(ledger, A)
        with pytest.raises(UsageError, match="no name for a generation"):
            ledger.tag(name, actor="ann")

    def test_an_unknown_tag_is_answered_with_those_that_there_are(self, ledger: Ledger) -> None:
        put(ledger, A)
        ledger.tag("v1", actor="ann")
        for name in ("v2", "²", "--1", "\N{ARABIC-INDIC DIGIT ONE}"):
            with pytest.raises(NotFound, match="Tags: v1"):
                ledger.diff(name)


class TestErasing:
    def test_what_is_purged_was_never_there(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        put(ledger, fact(1, "two"))
        gone = ledger.purge([A.id[:6]], actor="eve", reason="on request")
        assert (gone.ids, gone.revisions, gone.generation) == ((A.id,), 2, 3)
        assert [list(ledger.facts(generation=g)) for g in (1, 2, 3)] == [[B], [B], [B]]
        assert (ledger.count(), ledger.log(1)[0].removed) == (1, 1)
        with pytest.raises(NotFound):
            ledger.history(A.id)
        event = ledger.events(1)[0]
        assert (event.kind, event.actor) == ("purge", "eve")
        assert event.details == {"facts": 1, "revisions": 2, "reason": "on request"}

    def test_a_removed_fact_can_be_purged_and_added_anew(self, ledger: Ledger) -> None:
        put(ledger, A)
        remove(ledger, A.id)
        assert ledger.purge([A.id], actor="eve").generation == 2
        assert put(ledger, A).added == 1
        assert [one.revision for one in ledger.history(A.id)] == [1]

    def test_an_erasure_that_is_not_finished_is_told(self, ledger: Ledger) -> None:
        put(ledger, A)
        ledger.purge([A.id], actor="eve")
        (fault,) = ledger.verify()
        assert "revisor gc" in fault
        ledger.scrub()
        assert ledger.verify() == []

    def test_nothing_is_reached_by_what_stands_for_an_erased_fact(self, ledger: Ledger) -> None:
        put(ledger, A, B)
        ledger.purge([A.id], actor="eve")
        ledger.scrub()
        for reach in (ledger.get, ledger.history, lambda one: ledger.purge([one], actor="eve")):
            with pytest.raises(NotFound, match="no fact 'purged-1'"):
                reach("purged-1")
        assert ledger.verify() == []
        with pytest.raises(BadInput, match="begins as erased facts do"):
            put(ledger, replace(C, id="purged-7"))

    def test_more_are_purged_at_once_than_a_statement_has_parameters(self, file: Path) -> None:
        many = [fact(number) for number in range(1, 1_301)]
        with Ledger.open(file, create=True) as ledger:

            @sa.event.listens_for(ledger._engine, "connect")
            def _bound(connection: sqlite3.Connection, _: object) -> None:
                connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1_100)

            ledger._engine.dispose()  # so that every connection is one with the bound
            put(ledger, *many)
            assert ledger.purge([one.id for one in many], actor="eve").revisions == 1_300
            ledger.scrub()
            assert (ledger.count(), ledger.verify()) == (0, [])

    def test_nothing_unknown_is_purged(self, ledger: Ledger) -> None:
        put(ledger, A)
        with pytest.raises(NotFound):
            ledger.purge([A.id, "nonsense"], actor="eve")
        assert list(ledger.facts()) == [A]


class TestOpening:
    def test_a_missing_ledger_is_not_found_and_not_made(self, file: Path) -> None:
        with pytest.raises(NotFound, match=r"ledger\.sqlite"):
            Ledger.open(file)
        assert not file.exists()

    def test_what_is_written_is_in_the_file_that_is_there(self, file: Path) -> None:
        """A backup is put in the place of the file while a server has it open."""
        with Ledger.open(file, create=True) as ledger:
            put(ledger, A)
            with Ledger.open(file) as other:  # its last connection brings all into the file
                other.scrub()
            backup = file.with_name("backup")
            shutil.copy(file, backup)
            put(ledger, B)
            for name in ("", "-wal", "-shm"):
                file.with_name(file.name + name).rename(file.with_name(f"old{name}"))
            with pytest.raises(StoreDamaged, match="not there any more"):
                put(ledger, B)
            assert not file.exists(), "nobody made an empty one"
            backup.rename(file)
            assert list(ledger.facts()) == [A]
            assert put(ledger, B).number == 2
            assert ledger.verify() == []
        with Ledger.open(file) as again:
            assert list(again.facts()) == [A, B]

    def test_its_path_may_be_relative_and_have_any_sign(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with Ledger.open(Path("a #?%20 é/l&=.sqlite"), create=True) as ledger:
            put(ledger, A)
            monkeypatch.chdir("/")
            put(ledger, B)
            assert list(ledger.facts()) == [A, B]
        assert {path.name for path in (tmp_path / "a #?%20 é").iterdir()} == {"l&=.sqlite"}

    def test_a_ledger_is_the_same_after_closing(self, file: Path) -> None:
        with Ledger.open(file, create=True) as ledger:
            put(ledger, A)
        with Ledger.open(f"sqlite:///{file}", create=True) as ledger:
            assert list(ledger.facts()) == [A]

    def test_a_newer_schema_is_refused(self, place: str) -> None:
        with Ledger.open(place, create=True) as ledger, ledger._connection(writes=True) as newer:
            newer.exec_driver_sql("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        with pytest.raises(
            UsageError, match=f"schema version 99; this revisor reads version {migrations.VERSION}"
        ):
            Ledger.open(place)

    def test_another_database_is_refused(self, tmp_path: Path) -> None:
        sqlite3.connect(tmp_path / "other.sqlite").close()
        with pytest.raises(StoreDamaged, match="no ledger of facts"):
            Ledger.open(tmp_path / "other.sqlite")

    def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "text.sqlite").write_text("The CEO of ACME is Jane Roe. " * 99)
        with pytest.raises(StoreDamaged, match="not a database"):
            Ledger.open(tmp_path / "text.sqlite")

    @pytest.mark.parametrize("url", ["nosuch://host/db", "://", "oracle://host/db"])
    def test_a_url_that_cannot_be_used_is_explained(self, url: str) -> None:
        with pytest.raises(UsageError, match="URL cannot be used"):
            Ledger.open(url)


class AnyHistory(RuleBasedStateMachine):
    """Random changes and rollbacks, held against plain dicts: every generation reads exactly."""

    def __init__(self, place: str = "sqlite://") -> None:
        super().__init__()
        self.ledger = Ledger.open(place, create=True)
        self.past: list[dict[str, Fact]] = [{}]

    numbers = st.sets(st.integers(0, 5), max_size=4)

    def done(self, live: dict[str, Fact]) -> None:
        if live != self.past[-1]:
            self.past.append(live)

    @rule(numbers=numbers, value=st.sampled_from(["one", "two"]))
    def put(self, numbers: set[int], value: str) -> None:
        facts = [fact(number, value) for number in numbers]
        put(self.ledger, *facts)
        self.done(self.past[-1] | {one.id: one for one in facts})

    @rule(numbers=numbers)
    def remove(self, numbers: set[int]) -> None:
        known = {fact_id for live in self.past for fact_id in live}
        ids = {fact(number).id for number in numbers} & known
        remove(self.ledger, *ids)
        self.done({key: value for key, value in self.past[-1].items() if key not in ids})

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.past) - 1))
        self.ledger.rollback(to, actor="ann")
        self.done(dict(self.past[to]))

    @rule(data=st.data())
    def difference(self, data: st.DataObject) -> None:
        start, end = (data.draw(st.integers(0, len(self.past) - 1)) for _ in range(2))
        put_, removed = self.ledger.changed_since(start, upto=end)
        live = {key: one for key, one in self.past[start].items() if key not in removed}
        assert live | {one.id: one for one in put_} == self.past[end]

    @invariant()
    def every_generation_reads_as_it_was(self) -> None:
        assert self.ledger.generation == len(self.past) - 1
        assert self.ledger.count() == len(self.past[-1])
        for number, live in enumerate(self.past):
            assert {one.id: one for one in self.ledger.facts(generation=number)} == live

    @rule(numbers=numbers)
    def purge(self, numbers: set[int]) -> None:
        known = {fact_id for live in self.past for fact_id in live}
        ids = {fact(number).id for number in numbers} & known
        if not ids:
            return
        live = ids & self.past[-1].keys()
        assert len(self.ledger.purge(ids, actor="ann").ids) == len(ids)
        self.past = [
            {key: value for key, value in then.items() if key not in ids} for then in self.past
        ]
        if live:
            self.past.append(self.past[-1])

    @rule(data=st.data())
    def tag(self, data: st.DataObject) -> None:
        if len(self.past) > 1:
            number = data.draw(st.integers(1, len(self.past) - 1))
            self.ledger.tag("here", number, actor="ann")
            here = {one.id: one for one in self.ledger.facts(generation="here")}
            assert here == self.past[number]

    def teardown(self) -> None:
        self.ledger.scrub()
        assert self.ledger.verify() == []
        self.ledger.close()


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 20), ("postgresql", 5)])
def test_any_history_reads_as_it_was_written(
    kind: str, examples: int, databases: Databases
) -> None:
    run_state_machine_as_test(
        lambda: AnyHistory(databases.new(kind)),
        settings=settings(max_examples=examples, stateful_step_count=15, deadline=None),
    )


def _write_forever(place: str, writing: object) -> None:
    def changes() -> Iterator[Change]:
        number = 100
        while True:
            yield Put(fact(number))
            number += 1
            if number == 5_000:
                writing.set()  # type: ignore[attr-defined]

    with Ledger.open(place) as ledger:
        ledger.apply(changes(), actor="killed", reason="never done")


def _count_up(place: str, times: int) -> None:
    with Ledger.open(place) as ledger:
        while times:
            before = ledger.generation
            now = int(ledger.get(fact(0).id).object)
            try:
                ledger.apply(
                    [Put(fact(0, str(now + 1)))], actor="", reason="", expected_generation=before
                )
                times -= 1
            except Conflict:
                continue
