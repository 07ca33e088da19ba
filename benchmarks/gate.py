"""What the gate costs: reading a prompt, a step, a decision, beside a model's own step.

    python benchmarks/gate.py --facts facts.jsonl --rows 10000 --batch 1 8 64

Facts come from a file of `{"subject", "prompt", "object"}` lines. One JSON line: microseconds are
medians, `overhead` is the gate's time by the model's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch

from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put
from revisor.gate.gate import FactGate
from revisor.gate.measure import decode_overhead, lookup_us, prefill_overhead
from revisor.gate.probe import load_probe
from revisor.gate.row import Row
from revisor.gate.tokens import Tokens
from revisor.index import FactIndex
from revisor.models.load import load_model
from revisor.question.encoder import default_encoder

_NAMES = 20
_PROMPT = 2_000


def facts_of(path: Path, rows: int) -> list[Fact]:
    with path.open(encoding="utf-8") as lines:
        read = (json.loads(line) for line in islice(lines, rows))
        return [
            Fact(subject=one["subject"], prompt=one["prompt"], object=one["object"]) for one in read
        ]


def microseconds(times: list[float]) -> float:
    return round(1e6 * statistics.median(times), 1)


def steps(gate: FactGate, names: list[str]) -> dict[str, float]:
    """A row of a prompt with names: read anew, and a step of it, due and not."""
    tokens, view = Tokens.of(gate.tokenizer), gate.view()
    told = "".join(f"{name} is known to many people in the town by the river. " for name in names)
    filler = "The weather was fine, and the people went to see the boats that came from the sea. "
    text = filler * (_PROMPT // 18) + told
    ids = tokens.encode(text)[-_PROMPT:]
    more = tokens.encode(filler)
    found: dict[str, list[float]] = {"read": [], "step": [], "due": []}
    for due in (False, True, False, True):
        start = time.perf_counter()
        row = Row(tokens, view, gate.encoder, gate.threshold)
        row.read(ids)
        row.action(due=False)
        found["read"].append(time.perf_counter() - start)
        for token in more:
            start = time.perf_counter()
            row.read([token])
            row.action(due=due)
            found["due" if due else "step"].append(time.perf_counter() - start)
    return {f"{name}_us": microseconds(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--steps", type=int, default=16)
    args = parser.parse_args()
    facts = facts_of(args.facts, args.rows)
    names = [fact.subject for fact in facts]
    loaded = load_model(args.model, dtype=args.dtype)
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder) / "l.sqlite", create=True) as ledger,
    ):
        ledger.apply(map(Put, facts), actor="bench", reason="measured")
        index = FactIndex.open(ledger, Path(folder))
        gate = FactGate(
            view=index.view,
            tokenizer=loaded.tokenizer,
            encoder=default_encoder(),
            probe=load_probe(loaded),
        )
        print(
            json.dumps(
                {
                    "rows": len(facts),
                    "threads": torch.get_num_threads(),
                    **steps(gate, names[:_NAMES]),
                    "lookup_us": lookup_us(gate.view(), names),
                    "decode": [
                        asdict(decode_overhead(loaded, gate, names, batch=size, steps=args.steps))
                        for size in args.batch
                    ],
                    "prefill": asdict(prefill_overhead(loaded, gate, names)),
                }
            )
        )


if __name__ == "__main__":
    main()
