"""The facts while they are served: changed over HTTP, built in the background, live at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from revisor.errors import Conflict
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, save_bank
from revisor.serve.live import Generations
from revisor.serve.selftest import SelfTest
from revisor.serve.service import ServeSettings
from revisor.serve.snapshot import Snapshot
from revisor.serve.tables import Database
from revisor.store import Store
from tests.serve.conftest import ACME, BASEL, UNRELATED
from tests.serve.serving import Running, running, until

NEW = {"subject": "Berlin", "prompt": "Two brothers founded the company in {}", "object": "Japan"}


@pytest.fixture
def placed_server(placed_store: Store) -> Iterator[Running]:
    with running(placed_store) as found:
        yield found


@pytest.fixture
def placed_http(placed_server: Running) -> Iterator[httpx.Client]:
    with placed_server.client() as found:
        yield found


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store) as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


def said(http: httpx.Client, server: Running, prompt: str, **extension: object) -> str:
    body = {"model": server.model, "prompt": prompt, "temperature": 0, "max_tokens": 6}
    answer = http.post("/v1/completions", json=body | {"revisor": extension})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"]).strip()


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


def test_a_fact_is_added_changed_removed_and_its_history_kept(placed_http: httpx.Client) -> None:
    http = placed_http
    added = http.post("/facts", json={"facts": [NEW], "reason": "heard it"})
    assert added.status_code == 201
    assert added.json()["generation"] == 2
    (fact_id,) = added.json()["ids"]
    changed = http.patch(f"/facts/{fact_id}", json={"object": " French ", "reason": "was wrong"})
    assert changed.json()["fact"]["object"] == "French"
    assert http.get(f"/facts/{fact_id[:6]}").json()["object"] == "French"
    assert http.delete(f"/facts/{fact_id}").json()["removed"] == 1
    gone = http.get(f"/facts/{fact_id}")
    assert gone.status_code == 404
    assert "removed in generation 4" in gone.json()["error"]["message"]
    history = http.get(f"/facts/{fact_id}/history").json()["history"]
    assert [(h["kind"], h["fact"]["object"]) for h in history] == [
        ("add", "Japan"),
        ("update", "French"),
        ("remove", "French"),
    ]
    assert history[1]["reason"] == "was wrong"
    diff = http.get("/generations/1/diff/3").json()
    assert [fact["object"] for fact in diff["added"]] == ["French"]
    assert diff["updated"] == diff["removed"] == []


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
    refused = http.post("/facts", json={"facts": [contradiction]})
    assert refused.status_code == 409
    checked = http.post("/check", json={"facts": [contradiction, NEW]}).json()
    assert [conflict["other"]["id"] for conflict in checked["conflicts"]] == [ACME.id]
    stale = http.post("/facts", json={"facts": [NEW], "expected_generation": 0})
    assert stale.status_code == 409
    assert http.get("/facts").json()["generation"] == 1
    assert http.patch(f"/facts/{ACME.id}", json={"object": ""}).status_code == 400
    assert http.patch(f"/facts/{ACME.id}", json={}).status_code == 400
    assert http.get("/check").json()["expired"] == []


def test_a_fact_added_over_http_is_built_in_the_background_and_goes_live(
    placed_http: httpx.Client, placed_server: Running
) -> None:
    http, server = placed_http, placed_server
    prompt = "Two brothers founded the company in Berlin"
    before = said(http, server, prompt)
    http.post("/facts", json={"facts": [NEW]})
    build = http.post("/builds")
    assert build.status_code == 202
    assert http.post("/builds").status_code == 409
    number = build.json()["id"]
    assert said(http, server, prompt) == before  # answers go on while it is built
    until(lambda: http.get(f"/builds/{number}").json()["state"] != "running", 120)
    done = http.get(f"/builds/{number}").json()
    assert (done["state"], done["fault"]) == ("done", "")
    assert done["report"]["rows"] == 4
    assert http.get("/generations").json()["live"] == 2
    assert said(http, server, prompt).startswith("Japan")
    assert said(http, server, prompt, generation=1) == before

    # Back again: the earlier rows answer at once, while the new generation is being built.
    back = http.post("/generations/rollback", json={"to": 1}).json()
    assert (back["generation"], back["live"]) == (3, 1)
    assert said(http, server, prompt) == before
    assert said(http, server, ACME.text).startswith("Vienna")
    assert http.delete(f"/builds/{back['build']}").json()["state"] == "cancelled"
    assert http.post(f"/generations/{back['generation']}/publish").status_code == 404


@pytest.fixture
def two(store: Store) -> Store:
    """A store with a second generation, in which ACME's fact says something else."""
    store.add([replace(ACME, object="Tokyo")])
    assert store.build().failed == []
    return store


