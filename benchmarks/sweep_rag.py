"""Which way of retrieval answers best with a model, on facts that no figure is measured on.

    python -m benchmarks.sweep_rag --store STORE --data DIR --encoder FOLDER [--facts 30]

What comes in: a store of real facts, whose first ones the figures are of; a sentence encoder. What
goes out: a JSON line a setting, the best last: shares of own prompts and of other wordings that are
answered with the object, whole. What it does not do: keep what it measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from statistics import fmean
from typing import Any

from revisor.bench.asking import Bench, ask
from revisor.bench.cases import Probe
from revisor.bench.datasets import Source
from revisor.bench.methods.registry import make_editor
from revisor.bench.suites.stored import asked_of
from revisor.progress import Progress
from revisor.store import Store

TEMPLATES = (
    "{facts}\n{prompt}",
    "Facts:\n{facts}\n\n{prompt}",
    "Answer by these facts where they tell it.\n{facts}\n\n{prompt}",
)
TOPS = (1, 3, 5)
SCORES = {"own": "efficacy", "wording": "generalization"}


def probes(source: Source, store: Store, count: int, skip: int) -> Iterator[Probe]:
    """The own prompts and other wordings of some facts behind the first ones."""
    behind = {fact.id for fact in islice(store.ledger.facts(), skip, skip + count)}
    for one in asked_of(source, store, skip + count, seed=0):
        if one.kind in SCORES and one.fact is not None and one.fact.id in behind:
            yield Probe(
                id=one.name,
                case=one.fact.id,
                score=SCORES[one.kind],
                prompt=one.prompt,
                wanted=(one.fact.object,),
                fact=one.fact,
            )


def settings(encoder: Path) -> Iterator[dict[str, Any]]:
    for retriever in ("bm25", f"sentence-transformers:{encoder}"):
        for top, template in product(TOPS, TEMPLATES):
            yield {"retriever": retriever, "top": top, "template": template}


def sweep(store: Store, source: Source, encoder: Path, count: int, skip: int) -> None:
    facts = list(store.ledger.facts())
    asked = list(probes(source, store, count, skip))
    bench = Bench(loaded=store.loaded)
    found = []
    for options in settings(encoder):
        editor = make_editor("rag", store.loaded, options)
        with Progress("Taking facts in"):
            editor.fit(facts)
        with editor.attached():
            cases = ask(bench, editor, asked, {})
        shares = {
            score: round(fmean(one.values[score] for one in cases if score in one.values), 3)
            for score in ("efficacy_strict", "generalization_strict")
        }
        found.append({**options, "retriever": options["retriever"].partition(":")[0], **shares})
        print(json.dumps(found[-1]), flush=True)
    print(
        json.dumps(
            max(found, key=lambda one: one["efficacy_strict"] + one["generalization_strict"])
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=30)
    parser.add_argument("--skip", type=int, default=2000)
    wanted = parser.parse_args()
    with Store.open(wanted.store) as store:
        source = Source(folder=wanted.data)
        sweep(store, source, wanted.encoder, wanted.facts, wanted.skip)


if __name__ == "__main__":
    main()
