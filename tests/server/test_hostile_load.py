"""Keys that take all they can get: the others have their share, and what nobody waits for ends."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from revisor.errors import UsageError
from revisor.gate.functional import Probe, ProbeFigures
from revisor.operations import asking
from revisor.server.batching import Scheduler
from revisor.server.job import QueueFull
from revisor.server.settings import ServeSettings
from revisor.server.turns import Turns
from revisor.store import Store
from tests.server.conftest import ACME, UNRELATED
from tests.server.serving import Running, running, said, until
from tests.server.test_batching import Asked, slowly


@pytest.fixture(scope="module")
def opened(whole_store: Path) -> Iterator[Store]:
    with Store.open(whole_store) as store:
        yield store


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    with running(store) as found:
        yield found


def slow_model(server: Running, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
    model = server.service.scheduler.loaded.model
    forward = model.forward

    def slow(**arguments: Any) -> Any:
        time.sleep(seconds)
        return forward(**arguments)

    monkeypatch.setattr(model, "forward", slow)


# Shares of the model


def test_a_key_that_fills_the_queue_does_not_keep_another_waiting(opened: Store) -> None:
    with Scheduler(opened.loaded, max_batch=4, max_waiting=40) as scheduler:
        greedy = [slowly(Asked(UNRELATED, None, 20, owner="greedy"), 0.003) for _ in range(16)]
        for one in greedy:
            scheduler.submit(one.job)
        until(lambda: scheduler.running == 3)
        modest = Asked(UNRELATED, None, 4, owner="modest")
        scheduler.submit(modest.job)
        most = 0
        while not modest.job.ended_at:
            owners = Counter(row.job.owner for row in tuple(scheduler._rows))
            most = max(most, owners["greedy"])
        assert most <= 3
        assert sum(bool(one.job.ended_at) for one in greedy) <= 3
        for one in greedy:
            assert one.ids()


def test_long_prompts_of_one_key_leave_memory_and_turns_to_others(opened: Store) -> None:
    with Scheduler(opened.loaded, max_batch=16, max_cached=512) as scheduler:
        long = [slowly(Asked("a" * 100, None, 20, owner="long"), 0.003) for _ in range(8)]
        for one in long:
            scheduler.submit(one.job)
        until(lambda: any(one.job.first_at for one in long))
        short = Asked("A", None, 2, owner="short")
        scheduler.submit(short.job)
        assert short.ids()
        assert sum(bool(one.job.ended_at) for one in long) <= 3
        for one in long:
            assert one.ids()


def test_prompts_that_wait_have_a_budget_of_tokens(opened: Store) -> None:
    with Scheduler(opened.loaded, max_batch=1, max_waiting=64) as scheduler:
        scheduler.queue._most_tokens = 200
        running = slowly(Asked(UNRELATED, None, 60), 0.05)
        scheduler.submit(running.job)
        running.pieces.get(timeout=60)
        with pytest.raises(UsageError, match="at most 100"):
            scheduler.submit(Asked("a" * 101, None, 1, owner="ann").job)
        scheduler.submit(first := Asked("a" * 60, None, 1, owner="ann").job)
        with pytest.raises(QueueFull, match="of one key"):
            scheduler.submit(Asked("a" * 60, None, 1, owner="ann").job)
        scheduler.submit(second := Asked("a" * 60, None, 1, owner="bob").job)
        with pytest.raises(QueueFull, match="tokens of prompts wait already; at most 200"):
            scheduler.submit(Asked("a" * 90, None, 1, owner="eve").job)
        for job in (running.job, first, second):
            job.cancelled = True


def test_what_was_cancelled_waits_no_more(opened: Store) -> None:
    with Scheduler(opened.loaded, max_batch=1, max_waiting=2) as scheduler:
        running = slowly(Asked(UNRELATED, None, 60), 0.02)
        scheduler.submit(running.job)
        running.pieces.get(timeout=60)
        waiting = [Asked(UNRELATED, None, 1) for _ in range(2)]
        for one in waiting:
            scheduler.submit(one.job)
            one.job.cancelled = True
        until(lambda: scheduler.waiting == 0, 5)
        assert not running.job.ended_at
        assert [one.all()[0][-1].reason for one in waiting] == ["cancelled", "cancelled"]
        running.job.cancelled = True


# Clients that hang up


@pytest.fixture
def probed(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A slow server of one row that asks the model where an answer is due."""
    figures = ProbeFigures(recall={}, ordinary=0.0, agreement=1.0, texts=1, seconds=0.0)
    tokens, weights = torch.tensor([5, 6]), torch.tensor([1.0, -1.0])
    probe = Probe(token_S=tokens, weight_S=weights, threshold=0.0, figures=figures)
    with running(store, ServeSettings(per_minute=0, max_batch=1)) as found:
        generations = found.service.generations
        monkeypatch.setattr(generations, "_gate", replace(generations._gate, probe=probe))
        slow_model(found, monkeypatch, 0.1)
        monkeypatch.setattr(found.service.scheduler, "_ends", ())  # answers are long
        yield found


