"""Which generation is live, what is tried, and what every server of a store agrees on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from revisor.store import Store
from tests.server.conftest import ACME, HIDDEN, HIDING
from tests.server.serving import Running, running, said, until


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    """A store with a second generation, in which ACME's fact says something else."""
    store.add([replace(ACME, object="Tokyo")])
    with running(store) as found:
        yield found


def test_an_older_generation_is_live_until_the_newest_is_published(server: Running) -> None:
    ledger = server.service.store.ledger
    with server.client() as http:
        told = http.post("/generations/1/publish", json={"reason": "a scare"})
        assert told.json() == {"live": 1, "pinned": True}
        assert said(http, server, ACME.text).startswith("Vienna")
        assert said(http, server, ACME.text, generation=2).startswith("Tokyo")
        # What is added now waits.
        http.patch(f"/facts/{ACME.id}", json={"object": "Bonn"})
        assert said(http, server, ACME.text).startswith("Vienna")
        listed = http.get("/generations").json()
        assert (listed["live"], listed["newest"], listed["pinned"]) == (1, 3, True)
        assert http.post("/generations/3/publish").json() == {"live": 3, "pinned": False}
        assert said(http, server, ACME.text).startswith("Bonn")
    assert [e.actor for e in ledger.events() if e.kind == "publish"] == ["loopback"] * 2


def test_several_servers_of_a_store_agree_and_so_does_a_restart(server: Running) -> None:
    with Store.open(server.service.store.path) as store, running(store) as other:
        with server.client() as http:
            http.post("/generations/1/publish")
        with other.client() as http:
            until(lambda: said(http, other, ACME.text).startswith("Vienna"), 1)
        with other.client() as http:
            http.post("/generations/2/publish")
        with server.client() as http:
            until(lambda: said(http, server, ACME.text).startswith("Tokyo"), 1)
            http.post("/generations/1/publish")
    with Store.open(server.service.store.path) as store, running(store) as again:
        assert again.service.live == 1


def test_a_rollback_is_live_at_once_and_nothing_is_forgotten(server: Running) -> None:
    with server.client() as http:
        back = http.post("/generations/rollback", json={"to": 1, "reason": "it was wrong"})
        assert back.json() == {"generation": 3, "live": 3}
        assert said(http, server, ACME.text).startswith("Vienna")
        assert said(http, server, ACME.text, generation=2).startswith("Tokyo")
        assert http.post("/generations/rollback", json={"to": 77}).status_code == 404


def test_requests_never_see_half_of_a_publication(server: Running) -> None:
    stop, mixed, answers = threading.Event(), [], []

    def ask() -> None:
        with server.client() as mine:
            while not stop.is_set():
                body = {"model": server.model, "prompt": ACME.text, "temperature": 0}
                answer = mine.post("/v1/completions", json=body | {"max_tokens": 3}).json()
                generation = answer["revisor"]["generation"]
                text = answer["choices"][0]["text"].strip()
                answers.append(generation)
                if not text.startswith({1: "Vienna"[:2], 2: "Tokyo"[:2]}[generation]):
                    mixed.append((generation, text))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    with server.client() as http:
        for turn in range(10):
            assert http.post(f"/generations/{1 + turn % 2}/publish").status_code == 200
    stop.set()
    for asker in askers:
        asker.join()
    assert mixed == []
    assert set(answers) == {1, 2}


def test_a_canary_takes_its_share_and_its_figures_stand_beside_the_live_ones(
    server: Running,
) -> None:
    with server.client() as http:
        http.post("/generations/1/publish")
        assert http.put("/canary", json={"generation": 1, "share": 0.5}).status_code == 409
        assert http.put("/canary", json={"generation": 77, "share": 0.5}).status_code == 404
        assert http.put("/canary", json={"generation": 2, "share": 1.0}).status_code == 200
        assert said(http, server, ACME.text).startswith("Tokyo")
        http.put("/canary", json={"generation": 2, "share": 0, "keys": ["loopback"]})
        assert said(http, server, ACME.text).startswith("Tokyo")
        unknown = http.put("/canary", json={"generation": 2, "keys": ["loopback", "somebody"]})
        assert unknown.status_code == 404
        assert "no key named 'somebody'" in unknown.json()["error"]["message"]
        assert http.get("/canary").json()["keys"] == ["loopback"]
        http.put("/canary", json={"generation": 2, "share": 0})
        assert said(http, server, ACME.text).startswith("Vienna")
        sides = http.get("/canary").json()
        assert sides["live"]["generation"] == 1
        assert sides["canary"]["generation"] == 2
        assert (sides["live"]["requests"], sides["canary"]["requests"]) == (1, 2)
        assert sides["canary"]["facts_used"] == 2
        http.delete("/canary")
        assert said(http, server, ACME.text).startswith("Vienna")


def test_a_generation_whose_facts_do_not_answer_is_not_published(store: Store) -> None:
    store.add([HIDDEN, HIDING])
    store.remove([HIDDEN.id])
    with running(store) as server, server.client() as http:
        assert http.post("/generations/1/publish").status_code == 200
        refused = http.post("/generations/2/publish")
        assert refused.status_code == 409
        assert HIDDEN.id in refused.json()["error"]["message"]
        assert http.get("/generations").json()["live"] == 1
        assert http.put("/canary", json={"generation": 2, "share": 0.5}).status_code == 409
        assert http.post("/generations/2/publish", json={"force": True}).status_code == 200


def test_a_view_of_any_generation_is_there_without_a_build(store: Store) -> None:
    for number in range(5):
        store.set_object(ACME.id, f"Town {number}")
    with running(store) as server, server.client() as http:
        for number in range(5):
            told = said(http, server, ACME.text, generation=2 + number)
            assert told.startswith("Town")
        body = {"model": server.model, "prompt": ACME.text, "revisor": {"generation": 77}}
        assert http.post("/v1/completions", json=body).status_code == 404
