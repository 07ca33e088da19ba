"""A real server in this process, and clients of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import openai
import uvicorn

from revisor.server.app import make_app
from revisor.server.connections import Server, listening
from revisor.server.service import Service
from revisor.server.settings import ServeSettings
from revisor.store import Store


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server that answers."""

    url: str
    service: Service
    server: uvicorn.Server

    def client(self, token: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def openai(self, token: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0, timeout=60)

    @property
    def model(self) -> str:
        return self.service.name


@contextmanager
def running(store: Store, settings: ServeSettings | None = None) -> Iterator[Running]:
    """A store served by uvicorn on a free port."""
    service = Service(store, settings or ServeSettings(per_minute=0))
    server = Server(
        listening(make_app(service), patience_s=service.settings.patience_s),
        patience_s=service.settings.patience_s,
        break_off=service.scheduler.break_off,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(url=f"http://127.0.0.1:{port}", service=service, server=server)
    finally:
        server.should_exit = True
        thread.join(60)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def said(http: httpx.Client, server: Running, prompt: str, **extension: object) -> str:
    """What the model says after a prompt; `extension` says with which facts."""
    body = {"model": server.model, "prompt": prompt, "temperature": 0, "max_tokens": 6}
    answer = http.post("/v1/completions", json=body | {"revisor": extension})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"]).strip()