LONG = {"model": "tiny", "max_tokens": 100, "temperature": 0}
ROUTES = {
    "completion": ("/v1/completions", LONG | {"prompt": UNRELATED}),
    "completion stream": ("/v1/completions", LONG | {"prompt": UNRELATED, "stream": True}),
    "chat": ("/v1/chat/completions", LONG | {"messages": [{"role": "user", "content": "A"}]}),
    "explanation": ("/explain", {"prompt": UNRELATED}),
}


@pytest.mark.parametrize("kind", ROUTES)
def test_who_hangs_up_while_waiting_waits_no_more(kind: str, probed: Running) -> None:
    scheduler = probed.service.scheduler
    path, body = ROUTES[kind]
    first, long = ROUTES["completion stream"]
    with probed.client() as http, probed.client() as hasty:
        with http.stream("POST", first, json=long) as stream:
            lines = stream.iter_lines()  # a generator that is let go closes the stream
            next(lines)
            with pytest.raises(httpx.ReadTimeout):
                hasty.post(path, json=body, timeout=0.5)
            until(lambda: scheduler.waiting == 0, 4)
            assert scheduler.running == 1
        until(lambda: scheduler.running == 0, 4)
        assert http.post("/explain", json={"prompt": ACME.text}).status_code == 200


def test_a_check_ends_when_nobody_waits_for_it(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, decide = 0, asking.decide
    server.service.store.add(
        [replace(ACME, id=f"n{n}", subject=f"Town {n}", object="Rome") for n in range(200)]
    )

    def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        time.sleep(0.05)
        return decide(*arguments, **options)

    monkeypatch.setattr(asking, "decide", slow)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/check", timeout=0.5)
    seen = -1
    while seen != asked:
        seen = asked
        time.sleep(0.3)
    assert asked < 100


# Threads


def test_health_and_answers_go_on_while_every_thread_waits_for_the_ledger(server: Running) -> None:
    lock = sqlite3.connect(server.service.store.path / "ledger.sqlite", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    def write(number: int) -> int:
        with server.client() as http:
            if number % 2:
                wanted = {"needs_approval": False}
                return http.put(f"/namespaces/n{number}", json=wanted).status_code
            fact = {"subject": f"Town {number}", "prompt": "{} lies in", "object": "Rome"}
            return http.post("/facts", json={"facts": [fact]}).status_code

    with ThreadPoolExecutor(90) as pool:
        writing = [pool.submit(write, number) for number in range(90)]
        try:
            time.sleep(1)
            began = time.monotonic()
            with server.client() as http:
                assert http.get("/healthz").status_code == 200
                assert said(http, server, ACME.text).startswith("Vienna")
            assert time.monotonic() - began < 5
            assert not any(one.done() for one in writing)
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        assert {one.result() for one in writing} <= {200, 201}


def test_health_and_others_do_not_wait_for_a_text_that_is_read(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = server.service.prompts
    tokenizer, reading = prompts._tokenizer, threading.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __call__(self, text: str, **options: Any) -> Any:
            if "slow" in text:
                reading.set()
                time.sleep(2)
            return tokenizer(text, **options)

    monkeypatch.setattr(prompts, "_tokenizer", Slow())
    body = {"model": "tiny", "prompt": ["slow"] * 2, "max_tokens": 1}
    with ThreadPoolExecutor(1) as pool, server.client() as http:
        slow = pool.submit(httpx.post, f"{server.url}/v1/completions", json=body, timeout=60)
        assert reading.wait(10)
        assert http.get("/healthz").status_code == 200
        assert said(http, server, ACME.text).startswith("Vienna")
        assert not slow.done()
        assert slow.result().status_code == 200


def test_work_of_one_key_is_done_by_turns_and_has_a_bound() -> None:
    done: list[str] = []

    def work(name: str) -> None:
        time.sleep(0.02)
        done.append(name)

    async def all_at_once() -> list[Any]:
        turns = Turns(at_once=2, most=5)
        mine = [turns.run("ann", work, "ann") for _ in range(7)]
        others = [turns.run("bob", work, "bob"), turns.run(None, work, "nobody")]
        found = await asyncio.gather(*mine, *others, return_exceptions=True)
        assert await turns.run("ann", lambda: "again") == "again"
        return found

    refused = [one for one in asyncio.run(all_at_once()) if isinstance(one, QueueFull)]
    assert len(refused) == 2
    assert Counter(done) == {"ann": 5, "bob": 1, "nobody": 1}
    assert {"bob", "nobody"} <= set(done[:5])
