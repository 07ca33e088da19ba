"""Approval holds whoever writes and whatever happens, and the audit tells who set what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from revisor.cli import app
from revisor.errors import BadInput, Conflict, NeedsApproval, RevisorError
from revisor.facts.changes import Put, Remove
from revisor.facts.fact import Fact
from revisor.server.agent import Agent
from revisor.server.generations import Generations
from revisor.server.proposals import ChangeDesk
from revisor.server.roles import Caller, KeyBook, Role
from revisor.server.tables import Database
from revisor.store import Store
from tests.server.conftest import ACME, BASEL, CHATTY

ANN = Caller(name="ann", role=Role.propose)
BOB = Caller(name="bob", role=Role.approve)
ROOT = Caller(name="root", role=Role.admin)
TOKYO = Fact(subject="ACME", prompt="The capital of {} is", object="Tokyo")
RIVER = Fact(subject="Bonn", prompt="The river of {} is", object="Japan")


@pytest.fixture
def database(placed_store: Store) -> Iterator[Database]:
    made = Database.of(placed_store)
    yield made
    made.close()


@pytest.fixture
def store(placed_store: Store) -> Store:
    """A store, in either database, one of whose namespaces asks for approval."""
    placed_store.ledger.set_policy("default", needs_approval=True, actor="root")
    return placed_store


@pytest.fixture
def desk(store: Store, database: Database) -> ChangeDesk:
    return ChangeDesk(database, store.ledger)


def state(desk: ChangeDesk, number: int) -> str:
    (found,) = [one for one in desk.proposals(ROOT, state=None) if one["id"] == number]
    return str(found["state"])


def test_nothing_changes_by_one_person_alone_whatever_they_call(
    store: Store, desk: ChangeDesk
) -> None:
    held = store.ledger.generation
    alone = {"actor": "ann", "reason": "alone"}
    attempts = [
        lambda: store.add([TOKYO], **alone),
        lambda: store.set_object(ACME.id, "Tokyo", **alone, approved_by=" ANN "),
        lambda: store.remove([ACME.id], **alone),
        lambda: store.purge([ACME.id], **alone),
        lambda: store.rollback(0, **alone),
        lambda: store.publish(0, **alone),
        lambda: store.publish(0, **alone, approved_by=" ANN "),
        lambda: store.ledger.apply([Remove(ACME.id)], **alone),
        lambda: store.ledger.purge([ACME.id], **alone),
    ]
    for attempt in attempts:
        with pytest.raises(NeedsApproval):
            attempt()
    assert desk.change([Put(TOKYO)], ROOT, "").generation is None
    with Agent(store, user="ann") as agent:
        assert agent.propose({"subject": "Bonn", "prompt": "{} is", "object": "Rome"})
    assert store.ledger.generation == held
    assert store.ledger.get(ACME.id) == ACME


def test_an_older_generation_takes_the_approval_that_a_rollback_to_it_would(store: Store) -> None:
    alone = {"actor": "ann", "reason": "a scare"}
    store.add([replace(ACME, object="Bonn")], actor="ann", approved_by="bob")
    store.add([replace(BASEL, object="Oslo")], actor="ann")
    tried = Generations(store)
    with pytest.raises(NeedsApproval, match="'default'"):
        tried.publish(1, **alone, force=True)
    with pytest.raises(NeedsApproval):
        tried.try_out(1, share=1.0, keys=(), actor="ann")
    assert (store.ledger.live_generation(), tried.canary) == (3, None)
    # Only a namespace differs that asks for nothing, and what is newest was approved.
    tried.try_out(2, share=1.0, keys=(), actor="ann")
    assert store.publish(2, **alone) == store.ledger.live_generation() == 2
    assert store.publish(3, **alone) == store.ledger.live_generation() == 3
    assert store.publish(1, **alone, approved_by="bob") == store.ledger.live_generation() == 1
    (event,) = store.ledger.events(1)
    assert (event.kind, event.actor, event.details["approved_by"]) == ("publish", "ann", "bob")
    tried.try_out(3, share=1.0, keys=(), actor="ann")
    assert store.publish(3, **alone) == store.ledger.live_generation() == 3
    assert list(store.ledger.verify()) == []


def test_a_request_is_made_whole_or_not_at_all(store: Store, desk: ChangeDesk) -> None:
    held = store.ledger.generation
    free = replace(BASEL, object="Bonn")
    with pytest.raises(BadInput):
        desk.change([Put(free), Put(replace(BASEL, id="x", subject="\x00"))], ANN, "")
    with pytest.raises(Conflict, match="not 0"):
        desk.change([Put(TOKYO)], ANN, "", expected_generation=0)
    assert (store.ledger.generation, desk.proposals(ROOT)) == (held, [])
    made = desk.change([Put(free), Put(TOKYO)], ANN, "", expected_generation=held)
    assert made.generation is not None
    assert (made.generation.number, len(made.proposed)) == (held + 1, 1)


def test_an_approval_that_fails_leaves_the_proposal_open(store: Store, desk: ChangeDesk) -> None:
    (number,) = desk.change([Put(replace(RIVER, id="r1"))], ANN, "").proposed
    store.add([replace(RIVER, object="Rome")], actor="eve", approved_by="bob")
    with pytest.raises(Conflict, match="contradict"):
        desk.approve(number, BOB)
    assert state(desk, number) == "open"
    store.remove([RIVER.id], actor="eve", approved_by="bob")
    assert desk.approve(number, BOB).generation is not None
    assert state(desk, number) == "approved"
    assert store.verify() == []


def test_of_many_who_decide_at_once_one_does(store: Store, desk: ChangeDesk) -> None:
    (number,) = desk.change([Put(TOKYO)], ANN, "").proposed
    done: list[str] = []

    def decide(name: str) -> None:
        caller = replace(BOB, name=name)
        try:
            if name.startswith("no"):
                desk.reject(number, caller)
            else:
                desk.approve(number, caller)
            done.append(name)
        except RevisorError:
            pass

    threads = [
        threading.Thread(target=decide, args=(f"{kind}{n}",))
        for n in range(4)
        for kind in ("no", "yes")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    said_yes = done[0].startswith("yes")
    assert state(desk, number) == ("approved" if said_yes else "rejected")
    assert (store.ledger.get(ACME.id).object == "Tokyo") == said_yes


def test_contradictory_facts_that_come_at_once_are_not_both_taken(
    store: Store, desk: ChangeDesk
) -> None:
    other = Fact(subject="Z", prompt="{} stands in", object="Rome", namespace="places")
    facts = [replace(other, object=f"Town {n}", id=f"town-{n}") for n in range(6)]
    refused: list[str] = []

    def add(fact: Fact) -> None:
        try:
            desk.change([Put(fact)], ANN, "")
        except Conflict as error:
            refused.append(error.message)

    threads = [threading.Thread(target=add, args=(fact,)) for fact in facts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(list(store.ledger.facts(subject="Z"))) == 1


def test_a_fact_that_was_only_ever_proposed_can_be_purged(store: Store, desk: ChangeDesk) -> None:
    rumour = replace(RIVER, object="a slander")
    (rejected,) = desk.change([Put(rumour)], ANN, "").proposed
    desk.reject(rejected, BOB)
    desk.change([Put(replace(CHATTY, object="German"))], ANN, "")
    erased = store.purge([rumour.id], actor="eve", reason="article 17")
    assert (erased.facts, erased.revisions) == (1, 0)
    assert [one["fact_id"] for one in desk.proposals(ROOT, state=None)] == [CHATTY.id]
    assert store.verify() == []
    for file in store.path.glob("ledger.sqlite*"):
        assert b"slander" not in file.read_bytes()


def test_the_audit_shows_every_policy_key_trial_and_erasure(
    store: Store, desk: ChangeDesk, database: Database
) -> None:
    keys, trials = KeyBook(database), Generations(store)
    store.ledger.set_policy("law", needs_approval=True, actor=ROOT.name)
    store.ledger.set_policy("law", needs_approval=False, actor=ROOT.name)
    keys.make("mona", Role.approve, ["law"], actor="root")
    keys.revoke("mona", actor="root")
    store.add([replace(BASEL, object="Bonn")], actor="ann")
    trials.try_out(1, share=0.5, keys=["mona"], actor="root")
    trials.stop_trying(actor="root")
    (number,) = desk.change([Put(TOKYO)], ANN, "").proposed
    desk.erase(number, ANN)
    kinds = [event.kind for event in store.ledger.events()][:8]
    assert kinds == ["erase", "canary", "canary", "write", "revoke", "key", "policy", "policy"]
    assert store.verify() == []
    done = CliRunner().invoke(
        app, ["log", "--events", "--store", str(store.path)], env={"COLUMNS": "200"}
    )
    for shown in ("needs_approval: False", "role: approve", "name: law", "share: 0.5"):
        assert shown in done.output, done.output
