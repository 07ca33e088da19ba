"""CounterFact through the real gate: quality, perplexity and build time, as one JSON line.

    REVISOR_DATA=folder python benchmarks/counterfact.py --facts 1000

The first `--facts` records with `first_of_pair`, by case_id. Loose scores compare probabilities,
as the papers do; strict ones ask whether greedy decoding says exactly the object's tokens.
Neighbour prompts whose subject is itself edited are dropped and counted. Perplexity is that of
WikiText-2's test split, with and without the facts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from revisor import data
from revisor.facts.fact import Fact, normal_form
from revisor.models.load import LoadedModel, load_model
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.calibration import calibrate
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.request import Context, ContextPlan, text_context
from revisor.neuraldb.editing.residuals import ValueSettings
from revisor.neuraldb.editing.rows import build_rows, empty_bank
from revisor.neuraldb.editing.score import Score, score_contexts
from revisor.neuraldb.editing.settings import PREFIXED, BuildSettings
from revisor.neuraldb.gate.attach import attach


def read(folder: Path, count: int, skip: int = 0) -> list[dict[str, Any]]:
    records = []
    with gzip.open(folder / "counterfact" / "counterfact.jsonl.gz", "rt") as stream:
        for line in stream:
            record = json.loads(line)
            if record["first_of_pair"]:
                records.append(record)
            if len(records) == count + skip:
                break
    return records[skip:]


def plain(loaded: LoadedModel, text: str, target: str) -> Context:
    return text_context(loaded.tokenizer, text + "{}", "", target, "bare")


def perplexity(loaded: LoadedModel, folder: Path, tokens: int, width: int = 256) -> float:
    """exp of the mean NLL over the start of WikiText-2's test split, in windows."""
    with gzip.open(folder / "corpus" / "wikitext2_raw_test.txt.gz", "rt") as stream:
        ids = loaded.tokenizer(stream.read()[: tokens * 8])["input_ids"][:tokens]
    windows = torch.tensor(ids[: len(ids) // width * width]).view(-1, width)
    total = 0.0
    with torch.no_grad():
        for part in windows.split(8):
            logits = loaded.model(input_ids=part).logits[:, :-1].float()
            total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())) * len(part)
    return float(torch.tensor(total / len(windows)).exp())


def share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(1, len(flags)), 4)


def loose(new: Sequence[Score], old: Sequence[Score]) -> list[bool]:
    return [n.nll < o.nll for n, o in zip(new, old, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("REVISOR_DATA", "data"))
    parser.add_argument("--facts", type=int, default=1000)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--layer", type=int, default=5)
    parser.add_argument("--whiten", action="store_true", help="whitened keys, not raw ones")
    parser.add_argument("--gamma", type=float)
    parser.add_argument("--prefixes", type=int, default=PREFIXED)
    parser.add_argument("--no-kl", action="store_true", help="leave the KL term out")
    parser.add_argument("--perplexity-tokens", type=int, default=16384)
    parser.add_argument("--neighbors", type=int, default=10)
    defaults = ValueSettings()
    for name in ("rate", "stop_nll", "clamp"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name)
        )
    parser.add_argument("--steps", type=int, default=defaults.steps)
    args = parser.parse_args()

    folder = Path(args.data_dir)
    loaded = load_model(args.model, dtype=args.dtype)
    spec = spec_of(loaded.model)
    records = read(folder, args.facts, args.skip)
    facts, olds = [], []
    for record in records:
        wish = record["requested_rewrite"]
        facts.append(
            Fact(
                subject=wish["subject"],
                prompt=wish["prompt"],
                object=wish["target_new"]["str"],
                relation=wish["relation_id"],
            )
        )
        olds.append(wish["target_true"]["str"])
    edited = {normal_form(fact.subject) for fact in facts}

    began = time.perf_counter()
    calibration = calibrate(loaded, spec, args.layer, whiten=args.whiten)
    calibrated = time.perf_counter() - began
    settings = BuildSettings(
        layer=args.layer,
        whiten=args.whiten,
        gamma=args.gamma,
        contexts=ContextPlan(
            prefixes=data.prefixes(),
            per_fact=args.prefixes,
            chat=False,
            essence=not args.no_kl,
        ),
        values=replace(
            defaults, rate=args.rate, stop_nll=args.stop_nll, clamp=args.clamp, steps=args.steps
        ),
    )
    began = time.perf_counter()
    built = build_rows(loaded, spec, calibration, facts, settings)
    bank = empty_bank(spec, calibration, settings)
    for row in built.rows:
        bank.put(row, 1)
    by_id = {fact.id: fact for fact in facts}
    failed = check_rows(loaded, spec, bank, by_id, bank.ids, settings, 1)
    seconds = time.perf_counter() - began

    own = [(fact.text, fact.object, old) for fact, old in zip(facts, olds, strict=True)]
    para, near, dropped = [], [], 0
    for record, fact, old in zip(records, facts, olds, strict=True):
        para += [(text, fact.object, old) for text in record["paraphrase_prompts"]]
        names = record["neighborhood_subjects"]
        prompts = [*record["neighborhood_prompts"], *record["neighborhood_pool"]]
        for text, name in list(zip(prompts, names, strict=False))[: args.neighbors]:
            if name is not None and normal_form(name) in edited:
                dropped += 1
            else:
                near.append((text, fact.object, old))

    def measure() -> dict[str, float]:
        scores = {}
        for name, items in (("own", own), ("para", para), ("near", near)):
            new = score_contexts(loaded, [plain(loaded, t, n) for t, n, _ in items])
            old = score_contexts(loaded, [plain(loaded, t, o) for t, _, o in items])
            flags = loose(new, old)
            if name == "near":
                scores["specificity"] = share([not flag for flag in flags])
                continue
            title = "efficacy" if name == "own" else "generalization"
            scores[title] = share(flags)
            scores[f"{title}_strict"] = share([score.greedy for score in new])
        if args.perplexity_tokens:
            scores["perplexity"] = round(perplexity(loaded, folder, args.perplexity_tokens), 4)
        return scores

    unedited = measure()
    with attach(spec, args.layer, bank.view()):
        result = measure()
    report = {
        "suite": "counterfact",
        "n": len(facts),
        "model": args.model,
        "layer": args.layer,
        "settings": {k: v for k, v in vars(args).items() if k != "data_dir"},
        "gamma": settings.threshold(calibration),
        "unedited": unedited,
        "neuraldb": result,
        "perplexity_ratio": round(
            result.get("perplexity", 1.0) / unedited.get("perplexity", 1.0), 5
        ),
        "specificity_change": round(result["specificity"] - unedited["specificity"], 4),
        "failed": len(failed),
        "steps": round(built.steps / len(facts), 2),
        "seconds_per_fact": round(seconds / len(facts), 4),
        "calibration_seconds": round(calibrated, 2),
        "neighbors": len(near),
        "neighbors_dropped": dropped,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
