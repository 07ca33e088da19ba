"""Batched evaluation against one prompt at a time, on the same probes, as one JSON line.

    REVISOR_DATA=folder python benchmarks/evaluation.py --probes 128

The probes are CounterFact's: own prompts, other wordings and neighbors, each scored loosely and
strictly. Both ways give the same verdicts up to the rounding of batched arithmetic; how many
differ is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch

from revisor.bench.asking import Bench, ask
from revisor.bench.datasets import Source
from revisor.bench.suites import make_suite
from revisor.bench.suites.base import Sizes
from revisor.bench.unedited import Unedited
from revisor.models.load import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("REVISOR_DATA", "data"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--probes", type=int, default=128)
    args = parser.parse_args()

    loaded = load_model(args.model)
    bench = Bench(loaded=loaded)
    plan = make_suite("counterfact").plan(
        Source(folder=Path(args.data_dir)), Sizes(n=args.probes), loaded.tokenizer
    )
    probes = [probe for probe in plan.probes if probe.kind != "open"]
    probes = probes[:: max(1, len(probes) // args.probes)][: args.probes]
    editor = Unedited()
    ask(bench, editor, probes[:2], {})  # what depends on the vocabulary alone is not timed

    begun = time.perf_counter()
    together = ask(bench, editor, probes, {})
    batched = time.perf_counter() - begun
    begun = time.perf_counter()
    apart = [case for probe in probes for case in ask(bench, editor, [probe], {})]
    single = time.perf_counter() - begun
    differ = sum(a.values != b.values for a, b in zip(together, apart, strict=True))
    print(
        json.dumps(
            {
                "model": args.model,
                "probes": len(probes),
                "batched_per_second": round(len(probes) / batched, 2),
                "single_per_second": round(len(probes) / single, 2),
                "speedup": round(single / batched, 2),
                "verdicts_that_differ": differ,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
