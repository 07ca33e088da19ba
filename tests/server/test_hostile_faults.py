"""Disks, files, models and clocks that fail while serving: answers go on, or health tells."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from revisor.errors import RevisorError
from revisor.facts.database import make_engine, transaction
from revisor.index import bases, follow
from revisor.index.basefile import NAME
from revisor.server import batching, connections, why
from revisor.server import service as parts
from revisor.server.app import make_app
from revisor.server.service import Service
from revisor.server.settings import ServeSettings
from revisor.store import Store
from tests.facts.test_read_only import by_a_reader, forbid_writing
from tests.server.conftest import ACME, BASEL, CHATTY, UNRELATED, new_store
from tests.server.serving import running, said, until

NEW = {"subject": "Osaka", "prompt": "{} lies in", "object": "Japan"}


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WATCH_S", 0.05)
    monkeypatch.setattr(parts, "TEST_EVERY_S", 0.2)
    monkeypatch.setattr(parts, "AGAIN_S", 0.2)


def health(http: httpx.Client) -> tuple[int, str]:
    answer = http.get("/healthz")
    return answer.status_code, "; ".join(answer.json()["faults"])


# The index's file

DAMAGES = ["cut", "emptied", "flipped", "removed"]


@pytest.mark.usefixtures("watchful")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_base_file_that_is_spoilt_while_serving_changes_no_answer(
    damage: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bases, follow):
        monkeypatch.setattr(module, "FILED", 1)  # three facts are worth a file
    with running(store) as server, server.client() as http:
        file = next(store.path.rglob(NAME))
        whole = file.read_bytes()
        if damage == "removed":
            file.unlink()
        else:
            with file.open("r+b") as opened:
                if damage == "flipped":
                    rng = random.Random(0)
                    for place in rng.sample(range(len(whole)), len(whole) // 2):
                        opened.seek(place)
                        opened.write(bytes([whole[place] ^ 0xFF]))
                else:
                    opened.truncate(100 if damage == "cut" else 0)
        for fact in (ACME, CHATTY, BASEL):
            assert said(http, server, fact.text).startswith(fact.object)
        assert http.post("/facts", json={"facts": [NEW]}).status_code == 201
        assert said(http, server, "Osaka lies in").startswith("Japan")
        time.sleep(0.5)  # it tests itself
        assert health(http) == (200, "")
    with Store.open(store.path) as again:
        assert len(again.index.view()) == 4
        found = again.index.view().find(["acme"])
        assert [again.index.view().fact(handle).object for handle in found] == ["Vienna"]


# Disks


def test_a_full_disk_costs_lines_of_the_hit_log_and_nothing_else(store: Store) -> None:
    logs = store.path / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "hits.jsonl").symlink_to("/dev/full")
    settings = ServeSettings(per_minute=0, hit_log=1.0)
    with running(store, settings) as server, server.client() as http:
        for _ in range(5):
            assert said(http, server, ACME.text).startswith("Vienna")
        body = {"model": "tiny", "prompt": ACME.text, "max_tokens": 3, "stream": True}
        assert "data: [DONE]" in http.post("/v1/completions", json=body).text
        until(lambda: server.service.hit_log.lost == 6, 5)
        assert "revisor_hit_log_lost 6.0" in http.get("/metrics").text
        assert health(http) == (200, "")


@contextmanager
def full(store: Store) -> Iterator[None]:
    """The ledger's file may not grow, as on a disk that is full."""

    def stay(connection: Any, _record: object, _proxy: object = None) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    engine = store.ledger._engine
    sa.event.listen(engine, "checkout", stay)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", stay)
        engine.dispose()


@pytest.mark.usefixtures("watchful")
def test_a_ledger_that_cannot_grow_refuses_changes_and_answers_go_on(store: Store) -> None:
    with running(store) as server, server.client() as http:
        kept = []
        with full(store):
            for number in range(200):
                fact = NEW | {"subject": f"Town {number}", "source": "x" * 5_000}
                answer = http.post("/facts", json={"facts": [fact]})
                if answer.status_code != 201:
                    break
                kept += answer.json()["ids"]
            assert answer.status_code == 507
            assert str(store.path) not in answer.text
            assert said(http, server, ACME.text).startswith("Vienna")
            time.sleep(0.5)
            assert health(http) == (200, "")
        assert http.post("/facts", json={"facts": [NEW]}).status_code == 201
        for fact_id in kept:
            assert http.get(f"/facts/{fact_id}").status_code == 200


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder where other users may go, unlike to pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="revisor-served-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        (folder / "store").chmod(0o755)
        shutil.rmtree(folder)


def test_a_store_that_may_only_be_read_is_served(place: Path, served_model: Path) -> None:
    """One that was never served before, too."""
    shutil.copytree(served_model, place / "model")
    with new_store(place / "store", place / "model") as store:
        store.add([ACME])
    for folder in (place / "model", place / "store"):
        for file in folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
    forbid_writing(place / "store" / "ledger.sqlite")

    def serve(_: Path) -> dict[str, Any]:
        with Store.open(place / "store") as opened:
            app = make_app(Service(opened, ServeSettings(per_minute=0)))
            with TestClient(app, base_url="http://127.0.0.1") as http:
                body = {"model": "model", "prompt": ACME.text, "temperature": 0, "max_tokens": 3}
                return {
                    "answer": http.post("/v1/completions", json=body).json(),
                    "healthz": http.get("/healthz").status_code,
                    "proposals": http.get("/proposals").json(),
                    "written": http.post("/facts", json={"facts": [NEW]}).status_code,
                    "key": http.post("/keys", json={"name": "m", "role": "read"}).status_code,
                }

    told = by_a_reader(serve, place)
    assert told["answer"]["choices"][0]["text"].startswith(" Vienna"), told
    assert (told["healthz"], told["written"], told["key"]) == (200, 507, 507)
    assert told["proposals"]["proposals"] == []


