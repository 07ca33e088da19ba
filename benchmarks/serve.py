"""What facts cost a server, and how fast a change is live: the same server in one run.

    python benchmarks/serve.py --store revisor-store [--rows 10000] [--rounds 12] [--singles 200]

One JSON line: throughput, processor time and time to the first token with the facts over without,
as medians of alternating rounds with 95 % intervals; the milliseconds until an answer begins that
has a changed fact, written over HTTP and by another process; the longest wait for a next token
while a long prompt of somebody else is read. Time is also told in seconds of the server's
processor, since on a shared machine the clock on the wall measures the neighbours as well.
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
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from revisor.facts.fact import Fact
from revisor.store import Store

PORT = 8137
PATIENCE = 600  # looks at a server that starts
DRAWS = 10_000  # of the bootstrap
CHANGES = 5
NAMED = 2  # prompts that ask for a fact of the store, beside these
UNRELATED = (
    "The history of the town begins with",
    "A good recipe for bread needs",
    "In the winter months, the river",
    "My favourite book is about",
    "When the train arrived at the station,",
    "The main difference between the two is",
)


class Served:
    """`revisor serve` in a process of its own; a context manager."""

    def __init__(self, store: Path) -> None:
        self.url = f"http://127.0.0.1:{PORT}"
        command = [sys.executable, "-m", "revisor.cli", "serve", "--store", str(store)]
        self._process = subprocess.Popen(
            [*command, "--port", str(PORT), "--rate", "0"], stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Served:
        for _ in range(PATIENCE):
            try:
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise SystemExit("the server does not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def processor_seconds(self) -> float:
        """Of all its threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Side:
    """What was measured with the facts, or without them."""

    per_second: list[float] = field(default_factory=list)  # tokens, one figure a round
    processor: list[float] = field(default_factory=list)  # seconds a token, one figure a round
    first: list[float] = field(default_factory=list)  # of a request that is alone
    first_in_crowd: list[float] = field(default_factory=list)


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


async def crowd(
    http: httpx.AsyncClient, server: Served, model: str, facts: bool, options: argparse.Namespace
) -> tuple[float, float, list[float]]:
    """`--clients` answers at once: tokens a second, processor seconds a token, first tokens."""
    prompts: list[str] = options.prompts
    began, used = time.perf_counter(), server.processor_seconds()
    found = await asyncio.gather(
        *(
            answer(http, model, prompts[n % len(prompts)], facts, options.tokens)
            for n in range(options.clients)
        )
    )
    tokens = sum(count for _, count in found)
    seconds = time.perf_counter() - began
    return (
        tokens / seconds,
        (server.processor_seconds() - used) / tokens,
        [first for first, _ in found],
    )


async def figures(server: Served, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn, the order changing from round to round."""
    sides, prompts = {True: Side(), False: Side()}, options.prompts
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        for number in range(options.rounds + 1):
            for facts in (True, False) if number % 2 else (False, True):
                per_second, processor, firsts = await crowd(http, server, model, facts, options)
                if number:  # the first round warms up
                    sides[facts].per_second.append(per_second)
                    sides[facts].processor.append(processor)
                    sides[facts].first_in_crowd += firsts
        for number in range(options.singles):
            for facts in (True, False) if number % 2 else (False, True):
                prompt = prompts[number % len(prompts)]
                first, _ = await answer(http, model, prompt, facts, 1)
                sides[facts].first.append(first)
    with_, without = sides[True], sides[False]
    return {
        "throughput_ratio": ratio(with_.per_second, without.per_second),
        "processor_ratio": ratio(with_.processor, without.processor),
        "tokens_per_second": round(statistics.median(with_.per_second), 2),
        "first_token_ratio": ratio(with_.first, without.first),
        "first_token_ms": round(statistics.median(with_.first) * 1000, 1),
        "first_token_ratio_in_crowd": ratio(with_.first_in_crowd, without.first_in_crowd),
        "first_token_ms_in_crowd": round(statistics.median(with_.first_in_crowd) * 1000, 1),
    }


def ratio(with_: Sequence[float], without: Sequence[float]) -> dict[str, float]:
    """The median of the ratios of neighbours, with its 95 % interval by the bootstrap."""
    ratios = np.array(with_) / np.array(without)
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    found = {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}
    return {name: round(value, 3) for name, value in found.items()} | {"n": len(ratios)}


def said(url: str, model: str, prompt: str) -> str:
    body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 8}
    told = httpx.post(f"{url}/v1/completions", json=body, timeout=60).json()
    return str(told["choices"][0]["text"])


def live_ms(url: str, model: str, store: Path, fact: Fact) -> dict[str, list[float]]:
    """Milliseconds from a change that is acknowledged until an answer begins that has it."""
    found: dict[str, list[float]] = {"same_server": [], "another_process": []}
    for number in range(CHANGES):
        for how in found:
            obj = f"Town {number} {'A' if how == 'same_server' else 'B'}"
            if how == "same_server":
                httpx.patch(f"{url}/facts/{fact.id}", json={"object": obj}, timeout=60)
            else:
                with Store.open(store) as other:
                    other.set_object(fact.id, obj)
            done = asked = time.perf_counter()
            while obj not in said(url, model, fact.text):
                asked = time.perf_counter()
            found[how].append(round((asked - done) * 1000, 1))
    return found


async def longest_wait(url: str, model: str, tokens: int) -> float:
    """Seconds between two tokens of an answer while another's prompt of so many tokens is read."""
    body = {"model": model, "prompt": UNRELATED[0], "temperature": 0, "max_tokens": 100}
    gaps, before, asked = [0.0], 0.0, None
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000, help="facts that are added")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--long", type=int, default=4_000, help="tokens of the long prompt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "store"
        shutil.copytree(options.store, copied)
        with Store.open(copied) as store:
            own = list(islice(store.ledger.facts(), NAMED + 1))
            store.add(
                Fact(subject=f"Subject {n}", prompt="The colour of {} is", object="blue")
                for n in range(options.rows)
            )
        options.prompts = [*(fact.text for fact in own[:NAMED]), *UNRELATED]
        with Served(copied) as server:
            model = httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"]
            told = {"model": model, "rows": options.rows, "load": round(os.getloadavg()[1], 1)}
            told |= asyncio.run(figures(server, options))
            told["live_ms"] = live_ms(server.url, model, copied, own[-1])
            told["longest_wait_s"] = asyncio.run(longest_wait(server.url, model, options.long))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
