"""`revisor serve --engine llama`: OpenAI's routes with a GGUF file."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from revisor.demo import begins_with
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.server.app import make_app
from revisor.server.connections import Server, listening
from revisor.server.llama import LlamaScheduler, llama_scheduler
from revisor.server.service import ServeSettings, Service
from revisor.store import Store
from tests.server.serving import Running, said, until
from tests_llama.conftest import DEMO, UNRELATED


@contextmanager
def running(store: Store, gguf: Path) -> Iterator[Running]:
    """A store served with a GGUF file on a free port."""
    settings = ServeSettings(per_minute=0, max_batch=4, max_tokens=64)
    service = Service(
        store, settings, make_scheduler=partial(llama_scheduler, model=gguf, context=512)
    )
    server = Server(
        listening(make_app(service)),
        patience_s=settings.patience_s,
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


@pytest.fixture
def server(store: Store, gguf: Path) -> Iterator[Running]:
    with running(store, gguf) as found:
        yield found


def test_completions_and_chats_have_the_facts_whole_and_streamed(server: Running) -> None:
    client, fact = server.openai(), DEMO[0]
    asked: Any = {"model": server.model, "temperature": 0, "max_tokens": 12}
    whole = client.completions.create(prompt=fact.text, **asked)
    assert begins_with(whole.choices[0].text, fact.object)
    assert whole.model_extra is not None
    assert whole.model_extra["revisor"]["facts_used"][0]["id"] == fact.id
    pieces = client.completions.create(prompt=fact.text, stream=True, **asked)
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    turns: Any = [{"role": "user", "content": "Who is the Prime Minister of Canada?"}]
    answer = client.chat.completions.create(messages=turns, **asked).choices[0].message.content
    assert answer is not None
    assert fact.object in answer
    chunks = client.chat.completions.create(messages=turns, stream=True, **asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer


def test_without_facts_answers_are_llama_cpps_own(server: Running, llama: Any) -> None:
    with server.client() as http:
        for prompt in (*UNRELATED, DEMO[0].text):
            own = llama.create_completion(prompt, max_tokens=6, temperature=0)
            assert said(http, server, prompt, facts=False) == own["choices"][0]["text"].strip()


def test_a_change_is_live_for_the_next_request(server: Running) -> None:
    fact = Fact(subject="Wexcombe Ltd", prompt="The CEO of {} is", object="Ida Quist")
    with server.client() as http:
        assert not begins_with(said(http, server, fact.text), fact.object)
        server.service.store.add([fact])
        assert begins_with(said(http, server, fact.text), fact.object)


def test_many_clients_get_their_own_answers_and_leave_nothing_behind(server: Running) -> None:
    with server.client() as http, ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda fact: said(http, server, fact.text), DEMO[:24]))
        for fact, answer in zip(DEMO[:24], told, strict=True):
            assert begins_with(answer, fact.object[:8]), (fact.text, answer)
        until(lambda: server.service.scheduler.running == 0)
        said(http, server, UNRELATED[0])
    scheduler = server.service.scheduler
    assert isinstance(scheduler, LlamaScheduler)
    until(lambda: scheduler.running == 0)
    assert len(scheduler._sequences._free) >= scheduler._sequences._most - 1


def test_several_choices_share_a_prompt_and_differ_by_chance(server: Running) -> None:
    body = {
        "model": server.model,
        "prompt": [UNRELATED[0], DEMO[0].text],
        "n": 3,
        "seed": 7,
        "temperature": 1.5,
        "max_tokens": 8,
        "logprobs": 2,
    }
    with server.client() as http:
        first = http.post("/v1/completions", json=body).json()["choices"]
        again = http.post("/v1/completions", json=body).json()["choices"]
    assert [one["text"] for one in first] == [one["text"] for one in again]
    assert len({one["text"] for one in first[:3]}) > 1
    assert all(begins_with(one["text"], DEMO[0].object) for one in first[3:])
    assert all(len(one["logprobs"]["tokens"]) for one in first)


def test_a_long_prompt_is_read_in_pieces_and_one_that_is_too_long_refused(
    server: Running,
) -> None:
    lead = "The river flows through the town and on to the sea. " * 25
    with server.client() as http:
        assert begins_with(said(http, server, f"{lead}{DEMO[0].text}"), DEMO[0].object)
        body = {"model": server.model, "prompt": lead * 4, "max_tokens": 4}
        refused = http.post("/v1/completions", json=body)
    assert refused.status_code == 400
    assert "512 tokens" in refused.json()["error"]["message"]


def test_the_server_tells_how_it_is_and_why_it_says_what(server: Running) -> None:
    with server.client() as http:
        health = http.get("/healthz")
        assert (health.status_code, health.json()["model"]) == (200, server.model)
        assert server.model == "SmolLM2-135M-Instruct.Q4_1"
        ends = http.post("/explain", json={"prompt": "The Prime Minister of Canada is"}).json()
        goes_on = http.post("/explain", json={"prompt": "The Prime Minister of Canada"}).json()
    assert (ends["answer_due"], ends["written"]) == (True, "Mark Carney")
    assert (goes_on["answer_due"], goes_on["written"]) == (False, None)


def test_what_is_neither_a_file_nor_a_packaged_model_is_refused(store: Store) -> None:
    named = Path("a-folder")
    with pytest.raises(UsageError, match="GGUF"):
        Service(store, make_scheduler=partial(llama_scheduler, model=named, context=None))


def test_the_command_line_serves_the_file_of_the_store_s_packaged_model(store: Store) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "revisor", "serve", "--engine", "llama", "--port", str(port)]
    command += ["--context", "512", "--store", str(store.path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or _answers(url), 180)
        body = {"model": "SmolLM2-135M-Instruct.Q4_1", "prompt": DEMO[0].text, "max_tokens": 8}
        told = httpx.post(f"{url}/v1/completions", json=body, timeout=60).json()
        assert begins_with(told["choices"][0]["text"], DEMO[0].object)
    finally:
        process.terminate()
        _, printed = process.communicate(timeout=30)
    assert "llama_context" not in printed  # what llama.cpp says of its memory is not for users


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--engine", "ollama"), "transformers, llama"),
        (("--model", "some.gguf"), "--engine llama"),
        (("--engine", "llama", "--model", "none.gguf"), "no file"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    store: Store, options: tuple[str, ...], told: str
) -> None:
    command = [sys.executable, "-m", "revisor", "serve", *options, "--store", str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert told in done.stderr