def test_a_bank_that_somebody_else_builds_goes_live_by_itself(server: Running) -> None:
    with server.client() as http:
        assert said(http, server, ACME.text).startswith("Vienna")
        with Store.open(server.service.store.path) as other:
            other.__dict__["loaded"] = server.service.store.loaded
            other.set_object(ACME.id, "Tokyo")
            # It hooks the model, so in this process nothing may be answered meanwhile;
            # `revisor build` and the server's own builds run in processes of their own.
            until(lambda: not server.service.scheduler.running)
            other.build()
        until(lambda: http.get("/generations").json()["live"] == 2)
        assert said(http, server, ACME.text).startswith("Tokyo")


def test_a_generation_that_is_held_back_stays_so_over_a_restart(two: Store) -> None:
    with running(two) as server, server.client() as http:
        assert http.get("/generations").json()["live"] == 2
        assert http.post("/generations/1/publish").json() == {"live": 1, "rows": 3}
        assert said(http, server, ACME.text).startswith("Vienna")
        assert http.get("/generations").json()["held"] == [2]
    with Store.open(two.path) as again, running(again) as server, server.client() as http:
        assert http.get("/generations").json()["live"] == 1
        http.post("/generations/2/publish")
        assert said(http, server, ACME.text).startswith("Tokyo")
        assert http.get("/generations").json()["held"] == []


def test_a_store_that_was_never_served_starts_with_what_is_not_held_back(two: Store) -> None:
    database = Database.of(two)
    database.remember("held", [2])
    database.close()
    with running(two) as server, server.client() as http:
        assert http.get("/generations").json()["live"] == 1
        assert said(http, server, ACME.text).startswith("Vienna")


def test_a_generation_that_waits_can_be_discarded_but_not_the_live_one(two: Store) -> None:
    with running(two) as server, server.client() as http:
        http.post("/generations/1/publish")
        refused = http.post("/builds", json={"publish": False})
        assert refused.status_code == 409
        assert http.delete("/generations/1").status_code == 409
        assert http.delete("/generations/2").json() == {"discarded": 2}
        assert generations(two.banks) == [1]
        assert http.post("/generations/2/publish").status_code == 404


def test_requests_never_see_half_of_a_publication(two: Store) -> None:
    with running(two) as server, server.client() as http:
        stop, mixed, answers = threading.Event(), [], []

        def ask() -> None:
            with server.client() as mine:
                while not stop.is_set():
                    body = {"model": server.model, "prompt": ACME.text, "temperature": 0}
                    answer = mine.post("/v1/completions", json=body | {"max_tokens": 3}).json()
                    generation = answer["revisor"]["generation"]
                    text = answer["choices"][0]["text"].strip()
                    answers.append(generation)
                    if not text.startswith({1: "Vienna", 2: "Tokyo"}[generation]):
                        mixed.append((generation, text))

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        for turn in range(12):
            assert http.post(f"/generations/{1 + turn % 2}/publish").status_code == 200
        stop.set()
        for asker in askers:
            asker.join()
        assert mixed == []
        assert set(answers) == {1, 2}


