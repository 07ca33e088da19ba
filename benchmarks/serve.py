"""What facts cost a server, and how fast a generation goes live: the same server in one run.

What comes in: a built store. What goes out: one JSON line on standard output: throughput,
processor time and time to the first token with the facts over without, as medians of alternating
rounds with 95 % intervals; the seconds from the order to publish until a bank of `--rows` rows is
live, and until one is that another process published. What it does not do: compare machines;
ratios of one run only.

    python benchmarks/serve.py --store revisor-store [--rows 10000] [--rounds 12] [--singles 200]

Time is also told in seconds of the server's processor, since on a shared machine the clock on the
wall measures the neighbours as well.
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
import torch

from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Bank, Row
from revisor.neuraldb.bank.files import save_bank
from revisor.serve.tables import Database
from revisor.store import Store

PORT = 8137
PATIENCE = 600  # looks at a server that starts
DRAWS = 10_000  # of the bootstrap
ENTRIES = 4  # of an added row, as a built one has
NAMED = 2  # prompts that ask for a fact of the store, beside these
UNRELATED = (
    "The history of the town begins with",
    "A good recipe for bread needs",
    "In the winter months, the river",
    "My favourite book is about",
    "When the train arrived at the station,",
    "The main difference between the two is",
)


def enlarge(store: Store, rows: int) -> int:
    """A generation with `rows` more facts, whose rows hold random keys that nothing matches."""
    bank = store.bank()
    facts = [
        Fact(subject=f"Subject {n}", prompt="The colour of {} is", object="blue")
        for n in range(rows)
    ]
    made = store.ledger.apply((Put(fact) for fact in facts), actor="benchmark", reason="")
    generator = torch.Generator().manual_seed(0)
    for fact in facts:
        keys_CE = torch.randn(ENTRIES, bank.key_width, generator=generator)
        bank.put(
            Row(
                row_id=fact.id,
                keys_CE=torch.nn.functional.normalize(keys_CE, dim=1),
                gamma_C=torch.full((ENTRIES,), 0.9),
                r_D=torch.randn(bank.hidden_width, generator=generator),
            ),
            made.number,
        )
    publish(store, bank)
    return made.number


def publish(store: Store, bank: Bank) -> None:
    """Write a bank as a build does."""
    save_bank(
        bank.view(),
        store.banks,
        fingerprint=store.fingerprint,
        model=store.settings.model,
        layer=store.settings.layer,
        build={},
        failed=[],
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


def hold(store: Store, *, live: int, held: int) -> None:
    """Have servers start with one generation and leave the other alone."""
    database = Database.of(store)
    database.remember("live", live)
    database.remember("held", [held])
    database.close()


def publish_seconds(url: str, number: int) -> float:
    """From the order until a generation answers."""
    with httpx.Client(base_url=url, timeout=600) as http:
        began = time.perf_counter()
        told = http.post(f"/generations/{number}/publish").json()
        seconds = time.perf_counter() - began
        assert told["live"] == number, told
    return seconds


def follow_seconds(url: str, store: Store) -> float:
    """From the moment at which another process has published a bank until it answers."""
    fact = next(iter(store.ledger.facts()))
    store.set_object(fact.id, f"{fact.object} 2", actor="benchmark")
    bank = store.bank()
    bank.put(bank.get(bank.ids[-1]), store.ledger.generation)  # none that the self-test asks for
    publish(store, bank)
    began = time.perf_counter()
    with httpx.Client(base_url=url, timeout=600) as http:
        while http.get("/generations?limit=1").json()["live"] != store.ledger.generation:
            time.sleep(0.02)
    return time.perf_counter() - began


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """The median, and all of them."""
    return {
        "median": round(statistics.median(seconds), 3),
        "each": [round(one, 3) for one in seconds],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--singles", type=int, default=200, help="requests alone, a side")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--publications", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "store"
        shutil.copytree(options.store, copied)
        result: dict[str, Any] = {"threads": os.environ.get("OMP_NUM_THREADS", "all")}
        result["load_before"] = round(os.getloadavg()[0], 2)
        with Store.open(copied) as store:
            small = store.built_generation() or 0
            named = [fact.text for fact in islice(store.ledger.facts(), NAMED)]
            options.prompts = [*named, *UNRELATED]
            result |= {"model": store.settings.model, "rows": len(store.bank().ids)}
            large = enlarge(store, options.rows)
            hold(store, live=small, held=large)
            orders: list[float] = []
            for number in range(options.publications):
                with Served(copied) as server:  # a new one, which never opened the large bank
                    if number == 0 and options.rounds:
                        result |= asyncio.run(figures(server, options))
                    orders.append(publish_seconds(server.url, large))
                    if number == 0 and options.rounds:
                        big = asyncio.run(figures(server, options))
                        result |= {f"{name}_at_{options.rows}": big[name] for name in big}
                    publish_seconds(server.url, small)
            with Served(copied) as server:
                publish_seconds(server.url, large)
                followed = [follow_seconds(server.url, store) for _ in orders]
        result["publish_rows"] = options.rows
        result["publish_seconds"] = spread(orders)
        result["follow_seconds"] = spread(followed)
        result["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
