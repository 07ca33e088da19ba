"""vLLM with facts beside plain vLLM: tokens a second, alternating rounds in one run.

What comes in: a built store and its model's folder. What goes out: one JSON line: for each batch
size the ratio of tokens a second with the facts to without, by the clock and by processor time. On
a machine that does other work go by the second. What it does not do: compare machines.

    python benchmarks/vllm_speed.py --store STORE --model FOLDER [--batches 1,8] [--rounds 5]

Run it in an environment with vLLM (`make test-vllm` makes one). Two engines live side by side, one
with REVISOR_STORE and one without; they take turns, and only one works at a time. Half of the
prompts name a fact.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import cycle, islice

TOKENS = 64
ORDINARY = "The largest planet of our solar system is"


def serve(model: str, dtype: str, eager: bool) -> None:
    """The child: an engine that answers a batch for each line it reads."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that its processor time is ours
    from vllm import LLM, SamplingParams

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever vLLM prints is no result
    llm = LLM(
        model=model,
        dtype=dtype,
        max_model_len=512,
        max_num_batched_tokens=512,
        enforce_eager=eager,
        gpu_memory_utilization=0.3,
    )
    asked = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        prompts = json.loads(line)
        clock, processor = time.perf_counter(), time.process_time()
        llm.generate(prompts, asked, use_tqdm=False)
        took = time.perf_counter() - clock, time.process_time() - processor
        print(json.dumps([len(prompts) * TOKENS / seconds for seconds in took]), file=out)
        out.flush()


def started(options: argparse.Namespace, store: str | None) -> subprocess.Popen[str]:
    """An engine in a process of its own."""
    environment = {key: v for key, v in os.environ.items() if key != "REVISOR_STORE"}
    environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB; two engines share the memory
    if store is not None:
        environment["REVISOR_STORE"] = store
    command = [sys.executable, __file__, "--child", "--model", options.model]
    child = subprocess.Popen(
        [*command, "--dtype", options.dtype, *(["--eager"] if options.eager else [])],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready", "it does not start"
    return child


def speeds(child: subprocess.Popen[str], prompts: list[str]) -> tuple[float, float]:
    """Tokens a second of one batch, by the clock and by processor time."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(prompts) + "\n")
    child.stdin.flush()
    clock, processor = json.loads(child.stdout.readline())
    return clock, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        serve(options.model, options.dtype, options.eager)
        return
    from revisor.store import Store

    with Store.open(options.store) as store:
        facts = [fact.text for fact in store.ledger.facts(limit=4)]
    pool = [text for fact in facts for text in (fact, ORDINARY)]
    children = {"plain": started(options, None), "facts": started(options, options.store)}
    told: dict[str, object] = {"dtype": options.dtype, "eager": options.eager}
    for batch in map(int, options.batches.split(",")):
        prompts = list(islice(cycle(pool), batch))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in children}
        for number in range(options.rounds + 1):
            for name in list(children) if number % 2 else list(children)[::-1]:
                measured = speeds(children[name], prompts)
                if number:  # the first warms up
                    found[name].append(measured)
        pairs = list(zip(found["facts"], found["plain"], strict=True))
        told[f"batch_{batch}"] = {
            "ratio_clock": round(statistics.median(f[0] / p[0] for f, p in pairs), 3),
            "ratio_processor": round(statistics.median(f[1] / p[1] for f, p in pairs), 3),
            "plain": [round(one[0], 1) for one in found["plain"]],
            "facts": [round(one[0], 1) for one in found["facts"]],
        }
    for child in children.values():
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
