"""What storing rows in 8 or 4 bits costs in efficacy: prints one JSON line.

    python benchmarks/precision.py --store STORE

Takes the newest bank of a store, stores its rows anew in fewer bits, and asks every fact on its
own prompt and on wordings that no build saw (`--data`, a benchmark file), with all rows
in force. Rows are not repaired after rounding, as a build in fewer bits would: this is the loss
before the check through the gate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from revisor.bank.bank import View
from revisor.bank.vectors import stored
from revisor.editing.request import ContextPlan, make_requests
from revisor.editing.score import score_contexts
from revisor.facts.fact import Fact
from revisor.gate.attach import attach
from revisor.store import Store

BATCH = 64


def in_bits(view: View, bits: int) -> View:
    return replace(view, keys_ME=stored(view.keys_ME[:], bits), R_ND=stored(view.R_ND[:], bits))


def score(store: Store, view: View, facts: Sequence[Fact]) -> list[tuple[bool, float]]:
    """Whether the model says each object greedily, and the loss a token."""
    found = []
    with attach(store.loaded.model, store.spec, store.settings.layer, view):
        for first in range(0, len(facts), BATCH):
            part = facts[first : first + BATCH]
            made = make_requests(part, store.loaded.tokenizer, ContextPlan(chat=False))
            scores = score_contexts(store.loaded, [request.contexts[0] for request in made])
            found += [(one.greedy, one.nll) for one in scores]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="CounterFact records with held-out paraphrases")
    given = parser.parse_args()
    with Store.open(given.store) as store:
        view = store.view()
        facts = list(store.ledger.facts())
        asked = {"own prompt": facts, "held-out wording": held_out(facts, given.data)}
        results = {}
        for bits in (32, 8, 4):
            few = in_bits(view, bits)
            results[bits] = {
                "bytes_per_fact": round((few.keys_ME.nbytes + few.R_ND.nbytes) / len(view.ids), 1)
            }
            for name, questions in asked.items():
                scores = score(store, few, questions)
                if scores:
                    results[bits][name] = {
                        "facts": len(scores),
                        "strict": round(fmean(said for said, _ in scores), 4),
                        "nll": round(fmean(nll for _, nll in scores), 4),
                    }
    print(json.dumps({"rows": len(view.ids), "bits": results}))


def held_out(facts: Sequence[Fact], data: Path | None) -> list[Fact]:
    """The facts in wordings that no build saw: a CounterFact record's paraphrases."""
    if data is None:
        return []
    wordings = {}
    for line in data.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        asked = record["requested_rewrite"]
        for text in record.get("paraphrase_prompts", ()):
            if asked["subject"] in text:
                wordings[asked["subject"], asked["prompt"]] = text
    return [
        replace(fact, prompt=wordings[fact.subject, fact.prompt].replace(fact.subject, "{}"))
        for fact in facts
        if (fact.subject, fact.prompt) in wordings
    ]


if __name__ == "__main__":
    main()
