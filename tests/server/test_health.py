"""Health tells the truth: of the model, of the ledger, of the facts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from revisor.server import service as parts
from revisor.server.settings import ServeSettings
from revisor.store import Store
from tests.server.conftest import ACME, HIDDEN, HIDING, UNRELATED
from tests.server.serving import Running, running, said, until


@pytest.fixture
def server(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(parts, "WATCH_S", 0.05)
    monkeypatch.setattr(parts, "TEST_EVERY_S", 0.3)
    monkeypatch.setattr(parts, "AGAIN_S", 0.3)
    with running(store) as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


def health(http: httpx.Client) -> tuple[int, str]:
    answer = http.get("/healthz")
    return answer.status_code, "; ".join(answer.json()["faults"])


def test_a_model_whose_logits_are_no_numbers_is_told_at_once_and_until_it_is_well(
    server: Running, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health(http) == (200, "")
    model = server.service.store.loaded.model
    forward = model.forward

    def spoilt(**arguments: Any) -> Any:
        out = forward(**arguments)
        out.logits = torch.full_like(out.logits, torch.nan)
        return out

    monkeypatch.setattr(model, "forward", spoilt)
    body = {"model": server.model, "prompt": UNRELATED, "temperature": 0}
    assert http.post("/v1/completions", json=body).status_code == 503
    code, told = health(http)
    assert code == 503
    assert "no numbers" in told
    assert "revisor_healthy 0.0" in http.get("/metrics").text
    monkeypatch.setattr(model, "forward", forward)
    until(lambda: health(http) == (200, ""), 5)  # the server tests itself


def test_a_ledger_that_is_broken_is_told_without_the_places_of_this_machine(
    server: Running, http: httpx.Client
) -> None:
    store = server.service.store
    assert said(http, server, ACME.text).startswith("Vienna")
    file = store.path / "ledger.sqlite"
    size = file.stat().st_size
    store.ledger._engine.dispose()
    server.service.database._engine.dispose()
    with file.open("r+b") as broken:
        broken.write(b"\x00" * size)
    until(lambda: health(http)[0] == 503, 5)
    listed = http.get("/facts")
    assert listed.status_code == 500
    assert str(store.path) not in listed.text


def test_facts_that_do_not_answer_are_told(server: Running, http: httpx.Client) -> None:
    server.service.store.add([HIDDEN, HIDING])
    until(lambda: health(http)[0] == 503, 5)
    assert HIDDEN.id in health(http)[1]
    server.service.store.remove([HIDING.id])
    until(lambda: health(http) == (200, ""), 5)


def test_a_server_stops_within_its_patience_and_tells_whom_it_breaks_off(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(store, ServeSettings(per_minute=0, patience_s=0.5)) as server:
        scheduler = server.service.scheduler
        forward = scheduler.loaded.model.forward
        monkeypatch.setattr(
            scheduler.loaded.model,
            "forward",
            lambda **arguments: (time.sleep(0.2), forward(**arguments))[1],
        )
        answers: list[httpx.Response] = []
        body = {"model": server.model, "prompt": UNRELATED, "max_tokens": 100}

        def ask() -> None:
            with server.client() as http:
                answers.append(http.post("/v1/completions", json=body))

        asker = threading.Thread(target=ask)
        asker.start()
        until(lambda: scheduler.running)
        began = time.monotonic()
        server.server.should_exit = True
        asker.join(10)
        assert [answer.status_code for answer in answers] == [503]
        assert answers[0].json()["error"]["code"] == "unavailable"
        until(lambda: not scheduler.alive, 10)
    assert time.monotonic() - began < 8
