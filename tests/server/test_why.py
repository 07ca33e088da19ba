"""The facts behind an answer: asked afterwards, logged, and gone with a purge."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from revisor.errors import NotFound
from revisor.facts.changes import Put
from revisor.server.roles import ANYBODY, Caller, Role
from revisor.server.settings import ServeSettings
from revisor.server.why import HitLog
from revisor.store import Store
from tests.server.conftest import ACME, BASEL, UNRELATED
from tests.server.serving import Running, running, said, until

LOGGED = ServeSettings(per_minute=0, hit_log=1.0)


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store, LOGGED) as found:
        yield found


def test_why_an_answer_was_given_can_be_asked_afterwards(server: Running) -> None:
    file = server.service.store.path / "logs" / "hits.jsonl"
    with server.client() as http:
        body = {"model": server.model, "prompt": ACME.text, "temperature": 0}
        answer = http.post("/v1/completions", json=body).json()
        why = http.get(f"/why/{answer['id']}").json()
        assert why["facts_used"][0]["id"] == ACME.id
        assert why["generation"] == 1
        assert http.get("/why/cmpl-unknown").status_code == 404
    until(file.exists, 5)
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == why
    assert ACME.text not in line
    assert "The capital of" not in line


def test_figures_count_tokens_facts_and_times(server: Running) -> None:
    with server.client() as http:
        for prompt in (ACME.text, BASEL.text, UNRELATED):
            said(http, server, prompt)
        text = http.get("/metrics").text
        assert 'revisor_facts_used_total{namespace="default"} 1.0' in text
        assert 'revisor_facts_used_total{namespace="places"} 1.0' in text
        assert 'revisor_http_requests_total{route="/v1/completions",status="200"} 3.0' in text
        assert "revisor_first_token_seconds_count 3.0" in text
        assert "revisor_margin_count 2.0" in text
        assert "revisor_facts_used_distinct 2.0" in text
        assert "revisor_generation_live 1.0" in text
        figures = http.get("/figures").json()
        assert (figures["facts"], figures["facts_used"]) == (3, 2)
        assert figures["generations"]["1"]["requests"] == 3


def test_a_purge_reaches_proposals_logs_and_what_the_running_server_remembers(
    server: Running,
) -> None:
    store, desk = server.service.store, server.service.desk
    file = store.path / "logs" / "hits.jsonl"
    with server.client() as http:
        store.ledger.set_policy("default", needs_approval=True, actor=ANYBODY.name)
        desk.change([Put(replace(ACME, object="Quarry"))], ANYBODY, "a rumour")
        answer = ask(http, server, ACME.text)
        other = ask(http, server, BASEL.text)
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 2, 5)
        needles = ("ACME", "Vienna", "Quarry", ACME.id)
        assert len(holders(store, *needles)) > 3, "the search itself works"
        with Store.open(store.path) as another:
            another.purge([ACME.id], actor="ann", approved_by="bob")
        until(lambda: not said(http, server, ACME.text).startswith("Vienna"), 1)
        assert http.get(f"/why/{answer['id']}").status_code == 404
        assert http.get(f"/why/{other['id']}").status_code == 200
        assert desk.proposals(ANYBODY, state=None) == []
        until(lambda: answer["id"] not in server.service.hit_log._latest, 3)
    assert holders(store, *needles) == []
    assert store.verify() == []


def test_what_was_said_before_a_purge_is_forgotten_though_the_fact_is_there_again(
    server: Running,
) -> None:
    store = server.service.store
    file = store.path / "logs" / "hits.jsonl"
    with server.client() as http:
        before = ask(http, server, ACME.text)
        until(lambda: file.exists() and file.read_text().endswith("\n"), 5)
        with Store.open(store.path) as another:
            another.purge([ACME.id], actor="ann")
            another.add([replace(ACME, object="Tokyo")])
        assert http.get(f"/why/{before['id']}").status_code == 404
        until(lambda: said(http, server, ACME.text).startswith("Tokyo"), 1)
        after = ask(http, server, ACME.text)
        assert http.get(f"/why/{after['id']}").json()["facts_used"][0]["object"] == "Tokyo"
    assert holders(store, "Vienna") == []


def ask(http: httpx.Client, server: Running, prompt: str) -> dict[str, Any]:
    body = {"model": server.model, "prompt": prompt, "temperature": 0, "max_tokens": 4}
    return dict(http.post("/v1/completions", json=body).json())


def holders(store: Store, *needles: str) -> list[str]:
    """The files of a store that hold any of the texts."""
    files = [path for path in sorted(store.path.rglob("*")) if path.is_file()]
    return [p.name for p in files for needle in needles if needle.encode() in p.read_bytes()]


# The log alone


def entry(number: int, *fact_ids: str) -> dict[str, Any]:
    used = [{"id": one} for one in fact_ids]
    return {"id": f"a{number}", "key": "mona", "generation": 1, "facts_used": used}


def all_known(_generation: int, ids: Collection[str]) -> Collection[str]:
    return ids


def test_a_disk_that_is_full_costs_lines_and_no_answer(tmp_path: Path) -> None:
    full = tmp_path / "logs"
    full.write_text("a file, where the log wants a folder")
    log = HitLog(full / "hits.jsonl", 1.0, all_known)
    for number in range(5):
        log.add(entry(number, "x"))
    until(lambda: log.lost == 5, 5)
    assert log.get("a4", Caller(name="mona", role=Role.read))["facts_used"] == [{"id": "x"}]
    log.close()


def test_an_answer_that_ends_after_the_purge_of_its_fact_is_not_written(tmp_path: Path) -> None:
    purged: set[str] = set()

    def known(_generation: int, ids: Collection[str]) -> set[str]:
        return set(ids) - purged

    file = tmp_path / "hits.jsonl"
    log = HitLog(file, 1.0, known)
    log.add(entry(1, "x"))
    log.add(entry(2, "y"))
    until(lambda: file.exists() and len(file.read_text().splitlines()) == 2, 5)
    purged.add("x")
    log.forget_purged()
    log.add(entry(3, "x", "y"))
    log.add(entry(4, "y"))
    until(lambda: '"a4"' in file.read_text(), 5)
    log.close()
    kept = [json.loads(line)["id"] for line in file.read_text().splitlines() if line.strip()]
    assert kept == ["a2", "a4"]
    for number in (1, 3):
        with pytest.raises(NotFound):
            log.get(f"a{number}", ANYBODY)


def test_only_whoever_asked_or_an_admin_of_all_reads_why(tmp_path: Path) -> None:
    log = HitLog(tmp_path / "hits.jsonl", 0.0, all_known)
    log.add(entry(1, "x"))
    for caller in (Caller(name="mona", role=Role.read), ANYBODY):
        assert log.get("a1", caller)["id"] == "a1"
    for caller in (
        Caller(name="bob", role=Role.approve),
        Caller(name="bob", role=Role.admin, namespaces=frozenset({"places"})),
    ):
        with pytest.raises(NotFound):
            log.get("a1", caller)
    log.close()
