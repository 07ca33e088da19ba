"""Looking for the nearest key: all keys against the coarse index, in one process, one thread.

    python -m benchmarks.coarse

Prints a JSON line a number of keys and queries: milliseconds of both, the median of five. Keys are
synthetic (mixtures of two of 4,000 vectors with a falling spectrum); which rows are right is
measured at build time, on a real bank (bank/coarse.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from revisor.bank.coarse import Coarse, learn
from revisor.bank.search import nearest

WIDTH = 1536


def mixed(base: torch.Tensor, count: int, share: float, draw: torch.Generator) -> torch.Tensor:
    one, other = torch.randint(0, len(base), (2, count), generator=draw)
    return F.normalize(base[one] + share * base[other], dim=1)


def median_ms(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(sorted(times)[2] * 1e3, 2)


def main() -> None:
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(4000, WIDTH, generator=draw) * torch.logspace(0, -1.5, WIDTH)
    for keys in (5_000, 20_000, 100_000):
        keys_ME = mixed(base, keys, 0.7, draw)
        index = learn(keys_ME)
        for queries in (1, 64, 512):
            q_TE = mixed(base, queries, 0.5, draw)

            def exact(q_TE: torch.Tensor = q_TE, keys_ME: torch.Tensor = keys_ME) -> object:
                return nearest(q_TE, keys_ME)

            def coarse(
                q_TE: torch.Tensor = q_TE, keys_ME: torch.Tensor = keys_ME, index: Coarse = index
            ) -> object:
                return index.nearest(q_TE, keys_ME)

            line = {"keys": keys, "queries": queries, "exact_ms": median_ms(exact)}
            print(json.dumps(line | {"coarse_ms": median_ms(coarse)}), flush=True)


if __name__ == "__main__":
    main()
