"""A sweep of every method's hyperparameters on a development split, resumable, a line a setting.

    REVISOR_DATA=folder python -m benchmarks.sweep_baselines --facts 50
    python -m benchmarks.sweep_baselines --winners recipes/baselines.toml

The facts are CounterFact's records 2,000 to 2,100 with `first_of_pair`, by case_id: no figure in
the documentation is measured on them. Sequential methods get batches of a fifth of the facts, so
that the sweep sees five of them. A setting that is in the results already is not run again.

The score that ranks settings is the harmonic mean of strict efficacy, generalization (the mean of
its loose and strict form), loose specificity, and the share of its fluency on WikiText-2's
validation split that the model keeps (perplexity before / after, at most 1).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.counterfact import loose, plain, read, share
from revisor.baselines.registry import default_options, make_editor
from revisor.editing.editor import Editor
from revisor.editing.score import score_contexts
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, fingerprint, load_model
from revisor.models.spec import Spec, spec_of

RESULTS = Path(__file__).parent / "results" / "sweep.jsonl"
SKIP = 2000  # the development split starts here
PARAPHRASES, NEIGHBOURS = 2, 4  # prompts of each kind a fact

QUESTION = "Facts:\n{facts}\n\n{prompt}"
REPEATED = "{facts} {prompt}"

# Options that vary; the rest is at its default. The cheap methods come first.
GRID: Mapping[str, Mapping[str, list[Any]]] = {
    "icl": {"template": ["{facts}\n{prompt}", QUESTION, REPEATED]},
    "rag": {"retriever": ["bm25", "dense"], "top": [1, 3]},
    "grace": {"layer": [12, 16, 20], "radius": [0.3, 0.6]},
    "ultraedit": {"rate": [0.3, 1.0], "layers": [[5, 6, 7, 8], [14, 15, 16, 17]]},
    "memit": {"clamp": [0.75, 1.25], "weight": [200.0, 1000.0]},
    "alphaedit": {"clamp": [0.75, 1.25, 3.0], "threshold": [1.0, 2.0], "ridge": [0.1, 1.0]},
    "rect": {"keep": [0.4, 0.8], "weight": [200.0, 1000.0]},
    "memit-seq": {"weight": [200.0, 1000.0]},
    "ft": {"layer": [5, 11, 17], "rate": [0.02, 0.04]},
    "lora": {"rate": [3e-4, 1e-3, 3e-3]},
    "retrain": {"rate": [3e-4, 1e-3]},
    "rome": {"layer": [4, 6, 8]},
}
SEQUENTIAL = ("memit-seq", "rect", "alphaedit", "ultraedit")


def settings(methods: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in methods:
        names = list(GRID[name])
        for values in product(*GRID[name].values()):
            yield name, dict(zip(names, values, strict=True))


def perplexity(loaded: LoadedModel, folder: Path, tokens: int = 2048, width: int = 128) -> float:
    with gzip.open(folder / "corpus" / "wikitext2_raw_valid.txt.gz", "rt") as stream:
        ids = loaded.tokenizer(stream.read(tokens * 8))["input_ids"][:tokens]
    windows = torch.tensor(ids[: len(ids) // width * width]).view(-1, width)
    total = 0.0
    with torch.no_grad():
        for part in windows.split(8):
            logits = loaded.model(input_ids=part).logits[:, :-1].float()
            total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())) * len(part)
    return float(torch.tensor(total / len(windows)).exp())


def prompts(record: Mapping[str, Any], kind: str) -> list[str]:
    paraphrases = record["paraphrase_prompts"] or record["paraphrase_constructed"]
    neighbours = record["neighborhood_prompts"] or record["neighborhood_pool"]
    rewrite = record["requested_rewrite"]
    return {
        "efficacy": [rewrite["prompt"].replace("{}", rewrite["subject"])],
        "generalization": paraphrases[:PARAPHRASES],
        "specificity": neighbours[:NEIGHBOURS],
    }[kind]


def fact_of(record: Mapping[str, Any]) -> Fact:
    rewrite = record["requested_rewrite"]
    return Fact(
        subject=rewrite["subject"],
        prompt=rewrite["prompt"],
        object=rewrite["target_new"]["str"],
        object_before=rewrite["target_true"]["str"],
    )


def measure(
    loaded: LoadedModel, folder: Path, records: list[dict[str, Any]], editor: Editor | None
) -> dict[str, float]:
    """Scores of an editor, or of the unedited model."""
    found: dict[str, float] = {}

    def ask() -> None:
        for kind in ("efficacy", "generalization", "specificity"):
            new, old = [], []
            for record in records:
                fact = fact_of(record)
                # A neighbour prompt is about no fact: in-context gets none there.
                given = None if kind == "specificity" else fact
                for prompt in prompts(record, kind):
                    text = editor.reword(prompt, given) if editor else prompt
                    new.append(plain(loaded, text, fact.object))
                    old.append(plain(loaded, text, fact.object_before or ""))
            said, kept = score_contexts(loaded, new), score_contexts(loaded, old)
            wins = share(loose(said, kept))
            found[kind] = round(1 - wins, 4) if kind == "specificity" else wins
            if kind != "specificity":
                found[f"{kind}_strict"] = share([score.greedy for score in said])
        found["perplexity"] = round(perplexity(loaded, folder), 3)

    if editor is None:
        ask()
    else:
        with editor.attached():
            ask()
    return found


def score(line: Mapping[str, Any]) -> float:
    """The harmonic mean that ranks settings; see the file's first lines."""
    kept = min(1.0, line["unedited_perplexity"] / line["perplexity"])
    general = (line["generalization"] + line["generalization_strict"]) / 2
    parts = [line["efficacy_strict"], general, line["specificity"], kept]
    return round(harmonic_mean(parts), 4)


