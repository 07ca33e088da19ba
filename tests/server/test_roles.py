"""Who may do what: keys, roles, namespaces, approval; and what a server without keys refuses."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa

from revisor.errors import BadInput, Conflict, NeedsApproval, NotFound, UsageError
from revisor.facts.fact import Fact
from revisor.server.roles import KeyBook, Role, Unauthorized
from revisor.server.service import Service
from revisor.server.settings import ServeSettings
from revisor.server.tables import Database
from revisor.server.tables import keys as table
from revisor.store import Store
from tests.server.conftest import ACME, BASEL
from tests.server.serving import Running, running

OTHER = {"subject": "Bonn", "prompt": "The river of {} is", "object": "Japan"}


@pytest.fixture
def store(placed_store: Store) -> Store:
    """Keys, proposals and approvals are rows beside the ledger, in either database."""
    return placed_store


@pytest.fixture
def book(store: Store) -> Iterator[KeyBook]:
    database = Database.of(store)
    yield KeyBook(database)
    database.close()


def test_a_key_is_known_by_its_token_and_only_its_hash_is_kept(store: Store, book: KeyBook) -> None:
    token = book.make("mona", Role.propose, ["places"])
    caller = book.who(token)
    assert (caller.name, caller.role, caller.namespaces) == ("mona", Role.propose, {"places"})
    database = Database.of(store)
    (row,) = database.read(sa.select(table))
    database.close()
    assert token.split("-")[2] not in json.dumps(row)
    assert "hash" not in book.all()[0]


@pytest.mark.parametrize("wrong", ["", "x", "rv-", "rv-abc-def", "rv--", "Bearer"])
def test_a_wrong_token_is_nobodys(wrong: str, book: KeyBook) -> None:
    token = book.make("mona", Role.admin)
    for bad in (wrong, token[:-1] + ("0" if token[-1] != "0" else "1"), token.upper(), token + "0"):
        with pytest.raises(Unauthorized):
            book.who(bad)


def test_a_revoked_key_is_refused_and_its_name_stays_taken(book: KeyBook) -> None:
    token = book.make("mona", Role.read)
    book.revoke("mona")
    with pytest.raises(Unauthorized):
        book.who(token)
    with pytest.raises(NotFound):
        book.revoke("mona")
    with pytest.raises(Conflict):
        book.make("mona", Role.read)
    with pytest.raises(Conflict):  # somebody could approve what they proposed themselves
        book.make(" MONA", Role.read)
    with pytest.raises(UsageError):
        book.make("a\nb", Role.read)
    assert book.any()


def test_beyond_this_machine_nothing_is_served_without_keys(store: Store, book: KeyBook) -> None:
    with pytest.raises(UsageError, match="no API keys"):
        Service(store, ServeSettings(host="0.0.0.0"))
    book.make("mona", Role.admin)
    Service(store, ServeSettings(host="0.0.0.0")).close()


class Keyed:
    """A server with one key of every role, and two that are bound to a namespace."""

    def __init__(self, server: Running) -> None:
        self.server = server
        keys = server.service.keys
        self.tokens = {role.name: keys.make(role.name, role) for role in Role}
        self.tokens["places"] = keys.make("places", Role.approve, ["places"])
        self.tokens["reader"] = keys.make("reader", Role.read, ["places"])

    def of(self, name: str) -> httpx.Client:
        return self.server.client(self.tokens[name])


@pytest.fixture
def keyed(store: Store) -> Iterator[Keyed]:
    with running(store) as server:
        yield Keyed(server)


def test_once_there_is_a_key_every_route_but_health_needs_one(keyed: Keyed) -> None:
    paths = [
        (route, method)
        for route, methods in keyed.server.client().get("/openapi.json").json()["paths"].items()
        for method in methods
    ]
    assert len(paths) > 25
    for path, method in paths:
        filled = path.replace("{number}", "1").replace("{start}", "1").replace("{end}", "1")
        answer = keyed.server.client().request(method, filled, json={})
        expected = 200 if path == "/healthz" else 401
        # A body that is not of the route's shape may be told first.
        assert answer.status_code in (expected, 400), (method, path, answer.text)
    health = keyed.server.client().get("/healthz").json()
    assert health == {"status": "ok"}
    with keyed.server.openai("rv-no-key") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_each_role_may_do_what_those_before_it_may_and_no_more(keyed: Keyed) -> None:
    asked = {"model": keyed.server.model, "prompt": ACME.text, "max_tokens": 1}
    acts = {
        Role.read: ("POST", "/v1/completions", asked),
        Role.propose: ("POST", "/facts", {"facts": [OTHER]}),
        Role.approve: ("POST", "/generations/1/publish", {}),
        Role.admin: ("POST", "/keys", {"name": "new", "role": "read"}),
    }
    for role in Role:
        for needed, (method, path, body) in acts.items():
            with keyed.of(role.name) as http:
                status = http.request(method, path, json=body).status_code
            assert (status == 403) == (role < needed), (role, needed, status)


def test_a_key_of_a_namespace_sees_asks_and_changes_only_that(keyed: Keyed) -> None:
    with keyed.of("places") as http:
        assert [f["id"] for f in http.get("/facts").json()["facts"]] == [BASEL.id]
        assert http.get(f"/facts/{ACME.id}").status_code == 404
        assert http.get(f"/facts/{ACME.id}/history").status_code == 404
        assert http.get("/facts", params={"namespace": "default"}).status_code == 403
        assert http.delete(f"/facts/{ACME.id}").status_code == 404
        assert http.post("/facts", json={"facts": [OTHER]}).status_code == 403
        assert http.put("/canary", json={"generation": 1}).status_code == 403
        assert http.post("/generations/rollback", json={"to": 0}).status_code == 403
        # What is live is live for everybody.
        assert http.post("/generations/1/publish").status_code == 403
        assert http.get("/generations/0/diff/1").json()["added"][0]["id"] == BASEL.id
        explained = http.post("/explain", json={"prompt": ACME.text}).json()
        assert (explained["mentions"], explained["candidates"]) == ([], [])
        own = http.post("/facts", json={"facts": [OTHER | {"namespace": "places"}]})
        assert own.status_code == 201
        assert len(http.get("/facts").json()["facts"]) == 2
        assert http.get("/figures").json()["facts"] == 2
    assert keyed.server.service.store.ledger.get(ACME.id) == ACME
    with keyed.server.openai(keyed.tokens["reader"]) as client:
        ask = {"model": keyed.server.model, "temperature": 0, "max_tokens": 6}
        hidden = client.completions.create(prompt=ACME.text, **ask)  # type: ignore[call-overload]
        assert not hidden.choices[0].text.startswith(" Vienna")
        assert hidden.revisor["facts_used"] == []
        shown = client.completions.create(prompt=BASEL.text, **ask)  # type: ignore[call-overload]
        assert shown.choices[0].text.startswith(" Rome")
        with pytest.raises(openai.PermissionDeniedError):
            client.completions.create(  # type: ignore[call-overload]
                prompt=ACME.text, extra_body={"revisor": {"namespace": "default"}}, **ask
            )


def test_no_answer_tells_a_key_of_a_namespace_of_anything_elsewhere(keyed: Keyed) -> None:
    store = keyed.server.service.store
    secret = Fact(subject="Project X", prompt="The head of {} is", object="Ann", namespace="secret")
    gone = replace(secret, subject="Project Y", id="gone-1")
    store.add([secret, gone], actor="bob", reason="Bob was fired")
    store.remove(["gone-1"], actor="bob", reason="legal hold 4711")
    store.set_object(secret.id, "Eve", actor="bob", reason="legal hold 4711")
    with keyed.of("admin") as http:
        body = {"model": keyed.server.model, "prompt": secret.text, "max_tokens": 2}
        others = http.post("/v1/completions", json=body).json()
        assert others["revisor"]["facts_used"][0]["id"] == secret.id
    taken = OTHER | {"namespace": "places", "id": secret.id}
    doubtful = [
        ("GET", "/facts/gone-1", None),
        ("GET", "/facts/gone-2", None),
        ("GET", f"/facts/{secret.id[:5]}", None),
        ("GET", f"/facts/{secret.id}/history", None),
        ("GET", "/generations", None),
        ("GET", "/generations/0/diff/3", None),
        ("GET", "/metrics", None),
        ("GET", "/canary", None),
        ("GET", "/figures", None),
        ("GET", "/check", None),
        ("GET", "/proposals?state=all", None),
        ("GET", "/namespaces", None),
        ("GET", f"/why/{others['id']}", None),
        ("POST", "/facts", {"facts": [taken]}),
        ("POST", "/check", {"facts": [taken]}),
        ("POST", "/explain", {"prompt": secret.text}),
        ("POST", "/v1/completions", body),
    ]
    for name in ("places", "overseer"):
        if name == "overseer":
            keyed.tokens[name] = keyed.server.service.keys.make(name, Role.admin, ["places"])
        with keyed.of(name) as http:
            for method, path, wanted in doubtful:
                told = http.request(method, path, json=wanted).text
                for needle in ("secret", "Project", "bob", "Bob", "4711", "Eve", "Ann"):
                    assert needle not in told.replace(secret.text, ""), (method, path, told)
            figures = http.get("/figures").json()
            assert (figures["queue"], figures["running"], figures["faults"]) == (None, None, [])


def test_where_approval_is_asked_for_a_change_waits_for_somebody_else(keyed: Keyed) -> None:
    ledger = keyed.server.service.store.ledger
    with keyed.of("admin") as http:
        http.put("/namespaces/default", json={"needs_approval": True})
        # Approval is asked of everybody.
        assert http.patch(f"/facts/{ACME.id}", json={"object": "Bonn"}).status_code == 202
    with keyed.of("propose") as http:
        changed = http.patch(f"/facts/{ACME.id}", json={"object": "Rome", "reason": "a letter"})
        assert changed.status_code == 202
        (number,) = changed.json()["proposals"]
        removal = http.delete(f"/facts/{ACME.id}").json()["proposals"][0]
        assert ledger.get(ACME.id) == ACME
        assert ledger.generation == 1
        listed = http.get("/proposals").json()["proposals"]
        assert [p["kind"] for p in listed] == ["put", "put", "remove"]
        assert listed[1]["fact"]["object"] == "Rome"
        assert listed[1]["before"]["object"] == "Vienna"
        assert http.post(f"/proposals/{number}/approve").status_code == 403
        assert http.post(f"/proposals/{removal}/reject").status_code == 200  # one's own
    with keyed.of("places") as http:
        assert http.post(f"/proposals/{number}/approve").status_code == 404
    with keyed.of("approve") as http:
        assert http.post(f"/proposals/{number}/approve").json()["generation"] == 2
        assert ledger.get(ACME.id).object == "Rome"
        assert http.post(f"/proposals/{number}/approve").status_code == 409
        stale = http.get("/proposals").json()["proposals"][0]["id"]
        refused = http.post(f"/proposals/{stale}/approve")
        assert refused.status_code == 409
        assert "changed since" in refused.json()["error"]["message"]
    last = ledger.history(ACME.id)[-1]
    assert last.actor == "propose"
    assert last.reason == f"a letter (proposal {number}, approved by approve)"


def pages(http: httpx.Client, path: str, name: str) -> list[list[Any]]:
    """The pages of a list, two items each."""
    found: list[list[Any]] = []
    offset: int | None = 0
    while offset is not None:
        told = http.get(path, params={"limit": 2, "offset": offset}).json()
        found.append(told[name])
        offset = told["next_offset"]
    return found


def test_keys_and_namespaces_are_listed_page_by_page(keyed: Keyed) -> None:
    names = [f"team {n}" for n in range(5)]
    with keyed.of("admin") as http:
        for name in names:
            http.put(f"/namespaces/{name}", json={"needs_approval": True})
        told = pages(http, "/namespaces", "namespaces")
        assert [[one["name"] for one in page] for page in told] == [
            names[:2],
            names[2:4],
            names[4:],
        ]
        held = [one["name"] for page in pages(http, "/keys", "keys") for one in page]
        assert held == [one["name"] for one in keyed.server.service.keys.all()]


def test_a_key_for_no_namespace_is_refused(keyed: Keyed) -> None:
    with keyed.of("admin") as http:
        refused = http.post("/keys", json={"name": "new", "role": "read", "namespaces": []})
        assert refused.status_code == 400
        assert "namespaces" in refused.json()["error"]["message"]
        assert http.get("/keys").text.count('"new"') == 0


def test_nobody_approves_a_proposal_of_their_own(keyed: Keyed) -> None:
    with keyed.of("admin") as http:
        http.put("/namespaces/default", json={"needs_approval": True})
    with keyed.of("approve") as http:
        (number,) = http.post("/facts", json={"facts": [OTHER]}).json()["proposals"]
        assert http.post(f"/proposals/{number}/approve").status_code == 403
    with keyed.of("admin") as http:
        assert http.post(f"/proposals/{number}/approve").status_code == 200


def test_approval_binds_the_console_and_the_terminal_alike(keyed: Keyed) -> None:
    store = keyed.server.service.store
    with keyed.of("admin") as http:
        http.put("/namespaces/default", json={"needs_approval": True})
        assert http.post("/generations/rollback", json={"to": 0}).status_code == 409
        assert http.put("/canary", json={"generation": 0, "share": 1}).status_code == 409
        refused = http.post("/generations/0/publish", json={"force": True})
        assert (refused.status_code, store.ledger.live_generation()) == (409, 1)
        assert "POST /facts" in refused.json()["error"]["hint"]
    with pytest.raises(NeedsApproval):
        store.set_object(ACME.id, "Bonn", actor="root")
    assert [event.kind for event in store.ledger.events(1)] == ["policy"]


def test_a_proposal_can_be_erased_by_its_author_or_an_admin_whatever_became_of_it(
    keyed: Keyed,
) -> None:
    rumour = OTHER | {"object": "a slander"}
    with keyed.of("admin") as http:
        http.put("/namespaces/default", json={"needs_approval": True})
    with keyed.of("propose") as http:
        first, second = (
            http.post("/facts", json={"facts": [rumour]}).json()["proposals"][0] for _ in range(2)
        )
    with keyed.of("approve") as http:
        assert http.post(f"/proposals/{first}/reject").status_code == 200
        assert http.delete(f"/proposals/{first}").status_code == 403
    with keyed.of("propose") as http:
        assert http.delete(f"/proposals/{first}").status_code == 200
    with keyed.of("admin") as http:
        assert http.delete(f"/proposals/{second}").status_code == 200
        assert http.get("/proposals?state=all").json()["proposals"] == []
        assert http.delete(f"/proposals/{second}").status_code == 404
    store = keyed.server.service.store
    assert not store.ledger.unscrubbed
    for file in store.path.glob("ledger.sqlite*"):
        assert b"slander" not in file.read_bytes()


def test_a_number_is_that_of_one_proposal_for_ever(keyed: Keyed) -> None:
    """Who approves what they saw must not approve what took its number meanwhile."""
    with keyed.of("admin") as http:
        http.put("/namespaces/default", json={"needs_approval": True})
    with keyed.of("propose") as http:
        (harmless,) = http.post("/facts", json={"facts": [OTHER]}).json()["proposals"]
        http.delete(f"/proposals/{harmless}")
        harmful = http.patch(f"/facts/{ACME.id}", json={"object": "Oslo"}).json()["proposals"]
        assert harmful == [harmless + 1]
    store = keyed.server.service.store
    store.purge([ACME.id], actor="root", approved_by="somebody else")
    with keyed.of("propose") as http:
        assert http.get("/proposals?state=all").json()["proposals"] == []
        later = http.post("/facts", json={"facts": [OTHER]}).json()["proposals"]
        assert later == [harmless + 2]
    with keyed.of("approve") as http:
        assert http.post(f"/proposals/{harmless}/approve").status_code == 404


def test_spaces_around_a_namespace_make_no_other_one(keyed: Keyed) -> None:
    with keyed.of("admin") as http:
        told = http.put("/namespaces/%20default%20", json={"needs_approval": True}).json()
        assert told == {"name": "default", "needs_approval": True}
        spaced = OTHER | {"namespace": " default "}
        assert http.post("/facts", json={"facts": [spaced]}).status_code == 202
        key = {"name": "new", "role": "read", "namespaces": [" places"]}
        keyed.tokens["new"] = http.post("/keys", json=key).json()["token"]
    with keyed.of("new") as http:
        assert [fact["id"] for fact in http.get("/facts").json()["facts"]] == [BASEL.id]
    with pytest.raises(BadInput, match="has spaces around it"):
        keyed.server.service.store.add([Fact(**OTHER, namespace="default ")])


def test_keys_never_reach_the_log(keyed: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for name, token in keyed.tokens.items():
            with keyed.of(name) as http:
                http.get("/facts", params={"search": "x"})
                http.get(f"/why/{token}")
    assert "/facts" in caplog.text
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("revisor"))
    for token in keyed.tokens.values():
        assert token.split("-")[2] not in ours


@pytest.fixture
def open_server(whole_store: Path, tmp_path: Path) -> Iterator[Running]:
    shutil.copytree(whole_store, tmp_path / "open")
    with Store.open(tmp_path / "open") as store, running(store) as server:
        yield server


def test_an_open_server_does_not_answer_to_other_web_pages_nor_through_proxies(
    open_server: Running,
) -> None:
    port = open_server.url.rsplit(":", 1)[1]
    refused: list[dict[str, str]] = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"origin": "http://127.0.0.1:1"},
        {"host": "evil.example"},
        {"host": "testserver"},
        {"host": "evil.com@localhost"},
        {"host": "localhost#.evil.com"},
        {"host": "[::1"},
        {"host": ""},
        {"sec-fetch-site": "cross-site"},
        {"x-forwarded-for": "10.1.2.3"},
        {"x-real-ip": "10.1.2.3"},
        {"forwarded": "for=10.1.2.3"},
        {"via": "1.1 proxy"},
    ]
    with open_server.client() as http:
        for headers in refused:
            answer = http.post("/facts", json={"facts": [OTHER]}, headers=headers)
            assert answer.status_code == 403, headers
        for headers in (
            {"origin": open_server.url},
            {"host": f"localhost:{port}"},
            {"host": f"[::1]:{port}"},
        ):
            assert http.get("/facts", headers=headers).status_code == 200, headers


def test_a_key_that_is_made_at_the_terminal_closes_an_open_server(open_server: Running) -> None:
    with open_server.client() as http:
        assert http.get("/facts").status_code == 200
        database = Database.of(open_server.service.store)
        KeyBook(database).make("mona", Role.admin)
        database.close()
        assert http.get("/facts").status_code == 401
