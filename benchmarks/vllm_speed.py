"""vLLM with facts beside plain vLLM: tokens a second, alternating rounds in one run.

    python benchmarks/vllm_speed.py --store STORE --model FOLDER [--rounds 5]

Run it in an environment with vLLM (`make test-vllm` makes one). Two engines live side by side, one
with REVISOR_STORE and one without; they take turns, and only one works at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROWS, TOKENS = 8, 64


def serve(model: str, dtype: str) -> None:
    """The child: an engine that answers a batch for each line it reads."""
    from vllm import LLM, SamplingParams

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever vLLM prints is no result
    llm = LLM(model=model, dtype=dtype, max_model_len=512)
    asked = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        prompts = json.loads(line)
        began = time.perf_counter()
        llm.generate(prompts, asked, use_tqdm=False)
        print(len(prompts) * TOKENS / (time.perf_counter() - began), file=out, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        serve(options.model, options.dtype)
        return
    from revisor.store import Store

    with Store.open(options.store) as store:
        facts = [fact.text for fact in store.ledger.facts(limit=ROWS // 2)]
    prompts = (facts + ["The largest planet of our solar system is"] * ROWS)[:ROWS]
    children = {}
    for name in ("plain", "facts"):
        environment = {key: v for key, v in os.environ.items() if key != "REVISOR_STORE"}
        if name == "facts":
            environment["REVISOR_STORE"] = options.store
        children[name] = subprocess.Popen(
            [sys.executable, __file__, "--child", "--model", options.model]
            + ["--dtype", options.dtype],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert children[name].stdout.readline().strip() == "ready"
    speeds: dict[str, list[float]] = {name: [] for name in children}
    for round_number in range(options.rounds + 1):
        order = list(children) if round_number % 2 else list(children)[::-1]
        for name in order:
            child = children[name]
            child.stdin.write(json.dumps(prompts) + "\n")
            child.stdin.flush()
            speed = float(child.stdout.readline())
            if round_number:  # the first warms up
                speeds[name].append(speed)
    for child in children.values():
        child.stdin.close()
        child.wait()
    medians = {name: round(statistics.median(found), 1) for name, found in speeds.items()}
    ratios = [with_ / plain for with_, plain in zip(speeds["facts"], speeds["plain"], strict=True)]
    print(json.dumps({**medians, "ratio": round(statistics.median(ratios), 3), "all": speeds}))


if __name__ == "__main__":
    main()
