"""What it saves to read the beginnings that texts share once for all facts, as one JSON line.

    REVISOR_DATA=folder python benchmarks/heads.py --facts 96

The same requests of CounterFact are optimised in turns with what they share marked and not marked;
seconds are this process's own, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from counterfact import read
from revisor.facts.fact import Fact
from revisor.models.load import load_model
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.build import BuildSettings, value_settings, word_ends, written_at_end
from revisor.neuraldb.editing.request import Request
from revisor.neuraldb.editing.values import Residuals, compute_residuals


def alone(request: Request) -> Request:
    """The same, each text to be read whole."""
    return replace(request, contexts=tuple(replace(c, shared=0) for c in request.contexts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("REVISOR_DATA", "data"))
    parser.add_argument("--facts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layer", type=int, default=10)
    args = parser.parse_args()
    loaded = load_model("smollm2")
    spec = spec_of(loaded.model)
    facts = [
        Fact(subject=wish["subject"], prompt=wish["prompt"], object=wish["target_new"]["str"])
        for record in read(Path(args.data_dir), args.facts, 0)
        for wish in [record["requested_rewrite"]]
    ]
    settings = BuildSettings(layer=args.layer)
    marked = written_at_end(loaded, facts, settings)
    values = value_settings(settings, after=True)

    def run(requests: Sequence[Request]) -> tuple[float, Residuals]:
        began = time.process_time()
        found = compute_residuals(
            loaded.model, spec, args.layer, requests, values, continues_V=word_ends(loaded)
        )
        return time.process_time() - began, found

    seconds: dict[str, list[float]] = {"shared": [], "alone": []}
    steps: dict[str, float] = {}
    said: dict[str, int] = {}
    for _ in range(args.rounds):
        for name, requests in (("alone", [alone(one) for one in marked]), ("shared", marked)):
            took, found = run(requests)
            seconds[name].append(round(took, 2))
            steps[name] = round(float(found.steps_N.float().mean()), 2)
            said[name] = int(found.greedy_N.sum())
    texts = [context for request in marked for context in request.contexts]
    print(
        json.dumps(
            {
                "facts": len(facts),
                "dtype": str(next(loaded.model.parameters()).dtype),
                "threads": torch.get_num_threads(),
                "texts_per_fact": round(len(texts) / len(facts), 2),
                "tokens_per_fact": round(sum(len(c.ids) for c in texts) / len(facts), 1),
                "shared_per_fact": round(sum(c.shared for c in texts) / len(facts), 1),
                "suffix_per_fact": round(sum(c.suffix for c in texts) / len(facts), 1),
                "seconds": seconds,
                "ratio": round(sum(seconds["alone"]) / sum(seconds["shared"]), 3),
                "steps": steps,
                "said": said,
            }
        )
    )


if __name__ == "__main__":
    main()