def test_a_database_server_that_is_gone_is_no_fault_of_who_asks() -> None:
    engine, name = make_engine("postgresql://nobody@127.0.0.1:1/none", create=False)
    with pytest.raises(RevisorError) as raised, transaction(engine, name, writes=False):
        pass
    assert raised.value.http_status == 503


# The model


@pytest.mark.usefixtures("watchful")
def test_a_model_that_raises_or_stands_still_is_told_until_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "STUCK_S", 0.5)
    monkeypatch.setattr(parts, "MODEL_S", 0.5)
    with running(store) as server, server.client() as http:
        model = server.service.scheduler.loaded.model
        forward, go_on = model.forward, threading.Event()

        def raising(**_: Any) -> Any:
            raise MemoryError("full")

        def standing(**arguments: Any) -> Any:
            go_on.wait(20)
            return forward(**arguments)

        body = {"model": "tiny", "prompt": UNRELATED, "max_tokens": 3, "temperature": 0}
        monkeypatch.setattr(model, "forward", raising)
        assert http.post("/v1/completions", json=body).status_code == 503
        assert health(http)[0] == 503
        assert "MemoryError" in health(http)[1]
        monkeypatch.setattr(model, "forward", forward)
        until(lambda: health(http) == (200, ""), 5)

        monkeypatch.setattr(model, "forward", standing)
        until(lambda: "step" in health(http)[1], 5)
        go_on.set()
        until(lambda: health(http) == (200, ""), 5)
        assert http.post("/v1/completions", json=body).status_code == 200


def test_a_watcher_that_comes_no_more_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "WATCH_S", 0.05)
    monkeypatch.setattr(parts, "STUCK_S", 0.5)
    with running(store) as server, server.client() as http:
        go_on, events = threading.Event(), store.ledger.events

        def hanging(*arguments: Any, **options: Any) -> Any:
            go_on.wait(20)
            return events(*arguments, **options)

        monkeypatch.setattr(store.ledger, "events", hanging)
        until(lambda: "looked" in health(http)[1], 5)
        assert said(http, server, ACME.text).startswith("Vienna")
        go_on.set()
        until(lambda: health(http) == (200, ""), 5)


# The end


def test_all_that_a_stop_may_take_is_less_than_twenty_seconds() -> None:
    clients = ServeSettings().patience_s + connections.LAST_S
    model = parts.CLOSE_S + batching.GRACE_S
    assert clients + model + parts.CLOSE_S + 2 * why.CLOSE_S < 20


@pytest.mark.parametrize("kind", ["reading", "stuck"])
def test_a_stop_breaks_off_a_long_prompt_and_a_step_without_end(
    kind: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PREFILL_TOKENS", 4)
    monkeypatch.setattr(batching, "LEAST_TOKENS", 4)
    stuck = threading.Event()
    with running(store, ServeSettings(per_minute=0, patience_s=0.5)) as server:
        model = server.service.scheduler.loaded.model
        forward = model.forward

        def slow(**arguments: Any) -> Any:
            stuck.wait(0.2 if kind == "reading" else 30)
            return forward(**arguments)

        monkeypatch.setattr(model, "forward", slow)
        body = {"model": "tiny", "prompt": ["a" * 120] * 3, "max_tokens": 2}
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(httpx.post(f"{server.url}/v1/completions", json=body, timeout=60))

        asker = threading.Thread(target=ask)
        asker.start()
        until(lambda: server.service.scheduler.running)
        began = time.monotonic()
        server.server.should_exit = True
        if kind == "reading":
            asker.join(10)
            assert [answer.status_code for answer in answers] == [503]
    took = time.monotonic() - began
    stuck.set()
    asker.join(10)
    assert took < 10


# Clocks


@pytest.mark.usefixtures("watchful")
def test_a_clock_that_jumps_takes_the_facts_of_its_time_along(
    whole_store: Path, tmp_path: Path
) -> None:
    now = begun = datetime(2999, 1, 10, tzinfo=UTC)
    shutil.copytree(whole_store, tmp_path / "store")
    later = replace(ACME, object="Tokyo", qualifier="later", id="later", valid_from="2999-01-11")
    with Store.open(tmp_path / "store", clock=lambda: now) as store:
        store.add([replace(ACME, valid_from="2999-01-09", valid_to="2999-01-11"), later])
        with running(store) as server, server.client() as http:
            for jump, object_ in ((0, "Vienna"), (400, "Tokyo"), (0, "Vienna"), (5, "Tokyo")):
                now = begun + timedelta(days=jump)
                assert said(http, server, ACME.text).startswith(object_)
                assert http.post(
                    "/facts", json={"facts": [NEW | {"subject": f"Town {jump}"}]}
                ).status_code in (200, 201)
                time.sleep(0.3)  # it tests itself
                assert health(http) == (200, "")
            now = begun - timedelta(days=2_000)
            assert not said(http, server, ACME.text).startswith(("Vienna", "Tokyo"))
            assert said(http, server, CHATTY.text).startswith("French")
            time.sleep(0.3)
            assert health(http) == (200, "")
