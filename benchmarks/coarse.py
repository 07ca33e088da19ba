"""Looking for the nearest key: all keys against the index, in one process, one thread.

    python -m benchmarks.coarse                                   # synthetic keys
    python -m benchmarks.coarse --data DIR                        # keys of real facts

Prints a JSON line a number of keys and queries: milliseconds of the process for both, the median
of five, and of what they decide (bank/search.py) how much is the same. Synthetic keys are mixtures
of two of 4,000 vectors with a falling spectrum, queries mixtures of other two, and as many lists
are looked at as at first: a query's nearest key is one of many that are nearly as near, which is
harder on an index than text is. Keys of real facts are raw keys of their subjects in the packaged
model, as the method neuraldb has them but in one context each; queries are all tokens of ordinary
text and of 512 of the facts' prompts, and as many lists are looked at as a build would have it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.scale_facts import facts_of
from revisor import data
from revisor.facts.fact import Fact
from revisor.models.load import load_model
from revisor.models.spec import spec_of
from revisor.neuraldb.bank.search import compared, good_enough, learn, nearest, read_index
from revisor.neuraldb.build.indexed import LONGEST
from revisor.neuraldb.editing.keys import compute_keys, key_groups, token_keys
from revisor.neuraldb.editing.layers import SWEPT_LAYERS
from revisor.neuraldb.editing.settings import PAPER_GAMMA

WIDTH = 1536
PART = 50_000  # keys made at once
ASKED = 512
BATCHES = (1, 64, 512)
SLOW_S = 2.0  # what takes longer is measured once


def mixed(base: torch.Tensor, count: int, share: float, draw: torch.Generator) -> torch.Tensor:
    one, other = torch.randint(0, len(base), (2, count), generator=draw)
    return F.normalize(base[one] + share * base[other], dim=1)


def median_ms(run: Callable[[], object]) -> float:
    times: list[float] = []
    run()
    while len(times) < (1 if times and times[0] > SLOW_S else 5):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return round(sorted(times)[len(times) // 2] * 1e3, 2)


def synthetic(sizes: list[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(4000, WIDTH, generator=draw) * torch.logspace(0, -1.5, WIDTH)
    for count in sizes:
        parts = [
            mixed(base, min(PART, count - first), 0.7, draw) for first in range(0, count, PART)
        ]
        yield torch.cat(parts), mixed(base, max(BATCHES), 0.5, draw)


def real(sizes: list[int], folder: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    loaded = load_model("smollm2", dtype="fp32", device="cpu")
    spec, layer = spec_of(loaded.model), SWEPT_LAYERS["smollm2"]
    lines = islice(facts_of("100k", folder), max(sizes))
    facts = [
        Fact(subject=line["subject"], prompt=line["prompt"], object=line["object"])
        for line in lines
    ]
    contexts = [key_groups(fact, loaded.tokenizer, data.prefixes())[0][0] for fact in facts]
    keys_ME = F.normalize(compute_keys(loaded.model, spec, layer, contexts).float(), dim=1)
    for count in sizes:
        texts = [*data.background(), *(f.text for f in facts[: count : max(1, count // ASKED)])]
        ids = [tuple(loaded.tokenizer(text)["input_ids"])[:LONGEST] for text in texts]
        queries_TF, _ = token_keys(loaded.model, spec, layer, ids)
        yield keys_ME[:count], F.normalize(queries_TF, dim=1)


def measured(keys_ME: torch.Tensor, q_TE: torch.Tensor, *, tried: bool) -> Iterator[dict[str, Any]]:
    """Lines for one set of keys."""
    count = len(keys_ME)
    gamma_M, row_M = torch.full((count,), PAPER_GAMMA), torch.arange(count, dtype=torch.int32)
    began = time.process_time()
    index = learn(keys_ME)
    learnt_s = time.process_time() - began
    if tried:
        good, trial = good_enough(keys_ME, gamma_M, row_M, q_TE)
        index = good or replace(index, probes=index.lists)
    else:
        exact = nearest(q_TE, keys_ME)
        trial = compared(index.nearest(q_TE, keys_ME), exact, gamma_M, row_M)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index.write(path)
        about = {
            "keys": count,
            "lists": index.probes,
            "of": index.lists,
            "learn_s": round(learnt_s, 1),
            "file_mb": round(path.stat().st_size / 1e6, 1),
            "open_ms": median_ms(partial(read_index, path, keys_ME)),
            **{name: round(value, 5) for name, value in asdict(trial).items()},
        }
    spread_TE = q_TE[:: max(1, len(q_TE) // max(BATCHES))][: max(BATCHES)]
    for size in BATCHES:
        some_TE = spread_TE[:size]
        yield about | {
            "queries": size,
            "exact_ms": median_ms(partial(nearest, some_TE, keys_ME)),
            "coarse_ms": median_ms(partial(index.nearest, some_TE, keys_ME)),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, nargs="+", default=[5_000, 20_000, 100_000])
    parser.add_argument("--data", type=Path, help="folder of benchmark data: keys of real facts")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sets = real(chosen.keys, chosen.data) if chosen.data else synthetic(chosen.keys)
    for keys_ME, q_TE in sets:
        for line in measured(keys_ME, q_TE, tried=chosen.data is not None):
            kind = "subjects" if chosen.data else "synthetic"
            print(json.dumps({"kind": kind, **line}), flush=True)


if __name__ == "__main__":
    main()
