"""Clients that dawdle keep no place, and proxies that are not trusted say nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import uvicorn

from revisor.server import connections, limits
from revisor.server.connections import listening
from revisor.server.roles import KeyBook, Role
from revisor.server.settings import ServeSettings
from revisor.server.tables import Database
from revisor.store import Store
from tests.server.serving import Running, running


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store) as found:
        yield found


def dialled(server: Running, text: str) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=10)
    made.sendall(text.encode())
    return made


def test_a_connection_without_a_whole_head_is_closed_and_health_answers_meanwhile(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    slow = [dialled(server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ") for _ in range(50)]
    with server.client() as http:
        assert http.get("/healthz").status_code == 200
    for one in slow:
        assert one.recv(10) == b""
        one.close()


def test_a_connection_that_asks_is_not_closed_while_it_is_answered(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    body = '{"model": "tiny", "prompt": "A", "max_tokens": 100}'
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    one = dialled(server, f"{head}Content-Length: {len(body)}\r\n\r\n{body}")
    assert one.recv(12) == b"HTTP/1.1 200"
    one.close()


def test_a_body_that_does_not_come_is_not_waited_for(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.2)
    head = "POST /facts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    one = dialled(server, head + "Content-Length: 100\r\n\r\n{")
    assert one.recv(12) == b"HTTP/1.1 408"
    one.close()


def test_forwarded_addresses_count_from_trusted_proxies_only(store: Store) -> None:
    database = Database.of(store)
    KeyBook(database).make("mona", Role.read)
    database.close()
    with running(store, ServeSettings(per_minute=6)) as server, server.client() as http:
        codes = [
            http.get("/facts", headers={"x-forwarded-for": f"10.0.0.{n}"}).status_code
            for n in range(4)
        ]
    assert codes == [401, 429, 429, 429]
    assert not listening(None).proxy_headers
    trusting: uvicorn.Config = listening(None, trusted_proxies=["10.0.0.1"])
    assert trusting.proxy_headers
    assert trusting.forwarded_allow_ips == ["10.0.0.1"]
