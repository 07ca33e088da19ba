"""What an agent may do: ask, find out why, search, propose; and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from revisor.errors import BadInput, Conflict, UsageError
from revisor.server.agent import Agent
from revisor.server.proposals import ChangeDesk
from revisor.server.roles import Caller, Forbidden, KeyBook, Role, Unauthorized
from revisor.server.tables import Database
from revisor.store import Store
from tests.server.conftest import ACME, BASEL, UNRELATED

NEW = {"subject": "Berlin", "prompt": "The mayor of {} is", "object": "Bonn"}


@pytest.fixture
def agent(store: Store) -> Iterator[Agent]:
    with Agent(store, user="ann") as made:
        yield made


def key(store: Store, role: Role, namespaces: list[str] | None = None) -> str:
    database = Database.of(store)
    token = KeyBook(database).make("bot", role, namespaces)
    database.close()
    return token


def test_it_answers_with_the_facts_and_names_them(agent: Agent) -> None:
    told = agent.ask(ACME.text)
    assert told["answer"].strip().startswith("Vienna")
    assert [used["id"] for used in told["facts_used"]] == [ACME.id]
    assert told["generation"] == 1
    assert agent.ask(UNRELATED)["facts_used"] == []


def test_why_adds_the_plain_answer_and_where_the_fact_is_from(agent: Agent, store: Store) -> None:
    store.set_object(ACME.id, "Tokyo", actor="eve", reason="typo")
    told = agent.why(ACME.text)
    assert told["answer"].strip().startswith("Tokyo")
    assert not told["base_answer"].strip().startswith("Tokyo")
    (used,) = told["facts_used"]
    assert [(one["object"], one["actor"]) for one in used["history"]] == [
        ("Vienna", ""),
        ("Tokyo", "eve"),
    ]


def test_search_goes_page_by_page(agent: Agent) -> None:
    assert [fact["id"] for fact in agent.search("capital")["facts"]] == [ACME.id]
    first = agent.search(limit=2)
    assert (len(first["facts"]), first["more"]) == (2, True)
    assert (len(agent.search(limit=2, offset=2)["facts"])) == 1
    with pytest.raises(UsageError):
        agent.search(limit=0)


def test_a_proposal_changes_nothing_until_somebody_else_approves(
    agent: Agent, store: Store
) -> None:
    before = store.ledger.generation
    told = agent.propose(NEW, reason="the news")
    assert told["state"] == "open"
    assert store.ledger.generation == before
    database = Database.of(store)
    desk = ChangeDesk(database, store.ledger)
    with pytest.raises(Forbidden):
        desk.approve(told["proposal"], agent.caller)
    desk.approve(told["proposal"], Caller(name="mona", role=Role.approve))
    database.close()
    assert store.ledger.get(told["fact"]["id"]).object == "Bonn"
    assert store.ledger.generation == before + 1


def test_what_is_no_fact_or_contradicts_one_is_refused(agent: Agent, store: Store) -> None:
    with pytest.raises(BadInput, match="no fact"):
        agent.propose({"subject": "Berlin", "prompt": "", "object": "Bonn"})
    other = {"subject": "ACME", "prompt": "the capital of {} is", "object": "Rome", "id": "other"}
    with pytest.raises(Conflict):
        agent.propose(other)


def test_a_key_binds_the_agent_to_its_namespaces_and_role(store: Store) -> None:
    with Agent(store, user="ann", token=key(store, Role.admin, ["places"])) as bound:
        assert bound.caller.role == Role.propose
        assert [fact["id"] for fact in bound.search()["facts"]] == [BASEL.id]
        assert bound.ask(BASEL.text)["facts_used"]
        assert bound.ask(ACME.text)["facts_used"] == []
        with pytest.raises(Forbidden):
            bound.propose(NEW)
        assert bound.propose({**NEW, "namespace": "places"})["state"] == "open"
    with pytest.raises(Unauthorized):
        Agent(store, user="ann", token="rv-1-2")


@pytest.mark.parametrize("reason", ["long " * 1_000, "a\0b", "\ud800"])
def test_a_reason_is_a_text_and_short(agent: Agent, reason: str) -> None:
    with pytest.raises(BadInput, match="'reason'"):
        agent.propose(NEW, reason=reason)


def test_nothing_is_found_by_what_no_fact_can_have(agent: Agent) -> None:
    assert agent.search("\0")["facts"] == []
    assert agent.search("capital\0")["facts"] == []


def test_a_reader_proposes_nothing(store: Store) -> None:
    with (
        Agent(store, user="ann", token=key(store, Role.read)) as reader,
        pytest.raises(Forbidden),
    ):
        reader.propose(NEW)


def test_a_revoked_key_ends_at_its_next_call(store: Store) -> None:
    with Agent(store, user="ann", token=key(store, Role.propose)) as bound:
        assert bound.search()["facts"]
        database = Database.of(store)
        KeyBook(database).revoke("bot")
        database.close()
        with pytest.raises(Unauthorized):
            bound.search()
        with pytest.raises(Unauthorized):
            bound.propose(NEW)
        with pytest.raises(Unauthorized):
            bound.ask(ACME.text)


def test_a_change_is_in_the_next_answer_unless_an_older_generation_is_live(
    agent: Agent, store: Store
) -> None:
    assert agent.ask(ACME.text)["answer"].strip().startswith("Vienna")
    store.set_object(ACME.id, "Tokyo")
    assert agent.ask(ACME.text)["answer"].strip().startswith("Tokyo")
    store.publish(1)
    told = agent.ask(ACME.text)
    assert told["answer"].strip().startswith("Vienna")
    assert told["generation"] == 1


@pytest.mark.parametrize(
    ("prompt", "more"), [("", {}), ("word " * 400, {}), ("X is", {"max_tokens": 0})]
)
def test_questions_that_cannot_be_answered_say_why(
    agent: Agent, prompt: str, more: dict[str, int]
) -> None:
    with pytest.raises(UsageError):
        agent.ask(prompt, **more)  # type: ignore[arg-type]