def run(
    loaded: LoadedModel,
    spec: Spec,
    folder: Path,
    records: list[dict[str, Any]],
    name: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    fixed = {"batch": max(1, len(records) // 5)} if name in SEQUENTIAL else {}
    editor = make_editor(name, loaded, spec, 5, options | fixed, folder)
    started = time.perf_counter()
    failed = editor.fit([fact_of(record) for record in records])
    seconds = time.perf_counter() - started
    found: dict[str, Any] = dict(measure(loaded, folder, records, editor))
    return found | {
        "seconds_per_fact": round(seconds / len(records), 3),
        "stored_bytes_per_fact": round(editor.stored_bytes / len(records)),
        "failed": len(failed),
    }


def lines() -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def rank(line: Mapping[str, Any]) -> tuple[int, float]:
    """A sweep of few facts cannot see damage that adds up."""
    return line["facts"], score(line)


def write_winners(path: Path) -> None:
    """The best setting of each method and model, as a recipe; more facts outweigh a score."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines():
        key = (line["model"], line["method"])
        if line["method"] in GRID and (key not in best or rank(line) > rank(best[key])):
            best[key] = line
    head = path.read_text(encoding="utf-8").split("\n\n")[0].rstrip()
    text = head + "\n"
    for (model, method), line in sorted(best.items()):
        text += f"\n# score {score(line)} on {line['facts']} facts\n[{model}.{method}]\n"
        defaults = default_options(method)
        for key, value in line["options"].items():
            chosen = tuple(value) if isinstance(value, list) else value
            if chosen != defaults[key]:
                text += f"{key} = {json.dumps(value)}\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("REVISOR_DATA", "data"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--facts", type=int, default=50, help="at most 100")
    parser.add_argument("--methods", default=",".join(GRID))
    parser.add_argument("--winners", type=Path, help="write the recipe and run nothing")
    given = parser.parse_args()
    if given.winners:
        write_winners(given.winners)
        return
    folder = Path(given.data_dir)
    records = read(folder, min(given.facts, 100), SKIP)
    loaded = load_model(given.model)
    spec = spec_of(loaded.model)
    about = {"model": given.model, "facts": len(records), "skip": SKIP}
    about["fingerprint"] = fingerprint(loaded, layer=0)
    known = {
        json.dumps([line["method"], line["options"], line["facts"], line["fingerprint"]])
        for line in lines()
    }
    base = measure(loaded, folder, records, None)
    print(json.dumps({"method": "unedited"} | about | base), flush=True)
    for name, options in settings(given.methods.split(",")):
        if json.dumps([name, options, len(records), about["fingerprint"]]) in known:
            continue
        line = {"method": name, "options": options} | about
        line |= run(loaded, spec, folder, records, name, options)
        line["unedited_perplexity"] = base["perplexity"]
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
