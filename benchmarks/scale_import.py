"""How fast a large fact file gets into a ledger and under its names: prints one JSON line.

    python benchmarks/scale_import.py --facts facts-1m.jsonl --names 20000

The whole file is imported in one transaction; the names of the first facts are tokenised in every
spelling, and an index is made of as many hashes as all facts would have. CPU seconds stand beside
wall seconds, for machines that others use as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from revisor.facts.changes import Put
from revisor.facts.ledger import Ledger
from revisor.facts.load import load_facts
from revisor.models.load import load_model
from revisor.neuraldb.bank.names import NameIndex
from revisor.neuraldb.editing.names import fact_names

BATCH = 512  # facts tokenised at once, as in a build's shard


def seconds(call: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--names", type=int, default=20_000, help="facts whose names are tokenised")
    parser.add_argument("--model", default="smollm2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        with Ledger.open(file, create=True) as ledger:
            took = seconds(
                lambda: ledger.apply(
                    map(Put, load_facts(given.facts)), actor="benchmark", reason="import"
                )
            )
            rows = ledger.count()
        size = file.stat().st_size
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokenizer = load_model(given.model).tokenizer
    few = list(islice(load_facts(given.facts), given.names))
    found: list[torch.Tensor] = []

    def tokenise() -> None:
        for first in range(0, len(few), BATCH):
            found.extend(fact_names(few[first : first + BATCH], tokenizer))

    named = seconds(tokenise)
    each = sum(map(len, found)) / len(few)
    hashes = list(torch.randint(-(2**63), 2**63 - 1, (rows, round(each))).unbind())
    counts, after = torch.full((rows,), 3), torch.zeros(rows, dtype=torch.bool)
    indexed = seconds(lambda: NameIndex.of(hashes, counts, after))
    print(
        json.dumps(
            {
                "facts": rows,
                "import": took | {"facts_per_second": round(rows / took["seconds"])},
                "import_peak_rss_mb": round(peak_mb),
                "ledger_bytes_per_fact": round(size / rows),
                "names": named | {"facts": len(few), "names_per_fact": round(each, 1)},
                "index": indexed | {"hashes": rows * round(each)},
            }
        )
    )


if __name__ == "__main__":
    main()
