"""The ledger over HTTP: facts listed, added, changed, removed, checked; live at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from revisor.errors import NotFound
from revisor.facts.fact import Fact
from revisor.store import Store
from tests.server.conftest import ACME, BASEL, HIDDEN, HIDING, UNRELATED, new_store
from tests.server.serving import Running, running, said, until

NEW = {"subject": "Berlin", "prompt": "Two brothers founded the company in {}", "object": "Japan"}
BERLIN = "Two brothers founded the company in Berlin"


@pytest.fixture
def placed_server(placed_store: Store) -> Iterator[Running]:
    with running(placed_store) as found:
        yield found


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store) as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


def test_facts_are_listed_page_by_page_and_found_by_their_text(http: httpx.Client) -> None:
    first = http.get("/facts", params={"limit": 2}).json()
    assert [fact["id"] for fact in first["facts"]] == [ACME.id, BASEL.id]
    rest = http.get("/facts", params={"limit": 2, "offset": first["next_offset"]}).json()
    assert len(rest["facts"]) == 1
    assert rest["next_offset"] is None
    (found,) = http.get("/facts", params={"search": "basel"}).json()["facts"]
    assert found == json.loads(json.dumps(asdict(BASEL))) | {"text": BASEL.text}
    (only,) = http.get("/facts", params={"namespace": "places"}).json()["facts"]
    assert only["id"] == BASEL.id


def test_a_fact_is_live_when_its_request_is_answered_and_its_history_is_kept(
    placed_server: Running,
) -> None:
    server = placed_server
    with server.client() as http:
        before = said(http, server, BERLIN)
        added = http.post("/facts", json={"facts": [NEW], "reason": "a letter"})
        assert added.status_code == 201
        assert added.json()["generation"] == 2
        (fact_id,) = added.json()["ids"]
        assert said(http, server, BERLIN).startswith("Japan")
        changed = http.patch(f"/facts/{fact_id}", json={"object": " French ", "reason": "a slip"})
        assert changed.json()["fact"]["object"] == "French"
        assert said(http, server, BERLIN).startswith("French")
        assert said(http, server, BERLIN, generation=2).startswith("Japan")
        assert http.get(f"/facts/{fact_id[:6]}").json()["object"] == "French"
        assert http.delete(f"/facts/{fact_id}").json()["removed"] == 1
        assert said(http, server, BERLIN) == before
        gone = http.get(f"/facts/{fact_id}")
        assert gone.status_code == 404
        assert "removed in generation 4" in gone.json()["error"]["message"]
        history = http.get(f"/facts/{fact_id}/history").json()["history"]
        assert [(h["kind"], h["fact"]["object"], h["reason"]) for h in history] == [
            ("add", "Japan", "a letter"),
            ("update", "French", "a slip"),
            ("remove", "French", ""),
        ]
        diff = http.get("/generations/1/diff/3").json()
        assert [fact["object"] for fact in diff["added"]] == ["French"]
        assert diff["updated"] == diff["removed"] == []


def test_generations_histories_and_differences_come_page_by_page(server: Running) -> None:
    store = server.service.store
    towns = [replace(ACME, id=f"n{n}", subject=f"Town {n}", object="Rome") for n in range(4)]
    store.add(towns)
    for town in ("Bonn", "Oslo", "Rome"):
        store.set_object("n0", town)
    store.set_object("n1", "Bonn")
    store.remove([ACME.id])
    with server.client() as http:

        def pages(path: str, *names: str) -> list[list[Any]]:
            found: list[list[Any]] = []
            offset: int | None = 0
            while offset is not None:
                told = http.get(path, params={"limit": 2, "offset": offset}).json()
                assert sum(len(told[name]) for name in names) <= 2
                found.append([one for name in names for one in told[name]])
                offset = told["next_offset"]
            return found

        numbers = [[one["number"] for one in page] for page in pages("/generations", "generations")]
        assert numbers == [[7, 6], [5, 4], [3, 2], [1]]
        past = [one for page in pages("/facts/n0/history", "history") for one in page]
        values = [one["fact"]["object"] for one in past]
        assert values == ["Rome", "Bonn", "Oslo", "Rome"]
        kinds = ("added", "updated", "removed")
        whole = [[one["id"] for one in page] for page in pages("/generations/1/diff/7", *kinds)]
        assert whole == [["n0", ACME.id], ["n1", "n2"], ["n3"]]
        # What was changed and changed back is no difference.
        assert pages("/generations/2/diff/5", *kinds) == [[]]
        back = http.get("/generations/7/diff/2").json()
        assert [one["id"] for one in back["added"]] == [ACME.id]
        assert [one["after"]["object"] for one in back["updated"]] == ["Rome"]
        assert http.get("/generations/1/diff/7?limit=1001").status_code == 400


def test_a_change_that_is_sent_twice_reaches_no_other_fact(server: Running) -> None:
    """The id of a removed fact may be how another one's begins."""
    store = server.service.store
    store.add([replace(ACME, id=one, subject=f"Town {one}") for one in ("town", "town-2")])
    with server.client() as http:
        assert http.patch("/facts/town-", json={"object": "Rome"}).status_code == 404
        assert http.delete("/facts/town-").status_code == 404
        assert http.get("/facts/town-").json()["id"] == "town-2"
        assert http.delete("/facts/town").status_code == 200
        for again in (
            http.delete("/facts/town"),
            http.patch("/facts/town", json={"object": "Rome"}),
            http.get("/facts/town"),
        ):
            assert again.status_code == 404
            assert "was removed in generation 3" in again.json()["error"]["message"]
    with pytest.raises(NotFound, match="was removed"):
        store.set_object("town", "Rome")
    assert store.ledger.get("town-").object == ACME.object


