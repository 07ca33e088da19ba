"""What the gate costs a token: going by names against keys alone, as one JSON line.

    python benchmarks/gate.py --rows 1000 10000 100000

Random rows, two entries each (keys of SmolLM2's width unless told), four names a row; one text of
64 tokens, of which the last (a decoded token) or all (a prompt) are asked about. Times are medians
in microseconds; "named, hit" ends a name, the others do not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.names import NameIndex, name_hashes
from revisor.neuraldb.gate.module import gate

NAMES = 4
VOCABULARY = 49152
TEXT = 64


def microseconds(call: Callable[[], object], rounds: int = 30) -> float:
    call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(median(times) * 1e6, 1)


def view_of(rows: int, width: int, hidden: int, hashes: torch.Tensor | None) -> View:
    entries = 2 * rows
    names = None
    if hashes is not None:
        order = hashes.argsort()
        names = NameIndex.of_rows(
            hashes[order],
            torch.arange(rows).repeat_interleave(NAMES)[order],
            torch.full((rows,), 2),
            torch.zeros(rows, dtype=torch.bool),
        )
    return View(
        ids=tuple(map(str, range(rows))),
        keys_ME=F.normalize(torch.randn(entries, width), dim=-1),
        gamma_M=torch.full((entries,), 0.69),
        row_M=torch.arange(rows).repeat_interleave(2),
        R_ND=torch.zeros(rows, hidden),
        encoder=KeyEncoder(),
        generation=1,
        names=names,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--hidden", type=int, default=576)
    args = parser.parse_args()
    torch.manual_seed(0)
    results = []
    for rows in args.rows:
        spelled = torch.randint(0, VOCABULARY, (rows * NAMES, 4)).tolist()
        named = view_of(rows, args.width, args.hidden, name_hashes(spelled))
        keyed = view_of(rows, args.width, args.hidden, None)
        text = torch.randint(0, VOCABULARY, (1, TEXT))
        hit = text.clone()
        hit[0, -4:] = torch.tensor(spelled[0])
        k_TF = torch.randn(TEXT, args.width)
        last_1F = k_TF[-1:]

        def ask(view: View, keys: torch.Tensor, ids: torch.Tensor | None) -> Callable[[], object]:
            return lambda: gate(keys, view, ids)

        results.append(
            {
                "rows": rows,
                "token_keys_alone": microseconds(ask(keyed, last_1F, None)),
                "token_named": microseconds(ask(named, last_1F, text)),
                "token_named_hit": microseconds(ask(named, last_1F, hit)),
                "prompt_keys_alone": microseconds(ask(keyed, k_TF, None)),
                "prompt_named": microseconds(ask(named, k_TF, text)),
            }
        )
    print(json.dumps({"threads": torch.get_num_threads(), "results": results}))


if __name__ == "__main__":
    main()