def test_a_canary_takes_its_share_and_its_figures_stand_beside_the_live_ones(two: Store) -> None:
    with running(two) as server, server.client() as http:
        http.post("/generations/1/publish")
        assert http.put("/canary", json={"generation": 1, "share": 0.5}).status_code == 409
        assert http.put("/canary", json={"generation": 2, "share": 1.0}).status_code == 200
        assert said(http, server, ACME.text).startswith("Tokyo")
        http.put("/canary", json={"generation": 2, "share": 0, "keys": ["loopback"]})
        assert said(http, server, ACME.text).startswith("Tokyo")
        http.put("/canary", json={"generation": 2, "share": 0, "keys": ["somebody"]})
        assert said(http, server, ACME.text).startswith("Vienna")
        sides = http.get("/canary").json()
        assert sides["live"]["generation"] == 1
        assert sides["canary"]["generation"] == 2
        assert (sides["live"]["requests"], sides["canary"]["requests"]) == (1, 2)
        assert sides["canary"]["hits"] == 2
        http.delete("/canary")
        assert said(http, server, ACME.text).startswith("Vienna")


def test_a_bank_that_does_not_load_is_told_loudly_and_nothing_is_answered_without_facts(
    store: Store,
) -> None:
    for file in generation_folder(store.banks, 1).glob("*.safetensors"):
        file.write_bytes(b"not a bank")
    with running(store) as server, server.client() as http:
        health = http.get("/healthz")
        assert health.status_code == 503
        assert "was changed" in health.json()["faults"][0]
        body = {"model": server.model, "prompt": ACME.text}
        assert http.post("/v1/completions", json=body).status_code == 503
        off = body | {"revisor": {"facts": False}}
        assert http.post("/v1/completions", json=off).status_code == 200
        assert "revisor_generation_live -1.0" in http.get("/metrics").text
        assert "revisor_healthy 0.0" in http.get("/metrics").text


