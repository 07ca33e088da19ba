"""Clients that hold connections, trickle, do not read, or come in a crowd: others are served."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from revisor.server import connections, limits, logs
from revisor.server.connections import SPARE
from revisor.server.logs import Sparing
from revisor.server.roles import KeyBook, Role
from revisor.server.settings import ServeSettings
from revisor.server.tables import Database
from revisor.store import Store
from tests.server.conftest import ACME, UNRELATED
from tests.server.serving import Running, running, until
from tests.server.test_connections import dialled

HEAD = "POST /facts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture
def crowded(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with eight places whose model takes its time."""
    monkeypatch.setattr(connections, "MOST", 8)
    monkeypatch.setattr(connections, "BACKLOG", 8)
    with running(store) as found:
        model = found.service.scheduler.loaded.model
        forward = model.forward

        def slow(**arguments: Any) -> Any:
            time.sleep(0.02)
            return forward(**arguments)

        monkeypatch.setattr(model, "forward", slow)
        yield found


def ended(one: socket.socket) -> bool:
    """Whether the server has closed a connection, without an answer."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def is_healthy(server: Running) -> bool:
    """Whether health is told to a client that comes anew."""
    one = dialled(server, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    told = one.recv(12)
    one.close()
    return told == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "begun",
    ["", "GET /healthz HTTP/1.1\r\nX: ", f"{HEAD}Content-Length: 100\r\n\r\n{{"],
    ids=["nothing", "half a head", "half a body"],
)
def test_who_holds_a_connection_and_asks_nothing_gives_way(begun: str, crowded: Running) -> None:
    body = {"model": "tiny", "prompt": UNRELATED, "max_tokens": 100, "temperature": 0}
    with (
        crowded.client() as http,
        http.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        held = []
        for _ in range(20):
            held.append(dialled(crowded, begun))
            assert is_healthy(crowded)
        assert all(ended(one) for one in held[:12])
        assert "data: [DONE]" in list(lines)
    for one in held:
        one.close()


def test_who_has_not_asked_for_anything_does_not_hold_up_a_stop(store: Store) -> None:
    with running(store) as server:
        held = [
            dialled(server, begun)
            for begun in ("", "GET / HTTP/1.1\r\nX: ", f"{HEAD}Content-Length: 100\r\n\r\n{{")
        ]
        until(lambda: len(server.server.server_state.tasks) == 1)
        began = time.monotonic()
        server.server.should_exit = True
        assert all(ended(one) for one in held)
        until(lambda: not server.service.scheduler.alive)
        assert time.monotonic() - began < 5


def test_where_all_others_ask_for_something_a_new_connection_is_closed(crowded: Running) -> None:
    body = '{"model": "tiny", "prompt": "A", "max_tokens": 60, "temperature": 0}'
    asking = f"{HEAD.replace('/facts', '/v1/completions')}Content-Length: {len(body)}\r\n\r\n{body}"
    busy = [dialled(crowded, asking) for _ in range(8)]
    until(lambda: crowded.service.scheduler.running == 8)
    assert ended(dialled(crowded, "GET /healthz HTTP/1.1\r\n"))
    for one in busy:
        one.settimeout(60)
        assert one.recv(12) == b"HTTP/1.1 200"
        one.close()


def test_as_many_connections_are_kept_as_leave_files_for_the_rest() -> None:
    import resource

    most = connections._most_connections()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == min(connections.MOST, soft - SPARE)


def test_a_second_head_has_as_long_as_the_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with running(store) as server:
        one = dialled(server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        told = b""
        while not told.endswith(b"}"):
            told += one.recv(4_096)
        time.sleep(0.5)  # between requests it may wait
        one.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert ended(one)


def test_a_body_that_comes_byte_by_byte_has_a_time_for_all_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.5)
    with running(store) as server:
        one = dialled(server, f"{HEAD}Content-Length: 1000\r\n\r\n")
        one.settimeout(0.1)
        answer = b""
        for _ in range(100):
            try:
                one.sendall(b"{")
                answer = one.recv(12)
                break
            except TimeoutError:
                continue
        assert answer == b"HTTP/1.1 408"


def test_large_bodies_share_their_room_and_small_ones_always_have_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGE", 1)
    settings = ServeSettings(per_minute=0, body_bytes=300_000)
    half = f"{HEAD}Content-Length: 290000\r\n\r\n" + " " * 280_000
    with running(store, settings) as server, server.client() as http:
        first = dialled(server, half)
        time.sleep(0.3)
        second = dialled(server, half)
        assert second.recv(12) == b"HTTP/1.1 429"
        assert http.post("/check", json={"facts": [{"subject": "x"}]}).status_code == 400
        first.close()
        large = {"facts": [{"subject": "x" * 250_000}]}
        until(lambda: http.post("/check", json=large).status_code == 400, 5)


def test_who_does_not_read_an_answer_is_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 1.0)
    long = replace(ACME, source="x" * 9_900)
    store.add([replace(long, id=f"n{n}", subject=f"Town {n}") for n in range(800)])
    with running(store) as server:
        ask = "GET /facts?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        sleeper, reader = dialled(server, ask), dialled(server, ask)
        reader.settimeout(60)
        read = 0
        while read < 7_000_000:  # who reads is not cut off
            read += len(reader.recv(200_000))
        until(lambda: len(server.server.server_state.connections) == 1, 20)
        sleeper.close()
        reader.close()


def test_a_crowd_without_keys_does_not_keep_out_who_has_one(store: Store) -> None:
    database = Database.of(store)
    token = KeyBook(database).make("mona", Role.read)
    database.close()
    with (
        running(store, ServeSettings(per_minute=18)) as server,
        server.client(token) as mona,
        server.client() as crowd,
    ):
        assert mona.get("/facts").status_code == 200
        wrong = []
        for number in range(300):
            crowd.headers["authorization"] = f"Bearer rv-{number}-x"
            wrong.append(crowd.get("/facts").status_code)
            if wrong[-1] == 429:
                break
        assert set(wrong) == {401, 429}
        assert mona.get("/facts").status_code == 200
        KeyBook(server.service.database).revoke("mona")
        assert mona.get("/facts").status_code == 401


def test_all_addresses_of_a_network_of_ipv6_are_one_caller() -> None:
    def address(client: str) -> str:
        return limits._address({"client": (client, 1)})

    assert address("2001:db8::1") == address("2001:db8::ffff:1") != address("2001:db8:0:1::1")
    assert address("10.0.0.1") == "10.0.0.1"
    assert address("fe80::1%eth0") == "fe80::/64"
    assert address("no:address") == "no:address"


def test_nothing_that_a_proxy_adds_is_taken_for_this_machine(store: Store) -> None:
    added = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Via"]
    added += ["Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP"]
    with running(store, ServeSettings(per_minute=0)) as server, server.client() as http:
        for name in added:
            for path in ("/facts", "/healthz", "/openapi.json"):
                assert http.get(path, headers={name: "10.1.2.3"}).status_code == 403, name
        old = dialled(server, "GET /facts HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert old.recv(12) == b"HTTP/1.1 403"


@pytest.mark.parametrize(
    "request_text",
    [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + "9" * 5_000 + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: " + "x" * 100_000 + "\r\n\r\n",
        "POST /facts HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /check HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 9"
        + "9" * 12
        + "\r\n\r\n",
    ],
)
def test_a_request_that_is_none_gets_a_refusal_and_the_next_is_served(
    request_text: str, store: Store
) -> None:
    with running(store) as server:
        one = dialled(server, request_text)
        assert one.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 403")
        one.close()
        assert is_healthy(server)


def test_lines_that_are_alike_are_written_some_times_and_then_counted() -> None:
    written: list[str] = []
    now = 0.0

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    handler = Kept()
    handler.addFilter(Sparing(clock=lambda: now))
    refused, served = logging.Logger("uvicorn.error"), logging.Logger(logs.ACCESS)
    for log in (refused, served):
        log.addHandler(handler)
        for number in range(100):
            log.warning("line %d", number)
    assert len(written) == logs.MOST + 100
    now += logs.WHILE_S + 1
    refused.warning("line %d", 7)
    assert written[-1] == f"line 7 ({100 - logs.MOST} more like it were not written)"
