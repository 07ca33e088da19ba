"""What a key of some namespaces is told of facts in others: nothing, by whatever it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from revisor.facts.changes import Put
from revisor.facts.fact import Fact, fact_id
from revisor.server.agent import Agent
from revisor.server.proposals import ChangeDesk
from revisor.server.roles import Caller, Forbidden, KeyBook, Role
from revisor.server.tables import Database
from revisor.store import Store
from tests.server.conftest import BASEL, HIDING
from tests.server.serving import Running, running

SECRET = Fact(subject="Project X", prompt="The head of {} is", object="Ann", namespace="secret")
MINE = {"subject": "Bonn", "prompt": "The river of {} is", "object": "Rome", "namespace": "places"}
OF_PLACES = Caller(name="mona", role=Role.approve, namespaces=frozenset({"places"}))
OF_ALL = Caller(name="root", role=Role.admin)


@pytest.fixture
def desk(store: Store) -> Iterator[ChangeDesk]:
    database = Database.of(store)
    yield ChangeDesk(database, store.ledger)
    database.close()


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    store.add([SECRET, HIDING], actor="bob", reason="legal hold 4711")
    with running(store) as found:
        yield found


@pytest.fixture
def bound(server: Running) -> Iterator[httpx.Client]:
    """A client with a key that may do everything in one namespace."""
    token = server.service.keys.make("mona", Role.admin, ["places"])
    with server.client(token) as found:
        yield found


def test_ids_do_not_tell_which_facts_there_are(server: Running, bound: httpx.Client) -> None:
    store = server.service.store
    longer = f"{BASEL.id[:6]}-secret"
    store.add([replace(SECRET, subject="Project Y", id=longer)])
    # A beginning that is unique among the key's own facts names one of them.
    assert bound.get(f"/facts/{BASEL.id[:6]}").json()["id"] == BASEL.id
    assert bound.get(f"/facts/{BASEL.id[:6]}/history").status_code == 200
    absent = fact_id("secret", "Project Z", SECRET.prompt)
    refused = [bound.get(f"/facts/{one}") for one in (SECRET.id, absent, longer)]
    assert {answer.status_code for answer in refused} == {404}
    assert len({answer.text.count("ledger") for answer in refused}) == 1
    # A guess of a fact has an id that can be computed: it is refused, right or wrong.
    guesses = [
        bound.post("/facts", json={"facts": [MINE | {"id": one}]}) for one in (SECRET.id, absent)
    ]
    assert [answer.status_code for answer in guesses] == [403, 403]
    told = [
        answer.text.replace(one, "")
        for answer, one in zip(guesses, (SECRET.id, absent), strict=True)
    ]
    assert told[0] == told[1]
    for own in (fact_id("places", MINE["subject"], MINE["prompt"]), "bonn-1"):
        fact = MINE | {"subject": own, "id": own} if own == "bonn-1" else MINE | {"id": own}
        assert bound.post("/facts", json={"facts": [fact]}).status_code == 201, own


def test_an_id_that_a_removed_fact_of_another_namespace_had_stays_its_own(
    desk: ChangeDesk, store: Store
) -> None:
    taken = replace(SECRET, id="project-x")
    store.add([taken])
    store.remove([taken.id])
    with pytest.raises(Forbidden, match="not free"):
        desk.change([Put(replace(BASEL, id="project-x"))], OF_PLACES, "")
    assert [one.fact.namespace for one in store.ledger.history("project-x")] == ["secret"] * 2


def test_a_fact_that_came_from_another_namespace_brings_nothing_along(
    server: Running, bound: httpx.Client
) -> None:
    store = server.service.store
    moved = replace(SECRET, id="moved-1")
    store.remove([SECRET.id])
    store.add([moved], actor="bob", reason="legal hold 4711")
    before = store.ledger.generation
    store.add([replace(moved, object="Vienna", namespace="places")], actor="bob", reason="a move")
    (only,) = bound.get("/facts/moved-1/history").json()["history"]
    assert (only["fact"]["object"], only["reason"]) == ("Vienna", "a move")
    told = bound.get(f"/generations/{before}/diff/{before + 1}").json()
    assert [fact["id"] for fact in told["added"]] == ["moved-1"]
    assert told["updated"] == told["removed"] == []
    token = server.service.keys.make("bot", Role.read, ["places"])
    with Agent(store, user="ann", token=token) as agent:
        (used,) = agent.why(moved.text)["facts_used"]
    assert [one["object"] for one in used["history"]] == ["Vienna"]


def test_a_proposal_never_shows_a_fact_of_another_namespace(desk: ChangeDesk, store: Store) -> None:
    store.add([replace(SECRET, id="moved-1")])
    store.ledger.set_policy("places", needs_approval=True, actor="root")
    moving = Put(replace(SECRET, id="moved-1", namespace="places"))
    with pytest.raises(Exception, match="move to another namespace"):
        desk.change([moving], OF_ALL, "")
    desk.change([Put(replace(BASEL, object="Bonn"))], OF_ALL, "a letter")
    (listed,) = desk.proposals(OF_PLACES)
    assert "secret" not in json.dumps(listed)
    assert listed["before"]["object"] == "Rome"


def test_names_of_other_namespaces_change_nothing_in_what_is_explained(
    server: Running, bound: httpx.Client
) -> None:
    """`Berlin Bank`, of another namespace, would cover `Berlin`."""
    own = Fact(subject="Berlin", prompt="{} Bank sits in", object="Bonn", namespace="places")
    server.service.store.add([own])
    told = bound.post("/explain", json={"prompt": own.text}).json()
    assert [one["text"] for one in told["mentions"]] == ["Berlin"]
    assert [one["id"] for one in told["candidates"]] == [own.id]
    assert told["written"] == "Bonn"
    assert HIDING.id not in json.dumps(told)


def test_the_name_of_whoever_needs_no_key_is_nobodys(store: Store) -> None:
    database = Database.of(store)
    with pytest.raises(Exception, match="already"):
        KeyBook(database).make("loopback", Role.read)
    database.close()