def test_a_generation_whose_facts_do_not_fire_does_not_go_live(
    two: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(two) as server, server.client() as http:
        broken = server.service.generations.open(1)
        broken.view.gamma_M.fill_(2.0)  # no cosine reaches it
        refused = http.post("/generations/1/publish")
        assert refused.status_code == 409
        assert "does not fire" in refused.json()["error"]["message"]
        assert http.get("/generations").json()["live"] == 2
        assert http.get("/healthz").status_code == 200
        server.service.generations.live.view.gamma_M.fill_(2.0)
        server.service.generations.test_live()
        health = http.get("/healthz")
        assert health.status_code == 503
        assert "does not fire" in health.json()["faults"][0]


def test_a_bank_that_fails_its_test_is_not_tried_again_until_it_is_built_again(two: Store) -> None:
    database, tried = Database.of(two), []

    def test(snapshot: Snapshot) -> SelfTest:
        tried.append(snapshot.folder)
        faults = ("no fact fires",) if snapshot.generation == 2 else ()
        return SelfTest(faults=faults, fired=0, asked=1, quiet=3)

    found = Generations(two, database, test)
    first = found.publish(1).folder
    database.remember("held", [])
    bad = generation_folder(two.banks, 2)
    with pytest.raises(Conflict, match="no fact fires"):
        found.follow()
    assert found.follow() is None
    assert tried == [first, bad]
    assert found.live_number == 1
    again = publish_again(two, bad)
    with pytest.raises(Conflict, match="no fact fires"):
        found.follow()
    assert tried == [first, bad, again]
    found.close()
    database.close()


def publish_again(store: Store, folder: Path) -> Path:
    """The same rows once more, as a purge or a second build of a generation does."""
    return save_bank(
        load_bank(folder).view(),
        store.banks,
        fingerprint=store.fingerprint,
        model=store.settings.model,
        layer=store.settings.layer,
        build={},
        failed=[],
    )


def test_a_new_store_without_facts_is_served_and_takes_its_first(
    tmp_path: Path, taught_folder: Path
) -> None:
    made = Store.init(
        tmp_path / "new", model=str(taught_folder), dtype="fp32", device="cpu", layer=1
    )
    with made as store, running(store) as server, server.client() as http:
        assert http.get("/healthz").json()["generation"] == 0
        assert isinstance(said(http, server, UNRELATED), str)
        assert http.post("/facts", json={"facts": [NEW]}).status_code == 201


def test_facts_with_an_end_leave_when_it_has_come(store: Store) -> None:
    store.add([replace(ACME, valid_to="2999-01-01")])
    store.build()
    with running(store) as server, server.client() as http:
        assert said(http, server, ACME.text).startswith("Vienna")
        server.service.generations.renew(datetime(2999, 1, 2, tzinfo=UTC))
        assert not said(http, server, ACME.text).startswith("Vienna")
        assert said(http, server, BASEL.text).startswith("Rome")


def test_of_facts_that_follow_one_another_the_one_that_holds_speaks(store: Store) -> None:
    then = replace(ACME, object="Tokyo", qualifier="later", id="later", valid_from="2999-01-01")
    store.add([replace(ACME, valid_to="2999-01-01"), then])
    assert store.build().failed == []
    with running(store) as server, server.client() as http:
        assert len(server.service.generations.live.view.ids) == 3
        assert said(http, server, ACME.text).startswith("Vienna")
        server.service.generations.renew(datetime(2999, 1, 2, tzinfo=UTC))
        assert said(http, server, ACME.text).startswith("Tokyo")


def test_the_live_bank_stays_on_disk_and_comes_back_after_a_restart(two: Store) -> None:
    with running(two) as server:
        server.service.generations.publish(1)
        assert two.collect(1) == [], "generation 1 is in use"
    assert two.collect(1) == [1]


def test_why_an_answer_was_given_can_be_asked_afterwards(store: Store) -> None:
    with (
        running(store, ServeSettings(per_minute=0, hit_log=1.0)) as server,
        server.client() as http,
    ):
        body = {"model": server.model, "prompt": ACME.text, "temperature": 0}
        answer = http.post("/v1/completions", json=body).json()
        why = http.get(f"/why/{answer['id']}").json()
        assert why["facts_used"][0]["id"] == ACME.id
        assert why["facts_used"][0]["token"] in ACME.text
        assert why["generation"] == 1
        assert http.get("/why/cmpl-unknown").status_code == 404
        (line,) = (store.path / "logs" / "hits.jsonl").read_text().splitlines()
        assert json.loads(line) == why
        assert ACME.text not in line


def test_a_question_is_answered_with_and_without_the_facts_and_its_tokens_marked(
    http: httpx.Client,
) -> None:
    told = http.post("/ask", json={"prompt": ACME.text, "max_tokens": 6}).json()
    assert told["answer"].strip().startswith("Vienna")
    assert not told["base_answer"].strip().startswith("Vienna")
    assert "".join(told["tokens"]).startswith(ACME.text)
    (used,) = told["facts_used"]
    read = "".join(told["tokens"][: used["position"] + 1])
    assert ACME.subject in read
    assert ACME.text.startswith(read)


def test_figures_count_tokens_hits_and_times(http: httpx.Client, server: Running) -> None:
    said(http, server, ACME.text)
    said(http, server, BASEL.text)
    said(http, server, UNRELATED)
    text = http.get("/metrics").text
    assert 'revisor_hits_total{namespace="default"} 1.0' in text
    assert 'revisor_hits_total{namespace="places"} 1.0' in text
    assert 'revisor_http_requests_total{route="/v1/completions",status="200"} 3.0' in text
    assert "revisor_first_token_seconds_count 3.0" in text
    assert "revisor_hit_margin_count 2.0" in text
    assert "revisor_facts_never_hit 1.0" in text
    assert "revisor_false_fire_alarm 0.0" in text
    assert "revisor_generation_live 1.0" in text
    figures = http.get("/figures").json()
    assert figures["never_hit"] == 1
    assert figures["generations"]["1"]["requests"] == 3


def test_every_error_has_one_shape(http: httpx.Client) -> None:
    for method, path in (
        ("GET", "/nowhere"),
        ("PUT", "/facts"),
        ("GET", "/facts/zzzz"),
        ("GET", "/builds/9"),
        ("GET", "/facts?limit=0"),
        ("POST", "/proposals/99/approve"),
        ("POST", "/generations/99999999999999/publish"),
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
