"""How fast the ledger takes facts in and finds them: prints one JSON line.

Run it as `PYTHONPATH=src python benchmarks/ledger.py --rows 100000`. The facts are made up
and lie in an SQLite file in a temporary folder. Latencies are medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put


def made_up(rows: int) -> Iterator[Fact]:
    for number in range(rows):
        yield Fact(
            subject=f"Subject {number // 4} of the benchmark",
            prompt=f"The property {number % 4} of {{}} is",
            object=f"value {number}",
            relation=f"P{number % 4}",
            paraphrases=(f"What is property {number % 4} of {{}}? It is",),
        )


def median_ms(call: Callable[[], object], times: int = 20) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return round(1000 * statistics.median(taken), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    facts = list(made_up(rows))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        with Ledger.open(file, create=True) as ledger:
            start = time.perf_counter()
            ledger.apply((Put(fact) for fact in facts), actor="benchmark", reason="import")
            imported = time.perf_counter() - start
            start = time.perf_counter()
            ledger.apply((Put(fact) for fact in facts), actor="benchmark", reason="again")
            again = time.perf_counter() - start
            middle = facts[rows // 2].id
            start = time.perf_counter()
            read = sum(1 for _ in ledger.facts())
            everything = time.perf_counter() - start
            result = {
                "rows": read,
                "import_facts_per_second": round(rows / imported),
                "unchanged_facts_per_second": round(rows / again),
                "read_all_facts_per_second": round(rows / everything),
                "ls_first_20_ms": median_ms(lambda: list(ledger.facts(limit=20))),
                "ls_last_20_ms": median_ms(
                    lambda: list(ledger.facts(limit=20, offset=rows - 20)), times=5
                ),
                "search_ms": median_ms(
                    lambda: list(ledger.facts(search=f"value {rows - 1}")), times=3
                ),
                "show_ms": median_ms(lambda: ledger.get(middle)),
                "history_ms": median_ms(lambda: ledger.history(middle)),
                "count_ms": median_ms(ledger.count),
            }
        # Closing has moved the write-ahead log into the file.
        result["bytes_per_fact"] = round(file.stat().st_size / rows)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