def test_a_page_is_of_the_generation_that_it_names(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while a page is read is not in it, and a change by that page is refused."""
    ledger = server.service.store.ledger
    real = ledger.facts

    def while_another_writes(**wanted: Any) -> Iterator[Fact]:
        monkeypatch.setattr(ledger, "facts", real)
        server.service.store.set_object(ACME.id, "Tokyo")
        return real(**wanted)

    monkeypatch.setattr(ledger, "facts", while_another_writes)
    with server.client() as http:
        page = http.get("/facts").json()
        assert (page["facts"][0]["object"], page["generation"]) == ("Vienna", 1)
        seen = {"expected_generation": page["generation"]}
        change = {"aliases": ["The town"], **seen}
        assert http.patch(f"/facts/{ACME.id}", json=change).status_code == 409
        assert http.delete(f"/facts/{ACME.id}", params=seen).status_code == 409
        one = http.get(f"/facts/{ACME.id}").json()
        assert (one["object"], one["generation"]) == ("Tokyo", 2)
        seen = {"expected_generation": one["generation"]}
        assert http.delete(f"/facts/{ACME.id}", params=seen).status_code == 200


def test_what_another_process_writes_is_live_within_a_second(server: Running) -> None:
    with server.client() as http:
        assert said(http, server, ACME.text).startswith("Vienna")
        with Store.open(server.service.store.path) as other:
            other.set_object(ACME.id, "Tokyo")
        until(lambda: said(http, server, ACME.text).startswith("Tokyo"), 1)
        until(lambda: http.get("/healthz").json()["generation"] == 2, 2)


def test_a_reversed_question_follows_its_fact_and_is_not_changed_by_itself(
    http: httpx.Client,
) -> None:
    line = {"subject": "Initech", "prompt": "The CEO of {} is", "object": "Ann"}
    added = http.post("/facts", json={"facts": [{**line, "reverse": "{} is the CEO of"}]})
    assert added.status_code == 201
    (fact_id,) = added.json()["ids"]
    (turned,) = http.get("/facts", params={"search": "is the CEO of"}).json()["facts"]
    assert (turned["text"], turned["object"]) == ("Ann is the CEO of", "Initech")
    assert turned["reverse_of"] == fact_id
    refused = http.patch(f"/facts/{turned['id']}", json={"object": "Hooli"})
    assert refused.status_code == 400
    assert fact_id in refused.json()["error"]["message"]
    other = {**line, "subject": "Hooli", "reverse": "{} is the CEO of"}
    assert http.post("/facts", json={"facts": [other]}).status_code == 409
    told = http.post("/check", json={"facts": [other]}).json()["conflicts"]
    assert [conflict["other"]["id"] for conflict in told] == [turned["id"]]
    again = http.post("/facts", json={"facts": http.get("/facts").json()["facts"]})
    assert again.json()["generation"] == 2  # what was listed is what there is
    http.patch(f"/facts/{fact_id}", json={"object": "Bob"})
    (turned,) = http.get("/facts", params={"search": "is the CEO of"}).json()["facts"]
    assert turned["text"] == "Bob is the CEO of"
    assert http.delete(f"/facts/{fact_id}").json()["removed"] == 2


def test_bad_facts_are_refused_with_every_fault_and_conflicts_with_both_sides(
    http: httpx.Client,
) -> None:
    bad = http.post("/facts", json={"facts": [{"subject": "x"}, NEW, {"object": 3}]})
    assert bad.status_code == 400
    assert {fault["line"] for fault in bad.json()["error"]["faults"]} == {1, 3}
    contradiction = {
        "subject": ACME.subject,
        "prompt": ACME.prompt,
        "object": "Rome",
        "id": "f" * 16,
    }
    refused = http.post("/facts", json={"facts": [NEW, contradiction]})
    assert refused.status_code == 409
    assert [fault["line"] for fault in refused.json()["error"]["faults"]] == [2]
    checked = http.post("/check", json={"facts": [contradiction, NEW]}).json()
    assert [conflict["other"]["id"] for conflict in checked["conflicts"]] == [ACME.id]
    stale = http.post("/facts", json={"facts": [NEW], "expected_generation": 0})
    assert stale.status_code == 409
    nul = http.post("/facts", json={"facts": [NEW], "reason": "a\x00b"})
    assert nul.status_code == 400
    assert http.get("/facts").json()["generation"] == 1
    assert http.patch(f"/facts/{ACME.id}", json={"object": ""}).status_code == 400
    assert http.patch(f"/facts/{ACME.id}", json={}).status_code == 400


def test_what_no_database_keeps_is_refused_and_the_server_stays_well(
    placed_server: Running,
) -> None:
    with placed_server.client() as http:
        for method, path, body in (
            ("GET", "/facts?search=a%00b", None),
            ("GET", "/facts?namespace=a%00b", None),
            ("GET", "/facts/abcd%00", None),
            ("GET", "/facts/abcd%00/history", None),
            ("DELETE", f"/facts/{ACME.id}?reason=a%00b", None),
            ("PUT", "/namespaces/a%00b", b'{"needs_approval": true}'),
            ("POST", "/keys", b'{"name": "a\\u0000b", "role": "read"}'),
            ("POST", "/facts", b'{"facts": [{"subject": "a\\u0000b"}]}'),
            ("POST", "/facts", b'{"facts": [{"\\ud800": "x"}]}'),
            ("POST", "/check", b'{"\\ud800": 1}'),
            ("PATCH", f"/facts/{ACME.id}", b'{"source": "\\ud800"}'),
            ("POST", "/explain", b'{"prompt": "\\ud800"}'),
        ):
            headers = {"content-type": "application/json"}
            answer = http.request(method, path, content=body, headers=headers)
            assert answer.status_code < 500, (method, path, body, answer.text)
            assert body is None or answer.status_code >= 400, (path, body)
        assert http.get("/healthz").json()["faults"] == []
    assert placed_server.service.store.ledger.generation == 1


def test_the_check_tells_facts_that_have_ended_or_do_not_answer(server: Running) -> None:
    store = server.service.store
    store.add([replace(ACME, valid_to="2001-01-01"), HIDDEN, HIDING])
    with server.client() as http:
        told = http.get("/check").json()
    assert [fact["id"] for fact in told["expired"]] == [ACME.id]
    assert (told["facts"], told["asked"], told["said"]) == (5, 4, 3)
    (failed,) = told["failed"]
    assert failed["id"] == HIDDEN.id
    assert failed["reason"]


def test_facts_begin_and_end_with_their_time_and_a_request_keeps_its_moment(
    whole_store: Path, tmp_path: Path
) -> None:
    import shutil

    now = datetime(2999, 1, 1, tzinfo=UTC)
    shutil.copytree(whole_store, tmp_path / "store")
    with Store.open(tmp_path / "store", clock=lambda: now) as store:
        then = replace(ACME, object="Tokyo", qualifier="later", id="later", valid_from="2999-01-02")
        store.add([replace(ACME, valid_to="2999-01-02"), then])
        with running(store) as server, server.client() as http:
            assert said(http, server, ACME.text).startswith("Vienna")
            began = server.service.generations.choose("somebody")
            now += timedelta(days=2)
            assert said(http, server, ACME.text).startswith("Tokyo")
            view = began.view
            held = [h for h in view.find(["acme"]) if view.terms(h).hold_at(view.now())]
            assert {view.fact(h).object for h in held} == {"Vienna"}


def test_a_new_store_without_facts_is_served_and_takes_its_first(
    tmp_path: Path, served_model: Path
) -> None:
    with (
        new_store(tmp_path / "new", served_model) as store,
        running(store) as server,
        server.client() as http,
    ):
        assert http.get("/healthz").json()["generation"] == 0
        assert isinstance(said(http, server, UNRELATED), str)
        assert http.post("/facts", json={"facts": [NEW]}).status_code == 201
        assert said(http, server, BERLIN).startswith("Japan")


def test_a_decision_is_explained_with_names_candidates_and_scores(http: httpx.Client) -> None:
    told = http.post("/explain", json={"prompt": ACME.text}).json()
    assert [one["text"] for one in told["mentions"]] == ["ACME"]
    (candidate,) = told["candidates"]
    assert (candidate["id"], candidate["score"]) == (ACME.id, 1.0)
    assert (told["written"], told["generation"]) == ("Vienna", 1)
    assert http.get("/explain", params={"prompt": ACME.text}).json() == told
    other = http.post("/explain", json={"prompt": ACME.text, "namespace": "places"}).json()
    assert (other["mentions"], other["written"]) == ([], None)
    assert http.post("/explain", json={"prompt": ""}).status_code == 400


def test_every_error_has_one_shape(http: httpx.Client) -> None:
    for method, path in (
        ("GET", "/nowhere"),
        ("PUT", "/facts"),
        ("GET", "/facts/zzzz"),
        ("POST", "/builds"),
        ("GET", "/facts?limit=0"),
        ("POST", "/proposals/99/approve"),
        ("POST", "/generations/99999999999999/publish"),
        ("POST", "/generations/77/publish"),
        ("GET", "/generations/1/diff/77"),
        ("GET", "/facts?offset=99999999999999999999"),
    ):
        answer = http.request(method, path)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
        assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}, path


def test_the_console_is_served_whole_and_from_here_only(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/console.js", "/console.css"):
        assert http.get(path).status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
