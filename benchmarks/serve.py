"""What facts cost a server, and how fast a change is live: the same server in one run.

    python benchmarks/serve.py --store revisor-store [--rows 10000] [--rounds 12] [--singles 200]
    python benchmarks/serve.py --store revisor-store --rows 0 --live-only

One JSON line. For crowds of clients of whom none, a quarter and all ask for a fact: tokens a second
and processor time a token with the facts over without, as medians of alternating rounds with 95 %
intervals. Both sides do the same work: an answer ends after as many tokens as the shorter of the
two has alone, and no round asks for the facts of another one, where the store has enough. Then the
time to the first token; seconds until a change is live, written over HTTP and by another process;
the longest wait for a next token while a long prompt of somebody else is read. Time is also told in
seconds of the server's processor, since on a shared machine the clock on the wall measures the
neighbours as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from revisor.facts.fact import Fact
from revisor.store import Store

PORT = 8137
PATIENCE_S = 600.0  # for a server to start
DRAWS = 10_000  # of the bootstrap
CHANGES = 5
AT_ONCE = 8  # prompts of which it is found out how long their answers are
SHARES = {"none": 0.0, "a_quarter": 0.25, "all": 1.0}  # of a crowd that asks for a fact
UNRELATED = (
    "The history of the town begins with",
    "A good recipe for bread needs",
    "In the winter months, the river",
    "My favourite book is about",
    "When the train arrived at the station,",
    "The main difference between the two is",
    "The weather in spring is",
    "A teacher once told me that",
)
Work = Sequence[tuple[str, int]]  # prompts, and the tokens that each is answered with


class Served:
    """`revisor serve` in a process of its own; a context manager."""

    def __init__(self, store: Path) -> None:
        self.url = f"http://127.0.0.1:{PORT}"
        command = [sys.executable, "-m", "revisor.cli", "serve", "--store", str(store)]
        self._process = subprocess.Popen(
            [*command, "--port", str(PORT), "--rate", "0"], stderr=subprocess.DEVNULL
        )
        self.model = ""

    def __enter__(self) -> Served:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/healthz", timeout=10).status_code == 200:
                    self.model = httpx.get(f"{self.url}/v1/models").json()["data"][0]["id"]
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        self.__exit__()
        raise SystemExit("the server does not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S)

    def processor_seconds(self) -> float:
        """Of all its threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Side:
    """What was measured with the facts, or without them."""

    per_second: list[float] = field(default_factory=list)  # tokens, one figure a round
    processor: list[float] = field(default_factory=list)  # seconds a token, one figure a round
    tokens: int = 0
    first: list[float] = field(default_factory=list)  # seconds to the first token


def both() -> dict[bool, Side]:
    return {True: Side(), False: Side()}


def in_turn(number: int) -> tuple[bool, bool]:
    """The sides in the order of a round."""
    return (True, False) if number % 2 else (False, True)


