"""What facts cost a server, and how fast a generation goes live: the same server in one run.

What comes in: a built store. What goes out: one JSON line on standard output: tokens a second and
the time to the first token with the facts over without, in alternating rounds against one
`revisor serve`; the seconds from the order to publish until a bank of `--rows` rows is live. What
it does not do: compare machines; ratios of one run only.

    python benchmarks/serve.py --store revisor-store [--rows 10000] [--rounds 6] [--clients 8]
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch

from revisor.bank.bank import Row
from revisor.bank.files import save_bank
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.store import Store

PORT = 8137
ENTRIES = 4  # of an added row, as a built one has
PROMPTS = (
    "The history of the town begins with",
    "A good recipe for bread needs",
    "The chief executive of Starbucks is",
    "In the winter months, the river",
    "The Prime Minister of Canada is",
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
    save_bank(
        bank.view(),
        store.banks,
        fingerprint=store.fingerprint,
        model=store.settings.model,
        layer=store.settings.layer,
        build={},
        failed=[],
    )
    return made.number


@contextmanager
def served(store: Path) -> Iterator[str]:
    """`revisor serve` in a process of its own."""
    url = f"http://127.0.0.1:{PORT}"
    command = [sys.executable, "-m", "revisor.cli", "serve", "--store", str(store)]
    process = subprocess.Popen(
        [*command, "--port", str(PORT), "--rate", "0"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


async def answer(
    http: httpx.AsyncClient, model: str, prompt: str, facts: bool, tokens: int
) -> float:
    """One streamed answer; the seconds to its first token."""
    body = {
        "model": model,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "revisor": {"facts": facts},
    }
    began, first = time.perf_counter(), 0.0
    async with http.stream("POST", "/v1/completions", json=body) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: {") and not first:
                first = time.perf_counter() - began
    return first


async def figures(url: str, clients: int, rounds: int, tokens: int) -> dict[str, float]:
    """Ratios of rounds with the facts to those without, each round `clients` answers at once."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    firsts: dict[bool, list[float]] = {True: [], False: []}
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        for number in range(rounds + 1):
            for facts in (True, False) if number % 2 else (False, True):
                wanted = [PROMPTS[i % len(PROMPTS)] for i in range(clients)]
                began = time.perf_counter()
                found = await asyncio.gather(
                    *(answer(http, model, prompt, facts, tokens) for prompt in wanted)
                )
                if number:  # the first round warms up
                    seconds[facts].append(time.perf_counter() - began)
                    alone = await answer(http, model, PROMPTS[0], facts, 1)
                    firsts[facts].append(alone)
                del found
    # Answers may end early, and not at the same token with facts: a round's work is about the same.
    pairs = [without / with_ for with_, without in zip(seconds[True], seconds[False], strict=True)]
    return {
        "throughput_ratio": round(statistics.median(pairs), 4),
        "tokens_per_second": round(clients * tokens / statistics.median(seconds[True]), 2),
        "first_token_ratio": round(
            statistics.median(firsts[True]) / statistics.median(firsts[False]), 4
        ),
        "first_token_seconds": round(statistics.median(firsts[True]), 4),
    }


def publish_seconds(url: str, number: int) -> float:
    """From the order until a generation answers."""
    with httpx.Client(base_url=url, timeout=600) as http:
        began = time.perf_counter()
        told = http.post(f"/generations/{number}/publish").json()
        seconds = time.perf_counter() - began
        assert told["live"] == number, told
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "store"
        shutil.copytree(options.store, copied)
        result: dict[str, object] = {"threads": os.environ.get("OMP_NUM_THREADS", "all")}
        with Store.open(copied) as store:
            small = store.built_generation() or 0
            result |= {"model": store.settings.model, "rows": len(store.bank().ids)}
            large = enlarge(store, options.rows)
        with served(copied) as url:
            publish_seconds(url, small)
            sides = (options.clients, options.rounds, options.tokens)
            result |= asyncio.run(figures(url, *sides))
            result["publish_rows"] = options.rows
            result["publish_seconds"] = round(publish_seconds(url, large), 3)
            big = asyncio.run(figures(url, *sides))
            result |= {f"{name}_at_{options.rows}": value for name, value in big.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
