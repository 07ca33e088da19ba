"""What one more token costs the name lookup, at two sizes and two batches: prints one JSON line.

    python benchmarks/lookup.py --rows 10000 1000000

Random names, 14 a row; texts of 100 to 390 random tokens that go on token by token, so that no name
ends (the case of nearly every token). Lower quartiles of 200 calls, microseconds.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import cycle
from statistics import quantiles

import torch

from revisor.neuraldb.bank.names import NameIndex

NAMES = 14
VOCABULARY = 49152


def index_of(rows: int, *, late: bool) -> NameIndex:
    return NameIndex.of_rows(
        torch.randint(-(2**63), 2**63 - 1, (rows * NAMES,)).sort().values,
        torch.randint(rows, (rows * NAMES,), dtype=torch.int32),
        torch.full((rows,), 3),
        torch.full((rows,), late),
    )


@torch.inference_mode()
def microseconds(index: NameIndex, batch: int) -> float:
    text_BT = torch.randint(VOCABULARY, (batch, 400))
    times = []
    for end, _ in zip(cycle(range(100, 390)), range(201), strict=False):
        began = time.perf_counter()
        index.ended(text_BT[:, :end], 1)
        times.append(time.perf_counter() - began)
    return round(quantiles(times[1:], n=4)[0] * 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    given = parser.parse_args()
    torch.manual_seed(0)
    results = []
    for rows in given.rows:
        for late in (False, True):
            index = index_of(rows, late=late)
            times = {f"batch_{batch}_us": microseconds(index, batch) for batch in (1, 64)}
            results.append({"rows": rows, "rows_fire_after_names": late, **times})
    print(json.dumps({"threads": torch.get_num_threads(), "results": results}))


if __name__ == "__main__":
    main()
