"""What facts cost vLLM: an engine with a store and one without, in turn, in one run.

    python -m benchmarks.vllm_speed --store STORE --text TEXT.txt.gz [--rounds 12] [--out FILE]

To be run where vLLM is (`make test-vllm` makes such an environment). Both engines stay up, each in
one process, and only one of them works at a time: each round gives both the same beginnings of
paragraphs of a text, one alone and then several at once, so many tokens of each whatever the model
says. They go on by turns, a few steps each, so that what the neighbours on a shared machine do
meets both. Prints, and with `--out` writes, one JSON object: tokens a second with the facts over
without, on the clock and of the processor's time alone, as medians over the rounds with 95 %
intervals; and the share of the steps' time that is spent in the logits processor itself. Of the
answers it tells how many name a subject of the store: where none is named the model's logits are
not looked at.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.serve import ratio
from revisor.language.names import mentions
from revisor.store import Store

MEMORY = 128 << 20  # bytes for keys and values
WORDS = 24  # of a paragraph that a prompt is
TURN = 16  # steps that an engine takes before it is the other's turn


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds for some steps.

    Attributes:
        clock: on the wall.
        processor: of all threads of the engine.
        facts: of `clock`, in the logits processor.
    """

    clock: float = 0.0
    processor: float = 0.0
    facts: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            clock=self.clock + other.clock,
            processor=self.processor + other.processor,
            facts=self.facts + other.facts,
        )


class Engine:
    """vLLM in a process of its own, with a store or without; a context manager."""

    def __init__(self, options: argparse.Namespace, store: Path | None) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(options, store, other))
        self._process.start()
        other.close()  # so that an engine that ends is noticed

    def __enter__(self) -> Engine:
        try:
            self._pipe.recv()
        except EOFError:
            raise SystemExit("the engine does not start") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()

    def begin(self, prompts: Sequence[str]) -> None:
        """Take these texts, to be gone on with."""
        self._pipe.send(list(prompts))

    def go_on(self) -> tuple[Spent, list[str]]:
        """Some steps; what they took, and the texts that are whole now."""
        self._pipe.send(TURN)
        found: tuple[Spent, list[str]] = self._pipe.recv()
        return found


def serve(options: argparse.Namespace, store: Path | None, pipe: Any) -> None:
    """Run an engine as a pipe says, until it says None."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.pop("REVISOR_STORE", None)
    if store is not None:
        os.environ["REVISOR_STORE"] = str(store.resolve())
    from vllm import LLM, SamplingParams

    from revisor.models.packaged import packaged_folder

    in_facts = timed()
    engine = LLM(
        options.model or str(packaged_folder("smollm2")),
        dtype=options.dtype,
        enforce_eager=options.eager,
        max_model_len=1024,
        max_num_seqs=options.together,
        kv_cache_memory_bytes=MEMORY,
        enable_prefix_caching=False,
    ).llm_engine
    params = SamplingParams(temperature=0, max_tokens=options.tokens, ignore_eos=True)
    pipe.send("ready")
    asked = 0
    while (told := pipe.recv()) is not None:
        if isinstance(told, list):
            for prompt in told:
                asked += 1
                engine.add_request(str(asked), prompt, params)
            continue
        began, used, before = time.perf_counter(), time.process_time(), in_facts()
        done = [one for _ in range(told) for one in engine.step() if one.finished]
        spent = Spent(
            clock=time.perf_counter() - began,
            processor=time.process_time() - used,
            facts=in_facts() - before,
        )
        pipe.send((spent, [one.prompt + one.outputs[0].text for one in done]))


def timed() -> Callable[[], float]:
    """Have the logits processor timed; what it has taken so far."""
    from revisor.engines.vllm import FactLogitsProcessor

    total = [0.0]

    def measured(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                total[0] += time.perf_counter() - began

        return call

    for name in ("apply", "update_state", "add_request", "apply_staged_writes"):
        setattr(FactLogitsProcessor, name, measured(getattr(FactLogitsProcessor, name)))
    return lambda: total[0]


def prompts_of(file: Path, count: int) -> list[str]:
    """The beginnings of paragraphs of a text, drawn by a fixed seed."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as stream:
        paragraphs = [line.split() for line in stream]
    long = [" ".join(words[:WORDS]) for words in paragraphs if len(words) > 2 * WORDS]
    return random.Random(0).sample(long, count)


def together(
    engines: Sequence[Engine], prompts: Sequence[str]
) -> tuple[list[Spent], list[list[str]]]:
    """The same texts by several engines, in turn: what each took, and what it said."""
    spent, texts = [Spent() for _ in engines], [list[str]() for _ in engines]
    for engine in engines:
        engine.begin(prompts)
    while any(len(said) < len(prompts) for said in texts):
        for number, engine in enumerate(engines):
            took, whole = engine.go_on()
            spent[number] += took
            texts[number] += whole
    return spent, texts


def figures(
    with_: Engine, without: Engine, options: argparse.Namespace, view: Any
) -> dict[str, Any]:
    """Who begins changes from round to round; the first round warms up."""
    sizes = (1, options.together)
    prompts = iter(prompts_of(options.text, (options.rounds + 1) * sum(sizes)))
    pairs: dict[int, list[tuple[Spent, Spent]]] = {size: [] for size in sizes}
    naming = dict.fromkeys(sizes, 0)
    for number in range(options.rounds + 1):
        for size in sizes:
            order = (with_, without) if number % 2 else (without, with_)
            spent, texts = together(order, [next(prompts) for _ in range(size)])
            if number:
                mine = order.index(with_)
                pairs[size].append((spent[mine], spent[1 - mine]))
                naming[size] += sum(bool(mentions(text, view)) for text in texts[mine])
                print(number, size, *pairs[size][-1], file=sys.stderr)
    return {str(size): told(pairs[size], size, naming[size], options) for size in sizes}


def told(
    pairs: Sequence[tuple[Spent, Spent]], size: int, naming: int, options: argparse.Namespace
) -> dict[str, Any]:
    tokens = size * options.tokens
    shares = [mine.facts / mine.clock for mine, _ in pairs]
    return {
        "throughput_ratio": ratio([b.clock for _, b in pairs], [a.clock for a, _ in pairs]),
        "processor_ratio": ratio([b.processor for _, b in pairs], [a.processor for a, _ in pairs]),
        "share_in_facts": round(statistics.mean(shares), 4),
        "tokens_per_second": round(statistics.median(tokens / a.clock for a, _ in pairs), 1),
        "tokens_per_second_without": round(
            statistics.median(tokens / b.clock for _, b in pairs), 1
        ),
        "answers": len(pairs) * size,
        "answers_naming": naming,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="paragraphs, a line each")
    parser.add_argument("--model", help="folder or name; the packaged SmolLM2-135M")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--together", type=int, default=8, help="sequences at once")
    parser.add_argument("--tokens", type=int, default=256, help="of each answer")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with (
        Store.open(options.store) as store,
        Engine(options, options.store) as with_,
        Engine(options, None) as without,
    ):
        found = {"facts": sum(1 for _ in store.ledger.facts()), "tokens": options.tokens}
        found |= {"dtype": options.dtype, "eager": options.eager}
        found |= figures(with_, without, options, store.index.view())
    line = json.dumps(found | {"load": round(os.getloadavg()[1], 1)})
    print(line)
    if options.out:
        options.out.write_text(f"{line}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
