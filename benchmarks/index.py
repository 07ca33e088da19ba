"""What the index of a ledger of so many facts costs: prints one JSON object.

    python benchmarks/index.py --rows 1000000 --data DIR

With a folder of benchmark data (or REVISOR_DATA) the facts are real ones (scale_facts.py), without
made up. The figures are explained at `revisor.index.measure.IndexFigures`; `ledger_seconds` is what
writing the ledger took. `--ledger FILE` keeps the ledger, and uses it if it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.index.measure import figures, measure, synthetic
from scale_facts import TIERS, facts_of


def facts(rows: int, data: Path | None) -> Iterator[Fact]:
    if data is None:
        return synthetic(rows)
    tier = next(name for name, tier in TIERS.items() if tier.size >= rows or name == "1M")
    return (Fact(**fields) for fields in islice(facts_of(tier, data), rows))


def batched(puts: Iterator[Put]) -> Iterator[list[Put]]:
    """As many as one transaction may well hold in memory."""
    while some := list(islice(puts, 50_000)):
        yield some


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--data", type=Path, default=os.environ.get("REVISOR_DATA"))
    parser.add_argument("--ledger", help="a file or URL; a temporary file by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="revisor-index-") as scratch:
        place = given.ledger or str(Path(scratch) / "ledger.sqlite")
        start = time.perf_counter()
        with Ledger.open(place, create=True) as ledger:
            if not ledger.count():
                data = Path(given.data) if given.data else None
                for some in batched(map(Put, facts(given.rows, data))):
                    ledger.apply(some, actor="benchmark", reason="import")
        seconds = time.perf_counter() - start
        measured = figures(measure(place, Path(scratch) / "index"))
    print(json.dumps({**measured, "ledger_seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
