"""Many clients while facts change, generations are published and the server is killed.

    python benchmarks/serve_load.py --store revisor-store --seconds 120 --clients 64 [--kill]

One JSON line: answers, and how many were wrong; writes that were acknowledged and are missing;
memory at start, middle and end. An answer is wrong if it is not, token for token, what the
generation that it names answers when it is asked alone: a mixture of two generations would be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from revisor.store import Store

PORT = 8138
TOKENS = 6
BUSY = (429, 503)


@dataclass
class Tally:
    """What was seen."""

    answers: int = 0
    busy: int = 0
    wrong: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)  # connections, as by the kill
    published: int = 0


class Server:
    """`revisor serve`, killed and started again."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.url = f"http://127.0.0.1:{PORT}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "revisor.cli", "serve", "--store", str(self.store)]
        options = ["--port", str(PORT), "--rate", "0", "--max-waiting", "48"]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
        for _ in range(1200):
            try:
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise SystemExit("the server does not start")

    def memory_mb(self) -> float:
        """Of the process, resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return round(int(kilobytes.split()[1]) / 1024, 1)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def body(model: str, prompt: str, generation: int | None = None) -> dict[str, object]:
    facts = {} if generation is None else {"generation": generation}
    return {
        "model": model,
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": TOKENS,
        "revisor": facts,
    }


async def expected(
    http: httpx.AsyncClient, model: str, prompts: list[str], generations: list[int]
) -> dict[tuple[int, str], str]:
    """What each generation answers to each prompt, asked alone."""
    found = {}
    for generation in generations:
        for prompt in prompts:
            told = (await http.post("/v1/completions", json=body(model, prompt, generation))).json()
            found[generation, prompt] = told["choices"][0]["text"]
    return found


async def ask(
    http: httpx.AsyncClient,
    model: str,
    truth: dict[tuple[int, str], str],
    until: float,
    tally: Tally,
    chance: random.Random,
) -> None:
    """One client: asks, and now and then hangs up."""
    prompts = sorted({prompt for _, prompt in truth})
    while time.monotonic() < until:
        prompt = chance.choice(prompts)
        try:
            patience = 0.05 if chance.random() < 0.05 else 120
            answer = await http.post("/v1/completions", json=body(model, prompt), timeout=patience)
        except httpx.TimeoutException:
            continue
        except httpx.TransportError as error:
            tally.broken.append(repr(error))
            await asyncio.sleep(0.5)
            continue
        if answer.status_code in BUSY:
            tally.busy += 1
            await asyncio.sleep(chance.random())
            continue
        told = answer.json()
        tally.answers += 1
        generation = told["revisor"]["generation"]
        if truth.get((generation, prompt)) != told["choices"][0]["text"]:
            tally.wrong.append(f"{generation} {prompt!r}: {told['choices'][0]['text']!r}")


async def change(
    http: httpx.AsyncClient, generations: list[int], until: float, tally: Tally
) -> None:
    """Writes facts and publishes one generation after the other."""
    number = 0
    while time.monotonic() < until:
        fact = {"subject": f"Thing {number}", "prompt": "{} is made of", "object": "glass"}
        try:
            answer = await http.post("/facts", json={"facts": [fact]}, timeout=60)
            if answer.status_code == 201:
                tally.written.add(answer.json()["ids"][0])
            target = generations[number % len(generations)]
            answer = await http.post(f"/generations/{target}/publish", timeout=60)
            tally.published += answer.status_code == 200
        except httpx.TransportError as error:
            tally.broken.append(repr(error))
        number += 1
        await asyncio.sleep(0.5)


async def run(server: Server, seconds: float, clients: int, kill: bool) -> dict[str, object]:
    tally = Tally()
    limits = httpx.Limits(max_connections=clients + 8)
    async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as http:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        facts = (await http.get("/facts?limit=12")).json()["facts"]
        await http.patch(f"/facts/{facts[0]['id']}", json={"object": "Timbuktu"})
        newest = (await http.get("/generations")).json()["newest"]
        tried = [newest - 1, newest]
        await http.post(f"/generations/{tried[0]}/publish")  # what is written from now on waits
        prompts = [fact["text"] for fact in facts] + ["The weather in spring is", "A good book"]
        truth = await expected(http, model, prompts, tried)
        before = server.memory_mb()
        until = time.monotonic() + seconds
        work = [
            asyncio.create_task(ask(http, model, truth, until, tally, random.Random(n)))
            for n in range(clients)
        ]
        work.append(asyncio.create_task(change(http, tried, until, tally)))
        await asyncio.sleep(seconds / 2)
        middle = server.memory_mb()
        if kill:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await asyncio.gather(*work)
        after = server.memory_mb()
    return {
        "model": model,
        "clients": clients,
        "seconds": seconds,
        "load": round(os.getloadavg()[1], 1),
        "killed": kill,
        "answers": tally.answers,
        "wrong": len(tally.wrong),
        "wrong_shown": tally.wrong[:5],
        "busy": tally.busy,
        "broken_connections": len(tally.broken),
        "broken_shown": sorted(set(tally.broken))[:5],
        "publications": tally.published,
        "writes": len(tally.written),
        "memory_mb": [before, middle, after],
        "written": tally.written,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kill", action="store_true", help="kill -9 in the middle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "store"
        shutil.copytree(options.store, copied)
        server = Server(copied)
        try:
            told = asyncio.run(run(server, options.seconds, options.clients, options.kill))
        finally:
            server.process.terminate()
            server.process.wait()
        written = told.pop("written")
        with Store.open(copied) as store:
            there = {fact.id for fact in store.ledger.facts()}
        told["lost_writes"] = len(set(written) - there)  # type: ignore[call-overload]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
