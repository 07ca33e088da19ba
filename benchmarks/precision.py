"""What storing rows in 8 or 4 bits costs in efficacy: prints one JSON line.

    python benchmarks/precision.py --store STORE --data counterfact.jsonl.gz

Takes the newest bank of a store, stores its rows anew in fewer bits, and asks every fact on its
own prompt and on wordings that no build saw (`--data`, a benchmark file), with all rows
in force. Rows are not repaired after rounding, as a build in fewer bits would: this is the loss
before the check through the gate. The same questions are asked at all precisions, so that what
changes is told with an interval of its own (95 %, bootstrapped over questions).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from revisor.bench.datasets import read_items
from revisor.bench.metrics import bootstrap
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.neuraldb.bank.vectors import stored
from revisor.neuraldb.bank.view import View
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.score import score_targets
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.method import open_bank, valid_rows
from revisor.store import Store

BATCH = 256
WHOLE = 32


def in_bits(view: View, bits: int) -> View:
    return replace(view, keys_ME=stored(view.keys_ME[:], bits), R_ND=stored(view.R_ND[:], bits))


def score(store: Store, view: View, facts: Sequence[Fact]) -> list[tuple[bool, float]]:
    """Whether the model says each object greedily, and the loss a token."""
    found = []
    ws = store.bank_workspace
    with attach(ws.spec, ws.settings.layer, view):
        for first in range(0, len(facts), BATCH):
            part = facts[first : first + BATCH]
            made = make_requests(part, store.loaded.tokenizer, ContextPlan())
            scores = score_targets(store.loaded, [request.contexts[0] for request in made])
            found += [(one.greedy, one.nll) for one in scores]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="records with other wordings")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        bank, lease = open_bank(store.bank_workspace)
        view = valid_rows(store.bank_workspace, bank).view()
        facts = list(store.ledger.facts())
        asked = {"own prompt": facts, **held_out(facts, given.data)}
        results: dict[int, dict[str, object]] = {}
        whole: dict[str, list[tuple[bool, float]]] = {}
        for bits in (WHOLE, 8, 4):
            few = in_bits(view, bits)
            results[bits] = {
                "bytes_per_fact": round((few.keys_ME.nbytes + few.R_ND.nbytes) / len(view.ids), 1)
            }
            for name, questions in asked.items():
                scores = score(store, few, questions)
                before = whole.setdefault(name, scores)
                lost = [float(a) - float(b) for (a, _), (b, _) in zip(before, scores, strict=True)]
                mean = bootstrap(np.array(lost))
                results[bits][name] = {
                    "questions": len(scores),
                    "strict": round(fmean(said for said, _ in scores), 4),
                    "nll": round(fmean(nll for _, nll in scores), 4),
                    "lost": [round(part, 4) for part in (mean.mean, mean.low, mean.high)],
                }
        lease.close()
    print(json.dumps({"rows": len(view.ids), "bits": results}))


def held_out(facts: Sequence[Fact], data: Path) -> dict[str, list[Fact]]:
    """The facts in wordings that no build saw."""
    known = {fact.id: fact for fact in facts}
    found: dict[str, list[Fact]] = {"genuine wording": [], "constructed wording": []}
    for item in read_items(data).items:
        if (fact := known.get(item.fact.id)) is None:
            continue
        for name, texts in zip(found, (item.wordings, item.constructed), strict=True):
            found[name] += [
                replace(fact, prompt=text.replace(fact.subject, PLACEHOLDER))
                for text in texts
                if text.count(fact.subject) == 1
            ]
    return found


if __name__ == "__main__":
    main()
