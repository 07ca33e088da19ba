"""How fast the ledger takes facts in and finds them: prints one JSON line.

Run it as `PYTHONPATH=src python benchmarks/ledger.py --rows 100000`, with `--database URL` for
PostgreSQL. The facts are made up; without a URL they lie in an SQLite file in a temporary
folder. Latencies are medians, in milliseconds. `import_cpu_seconds` is what this process spent on
the import, for machines that others use as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger


def made_up(rows: int) -> Iterator[Fact]:
    for number in range(rows):
        yield Fact(
            subject=f"Subject {number // 4} of the benchmark",
            prompt=f"The property {number % 4} of {{}} is",
            object=f"value {number}",
            relation=f"P{number % 4}",
            paraphrases=(f"What is property {number % 4} of {{}}? It is",),
        )


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_ms(call: Callable[[], object], times: int = 20) -> float:
    return round(1000 * statistics.median(seconds(call) for _ in range(times)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--changed", type=int, default=1_000, help="facts that differ, for diff")
    parser.add_argument("--database", help="URL of an empty database")
    given = parser.parse_args()
    rows, changed = given.rows, min(given.changed, given.rows)
    facts = list(made_up(rows))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        with Ledger.open(given.database or file, create=True) as ledger:

            def put(new: Iterator[Fact]) -> None:
                ledger.apply(map(Put, new), actor="benchmark", reason="import")

            cpu = time.process_time()
            imported = seconds(lambda: put(iter(facts)))
            cpu = time.process_time() - cpu
            again = seconds(lambda: put(iter(facts)))
            put(replace(fact, object="other") for fact in facts[:: max(1, rows // changed)])
            middle = facts[rows // 2]
            result = {
                "database": ledger._engine.dialect.name,
                "rows": ledger.count(),
                "import_facts_per_second": round(rows / imported),
                "import_cpu_seconds": round(cpu, 1),
                "unchanged_facts_per_second": round(rows / again),
                "read_all_facts_per_second": round(
                    rows / seconds(lambda: sum(1 for _ in ledger.facts()))
                ),
                "ls_first_20_ms": median_ms(lambda: list(ledger.facts(limit=20))),
                "ls_subject_ms": median_ms(lambda: list(ledger.facts(subject=middle.subject))),
                "search_ms": median_ms(
                    lambda: list(ledger.facts(search=f"value {rows - 1}")), times=3
                ),
                "show_ms": median_ms(lambda: ledger.history(middle.id)),
                "get_ms": median_ms(lambda: ledger.get(middle.id)),
                "changed": changed,
                "diff_ms": median_ms(lambda: ledger.diff(1, 2), times=3),
                "write_one_ms": median_ms(
                    lambda: put(iter([replace(middle, object=str(time.perf_counter()))]))
                ),
                "verify_s": round(seconds(ledger.verify), 2),
            }
        if not given.database:
            # Closing has moved the write-ahead log into the file.
            result["bytes_per_fact"] = round(file.stat().st_size / rows)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