async def answer(
    http: httpx.AsyncClient, model: str, prompt: str, facts: bool, tokens: int
) -> tuple[float, int]:
    """One streamed answer: the seconds to its first token, and how many tokens it has."""
    body = {
        "model": model,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "revisor": {"facts": facts},
    }
    began, first, count = time.perf_counter(), 0.0, 0
    async with http.stream("POST", "/v1/completions", json=body) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: {"):
                first = first or time.perf_counter() - began
                if usage := json.loads(line.removeprefix("data: ")).get("usage"):
                    count = usage["completion_tokens"]
    return first, count


async def lengths(server: Served, prompts: Iterable[str], tokens: int) -> dict[str, int]:
    """Of how many tokens the shorter one of a prompt's two answers is."""
    wanted = list(dict.fromkeys(prompts))
    at_once = asyncio.Semaphore(AT_ONCE)
    async with server.http() as http:

        async def shorter(prompt: str) -> int:
            async with at_once:
                asked = (answer(http, server.model, prompt, side, tokens) for side in (True, False))
                return max(1, min(count for _, count in await asyncio.gather(*asked)))

        found = await asyncio.gather(*map(shorter, wanted))
    return dict(zip(wanted, found, strict=True))


async def crowd(
    http: httpx.AsyncClient, server: Served, work: Work, facts: bool, side: Side
) -> None:
    """Answers to all prompts at once, each of so many tokens."""
    began, used = time.perf_counter(), server.processor_seconds()
    found = await asyncio.gather(
        *(answer(http, server.model, prompt, facts, most) for prompt, most in work)
    )
    tokens, seconds = sum(count for _, count in found), time.perf_counter() - began
    side.per_second.append(tokens / seconds)
    side.processor.append((server.processor_seconds() - used) / tokens)
    side.tokens += tokens


async def crowds(server: Served, rounds: Sequence[Work]) -> dict[str, Any]:
    """Both sides in turn, the order changing from round to round; the first one warms up."""
    sides = both()
    async with server.http() as http:
        for number, work in enumerate(rounds):
            for facts in in_turn(number):
                await crowd(http, server, work, facts, sides[facts] if number else Side())
    with_, without = sides[True], sides[False]
    return {
        "throughput_ratio": ratio(with_.per_second, without.per_second),
        "processor_ratio": ratio(with_.processor, without.processor),
        "tokens_per_second": round(statistics.median(with_.per_second), 2),
        "tokens": [with_.tokens, without.tokens],
    }


async def singles(server: Served, prompts: Sequence[str]) -> dict[str, Any]:
    """The time to the first token of a request that is alone."""
    sides = both()
    async with server.http() as http:
        for number, prompt in enumerate(prompts):
            for facts in in_turn(number):
                first, _ = await answer(http, server.model, prompt, facts, 1)
                sides[facts].first.append(first)
    return {
        "first_token_ratio": ratio(sides[True].first, sides[False].first),
        "first_token_ms": round(statistics.median(sides[True].first) * 1000, 1),
    }


def ratio(with_: Sequence[float], without: Sequence[float]) -> dict[str, float]:
    """The median of the ratios of neighbours, with its 95 % interval by the bootstrap."""
    ratios = np.array(with_) / np.array(without)
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    found = {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}
    return {name: round(value, 3) for name, value in found.items()} | {"n": len(ratios)}


def live_s(server: Served, store: Path, fact: Fact) -> dict[str, dict[str, list[float]]]:
    """Seconds that a change of a fact takes to be written; and from its acknowledgement on until
    an answer with it is asked for, and is there."""

    def over_http(obj: str) -> None:
        httpx.patch(f"{server.url}/facts/{fact.id}", json={"object": obj}, timeout=PATIENCE_S)

    def said() -> str:
        body = {"model": server.model, "prompt": fact.text, "temperature": 0, "max_tokens": 8}
        told = httpx.post(f"{server.url}/v1/completions", json=body, timeout=PATIENCE_S).json()
        return str(told["choices"][0]["text"])

    with Store.open(store) as other:

        def elsewhere(obj: str) -> None:
            other.set_object(fact.id, obj)

        ways: dict[str, Callable[[str], None]] = {
            "same_server": over_http,
            "another_process": elsewhere,
        }
        found: dict[str, dict[str, list[float]]] = {
            way: {"written": [], "asked": [], "answered": []} for way in ways
        }
        for number in range(CHANGES):
            for way, change in ways.items():
                obj, began = f"Town {number} {way[0].upper()}", time.perf_counter()
                change(obj)
                done = asked = time.perf_counter()
                while obj not in said():
                    asked = time.perf_counter()
                times = (done - began, asked - done, time.perf_counter() - done)
                for name, seconds in zip(found[way], times, strict=True):
                    found[way][name].append(round(seconds, 4))
    return found


async def longest_wait(server: Served, tokens: int) -> float:
    """Seconds between two tokens of an answer while another's prompt of so many tokens is read."""
    body = {"model": server.model, "prompt": UNRELATED[0], "temperature": 0, "max_tokens": 100}
    gaps, before, asked = [0.0], 0.0, None
    async with server.http() as http:
        stream = http.stream("POST", "/v1/completions", json=body | {"stream": True})
        async with stream as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                now = time.perf_counter()
                if asked is None:
                    other = body | {"prompt": [500] * tokens, "max_tokens": 1}
                    asked = asyncio.create_task(http.post("/v1/completions", json=other))
                else:
                    gaps.append(now - before)
                before = now
        assert asked is not None
        await asked
    return round(max(gaps), 3)


def planned(own: Sequence[str], options: argparse.Namespace) -> dict[str, list[list[str]]]:
    """The prompts of each round, by what part of a crowd asks for a fact."""
    plans = {}
    for name, share in SHARES.items():
        asking = round(options.clients * share)
        named, others = cycle(own), cycle(UNRELATED)
        plans[name] = [
            [*islice(named, asking), *islice(others, options.clients - asking)]
            for _ in range(options.rounds + 1)
        ]
    return plans


def measured(copied: Path, own: Sequence[Fact], options: argparse.Namespace) -> dict[str, Any]:
    """All figures but those of changes."""
    prompts = [fact.text for fact in own]
    plans = planned(prompts, options)
    every = [prompt for plan in plans.values() for work in plan for prompt in work]
    with Served(copied) as server:
        tokens = asyncio.run(lengths(server, every, options.tokens))
    told: dict[str, Any] = {}
    for name, plan in plans.items():
        with Served(copied) as server:  # which remembers nothing of these prompts
            works = [[(prompt, tokens[prompt]) for prompt in work] for work in plan]
            told[f"crowd_asking_{name}"] = asyncio.run(crowds(server, works))
    with Served(copied) as server:
        some = [one for pair in zip(cycle(UNRELATED), prompts, strict=False) for one in pair]
        told |= asyncio.run(singles(server, list(islice(cycle(some), options.singles))))
        told["longest_wait_s"] = asyncio.run(longest_wait(server, options.long))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000, help="facts that are added")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--long", type=int, default=4_000, help="tokens of the long prompt")
    parser.add_argument("--live-only", action="store_true", help="only how fast a change is live")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "store"
        shutil.copytree(options.store, copied)
        with Store.open(copied) as store:
            wanted = 1 + options.clients * (options.rounds + 1)
            changed, *own = islice(store.ledger.facts(), wanted)
            store.add(
                Fact(subject=f"Subject {n}", prompt="The colour of {} is", object="blue")
                for n in range(options.rows)
            )
            told: dict[str, Any] = {"model": store.settings.model, "dtype": store.settings.dtype}
            told |= {"facts": len(store.index.view()), "load": round(os.getloadavg()[1], 1)}
        if not options.live_only:
            told |= measured(copied, own, options)
        with Served(copied) as server:
            told["live_s"] = live_s(server, copied, changed)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
