"""Which generation of a ledger is live, and which namespaces ask for approval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from revisor.errors import NeedsApproval, NotFound
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put, Remove

ANN = Fact(subject="Ann", prompt="{} lives in", object="Rome")
BOB = Fact(subject="Bob", prompt="{} lives in", object="Oslo")
LAW = Fact(subject="VAT", prompt="{} is", object="19 %", namespace="law")


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    with Ledger.open(place, create=True) as opened:
        yield opened


@pytest.fixture
def three(ledger: Ledger) -> Ledger:
    """A ledger of three generations."""
    for one in (ANN, BOB, replace(ANN, object="Bonn")):
        put(ledger, one)
    return ledger


@pytest.fixture
def guarded(ledger: Ledger) -> Ledger:
    """A ledger whose namespace `law` needs approval."""
    ledger.set_policy("law", needs_approval=True, actor="root")
    return ledger


def put(ledger: Ledger, *facts: Fact, approved_by: str | None = None) -> int:
    changes = map(Put, facts)
    return ledger.apply(changes, actor="ann", reason="", approved_by=approved_by).number


class TestPublishing:
    def test_the_newest_generation_is_live_until_an_older_one_is_published(
        self, ledger: Ledger
    ) -> None:
        assert (ledger.live_generation(), ledger.pinned()) == (0, None)
        put(ledger, ANN)
        assert ledger.live_generation() == 1
        put(ledger, BOB)
        assert ledger.publish(1, actor="ann", reason="trouble") == 1
        assert (ledger.live_generation(), ledger.pinned()) == (1, 1)

    def test_what_is_committed_behind_an_older_one_waits_until_the_newest_is_published(
        self, three: Ledger
    ) -> None:
        three.publish(2, actor="ann")
        newest = put(three, LAW)
        assert (three.live_generation(), three.generation) == (2, newest)
        assert three.publish(newest, actor="ann") == newest
        assert three.pinned() is None
        assert put(three, replace(LAW, object="20 %")) == three.live_generation() == newest + 1

    def test_a_tag_names_the_generation_to_publish_and_does_not_move_it_later(
        self, three: Ledger
    ) -> None:
        three.tag("good", 1, actor="ann")
        assert three.publish("good", actor="ann") == 1
        three.tag("good", 2, actor="ann")
        assert three.live_generation() == 1

    def test_every_decision_is_in_the_audit_and_one_that_changes_nothing_is_not(
        self, three: Ledger
    ) -> None:
        for generation in (3, 1, 1, 3):
            three.publish(generation, actor="eve", reason="why")
        told = [one for one in reversed(three.events()) if one.kind == "publish"]
        assert [(one.actor, one.generation, one.details) for one in told] == [
            ("eve", 1, {"pinned": True, "reason": "why"}),
            ("eve", 3, {"pinned": False, "reason": "why"}),
        ]
        assert three.verify() == []

    def test_a_generation_that_is_not_there_is_not_published(self, three: Ledger) -> None:
        for generation in (4, -1, "nowhere"):
            with pytest.raises(NotFound):
                three.publish(generation, actor="ann")
        assert three.live_generation() == 3

    def test_a_rollback_is_live_and_the_newest_is_followed_from_then_on(
        self, three: Ledger
    ) -> None:
        three.publish(2, actor="ann")
        assert three.rollback(1, actor="ann").number == three.live_generation() == 4
        assert three.pinned() is None

    def test_a_rollback_to_what_holds_publishes_it_too(self, three: Ledger) -> None:
        three.publish(1, actor="ann")
        assert not three.rollback(3, actor="ann").changed
        assert (three.live_generation(), three.pinned()) == (3, None)

    def test_the_published_generation_outlives_an_erasure(self, three: Ledger) -> None:
        three.publish(2, actor="ann")
        three.purge([ANN.id], actor="ann")
        three.scrub()
        assert three.live_generation() == 2
        assert list(three.facts(generation=three.live_generation())) == [BOB]
        assert three.verify() == []

    def test_another_process_reads_the_same(self, three: Ledger, place: str) -> None:
        with Ledger.open(place) as other:
            three.publish(1, actor="ann")
            assert other.live_generation() == 1
            other.publish(3, actor="ann")
        assert three.pinned() is None

    def test_a_pointer_that_was_changed_by_hand_is_found(self, three: Ledger) -> None:
        three.publish(1, actor="ann")
        with three._connection(writes=True) as connection:
            connection.exec_driver_sql("UPDATE meta SET value = '2' WHERE key = 'published'")
        assert any("live generation" in fault for fault in three.verify())


class TestApproval:
    def test_a_change_in_a_protected_namespace_is_refused_and_nothing_is_written(
        self, guarded: Ledger
    ) -> None:
        with pytest.raises(NeedsApproval, match="'law' need approval") as refused:
            put(guarded, ANN, LAW)
        assert refused.value.hint
        assert (guarded.generation, guarded.count()) == (0, 0)
        assert put(guarded, ANN) == 1

    def test_somebody_else_approves_it_and_the_audit_says_who(self, guarded: Ledger) -> None:
        put(guarded, LAW, approved_by="bob")
        assert guarded.get(LAW.id) == LAW
        assert guarded.events()[0].details["approved_by"] == "bob"
        assert guarded.verify() == []

    @pytest.mark.parametrize("who", ["ann", " Ann ", "ANN"])
    def test_nobody_approves_a_change_of_their_own(self, guarded: Ledger, who: str) -> None:
        with pytest.raises(NeedsApproval, match="of their own"):
            put(guarded, LAW, approved_by=who)
        assert guarded.generation == 0

    @pytest.mark.parametrize("who", ["", "  "])
    def test_a_blank_name_approves_nothing(self, guarded: Ledger, who: str) -> None:
        with pytest.raises(NeedsApproval):
            put(guarded, LAW, approved_by=who)

    def test_removals_rollbacks_and_moves_between_namespaces_are_changes_too(
        self, guarded: Ledger
    ) -> None:
        put(guarded, LAW, approved_by="bob")
        with pytest.raises(NeedsApproval):
            guarded.apply([Remove(LAW.id)], actor="ann", reason="")
        with pytest.raises(NeedsApproval):
            guarded.rollback(0, actor="ann")
        with pytest.raises(NeedsApproval):
            put(guarded, replace(LAW, namespace="default"))
        assert list(guarded.facts()) == [LAW]
        assert guarded.rollback(0, actor="ann", approved_by="bob").removed == 1

    def test_what_already_holds_needs_nobody(self, guarded: Ledger) -> None:
        put(guarded, LAW, approved_by="bob")
        assert put(guarded, LAW) == 1

    def test_a_namespace_can_be_opened_again(self, guarded: Ledger) -> None:
        guarded.set_policy("law", needs_approval=False, actor="root")
        assert guarded.policies() == {"law": False}
        assert put(guarded, LAW) == 1
        assert guarded.verify() == []

    def test_a_policy_that_was_changed_by_hand_is_found(self, guarded: Ledger) -> None:
        with guarded._connection(writes=True) as connection:
            connection.exec_driver_sql("DELETE FROM policies")
        assert any("need approval" in fault for fault in guarded.verify())


def test_an_archive_keeps_both_decisions(guarded: Ledger, tmp_path: Path) -> None:
    put(guarded, ANN)
    put(guarded, BOB)
    guarded.publish(1, actor="ann")
    with (
        guarded.dumped(tmp_path) as paths,
        ExitStack() as open_files,
        Ledger.open(tmp_path / "other.sqlite", create=True) as copy,
    ):
        tables = {n: open_files.enter_context(p.open("rb")) for n, p in paths.items()}
        copy.restore(tables, actor="eve")
        assert (copy.pinned(), copy.policies()) == (1, {"law": True})
        assert copy.verify() == []
