"""A sweep of every method's hyperparameters on a development split, resumable, a line a setting.

    REVISOR_DATA=folder python -m benchmarks.sweep_baselines --facts 50
    python -m benchmarks.sweep_baselines --winners recipes/baselines.toml

The facts are CounterFact's records 2,000 to 2,100 with `first_of_pair`, by case_id: no figure in
the documentation is measured on them. They are measured as `revisor eval` measures all facts, but
for the free text. Sequential methods get batches of a fifth of the facts, so that the sweep sees
five of them. A setting that is in the results already is not run again. `--shared-targets` lets
MEMIT and its kin optimise target values once on the unedited model, in two prefixed texts, as
`recipes/editors.toml` does; such lines say so.

The score that ranks settings is the harmonic mean of strict efficacy, generalization (the mean of
its loose and strict form), loose specificity, and the share of its fluency on WikiText-2 that the
model keeps (perplexity before / after, at most 1). Settings within 0.03 of the best cannot be
told apart by so few facts: of those the one that costs the least perplexity wins, since damage adds
up with more facts. Lines without a `protocol` are older: strict
there means that the object's tokens are the most probable ones, teacher-forced.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from revisor.bench.cases import Case
from revisor.bench.datasets import Source
from revisor.bench.methods.registry import default_options
from revisor.bench.runner import Evaluation, Fitted, Job
from revisor.bench.suites.base import Sizes
from revisor.bench.suites.text import FACTS
from revisor.bench.unedited import UNEDITED
from revisor.models.load import fingerprint, load_model

RESULTS = Path(__file__).parent / "results" / "sweep.jsonl"
SKIP = 2000  # the development split starts here
WINDOWS = 16  # of WikiText-2
TIE = 0.03  # of the score
PROTOCOL = 2  # 1 was teacher-forced

QUESTION = "Facts:\n{facts}\n\n{prompt}"
REPEATED = "{facts} {prompt}"

# Options that vary; the rest is at its default. The cheap methods come first.
GRID: Mapping[str, Mapping[str, list[Any]]] = {
    "icl": {"template": ["{facts}\n{prompt}", QUESTION, REPEATED]},
    "rag": {"top": [1, 3]},
    "grace": {"layer": [12, 16, 20], "radius": [0.3, 0.6]},
    "ultraedit": {"rate": [0.03, 0.1, 0.3, 1.0], "layers": [[5, 6, 7, 8], [14, 15, 16, 17]]},
    "memit": {"clamp": [0.75, 1.25], "weight": [200.0, 1000.0]},
    "alphaedit": {"clamp": [0.75, 1.25, 3.0], "threshold": [1.0, 2.0], "ridge": [0.1, 1.0]},
    "rect": {"keep": [0.4, 0.8], "weight": [200.0, 1000.0]},
    "memit-seq": {"weight": [200.0, 1000.0]},
    "ft": {"layer": [5, 11, 17], "rate": [0.005, 0.01, 0.02, 0.04]},
    "lora": {"rate": [1e-4, 3e-4, 1e-3, 3e-3]},
    "retrain": {"rate": [3e-5, 1e-4, 3e-4, 1e-3]},
    "rome": {"layer": [4, 6, 8]},
}
SEQUENTIAL = ("memit-seq", "rect", "alphaedit", "ultraedit")
SHARED = {"targets": "unedited", "prefixed": 2}
SHARING = ("memit", "memit-seq", "rect", "alphaedit")
Line = dict[str, Any]


def settings(methods: list[str]) -> Iterator[tuple[str, Line]]:
    for name in methods:
        names = list(GRID[name])
        for values in product(*GRID[name].values()):
            yield name, dict(zip(names, values, strict=True))


def write_split(source: Path, count: int, target: Path) -> None:
    """The development split as a file of facts, without the prompts for free text."""
    with gzip.open(source, "rt", encoding="utf-8") as stream:
        records = (json.loads(line) for line in stream)
        firsts = (record for record in records if record["first_of_pair"])
        with target.open("w", encoding="utf-8") as out:
            for record in islice(firsts, SKIP, SKIP + count):
                out.write(json.dumps({**record, "generation_prompts": []}) + "\n")


class Sweep:
    """Settings measured one after another; the unedited model is asked once.

    Args:
        job: the model and where its data are; `source.data` is the split.
        facts: how many the split holds.
        shared: whether target values are optimised once for all settings.
    """

    def __init__(self, job: Job, facts: int, *, shared: bool = False) -> None:
        self.job, self.facts, self.shared = job, facts, shared
        self.base: dict[str, list[Case]] = {}

    def measure(self, name: str, options: Line) -> Line:
        """Scores and costs of one setting, and the unedited model's perplexity."""
        fixed: Line = {"batch": max(1, self.facts // 5)} if name in SEQUENTIAL else {}
        if self.shared and name in SHARING:
            fixed |= SHARED
        tuples = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
        found: Line = {"shared_targets": True} if fixed.keys() >= SHARED.keys() else {}
        fitted: Fitted | None = None
        for suite, n in (("counterfact", self.facts), ("perplexity", WINDOWS)):
            sizes = Sizes(n=n, edits=self.facts)
            evaluation = Evaluation(
                replace(self.job, suite=suite, sizes=sizes, options={name: tuples | fixed})
            )
            evaluation.adopt(self.base.get(suite, []))
            plain = evaluation.measure(UNEDITED)
            self.base[suite] = evaluation.store.cases(UNEDITED, evaluation.ids)
            fitted = fitted or evaluation.begin(name)
            scores = evaluation.measure(name, fitted)
            found |= {key: v for key, v in scores.items() if not isinstance(v, Mapping)}
        return found | {"unedited_perplexity": plain["perplexity"]}


def score(line: Mapping[str, Any]) -> float:
    """The harmonic mean that ranks settings; see the file's first lines."""
    kept = min(1.0, line["unedited_perplexity"] / line["perplexity"])
    general = (line["generalization"] + line["generalization_strict"]) / 2
    parts = [line["efficacy_strict"], general, line["specificity"], kept]
    return round(harmonic_mean(parts), 4)


def winner(tried: Sequence[Line]) -> Line:
    """The best setting of a method: of the sweep with most facts, the gentlest near the top."""
    protocol, facts = max((line.get("protocol", 1), line["facts"]) for line in tried)
    last = [t for t in tried if (t.get("protocol", 1), t["facts"]) == (protocol, facts)]
    best = max(map(score, last))
    near = [line for line in last if score(line) > best - TIE]
    return min(near, key=lambda line: (line["perplexity"], -score(line)))


def lines() -> list[Line]:
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def write_winners(path: Path) -> None:
    """The best setting of each method and model, as a recipe."""
    tried: dict[tuple[str, str], list[Line]] = {}
    for line in lines():
        if line["method"] in GRID:
            tried.setdefault((line["model"], line["method"]), []).append(line)
    head = path.read_text(encoding="utf-8").split("\n\n")[0].rstrip()
    text = head + "\n"
    for (model, method), found in sorted(tried.items()):
        line = winner(found)
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
    parser.add_argument("--shared-targets", action="store_true")
    parser.add_argument("--winners", type=Path, help="write the recipe and run nothing")
    given = parser.parse_args()
    if given.winners:
        write_winners(given.winners)
        return
    folder, facts = Path(given.data_dir), min(given.facts, 100)
    loaded = load_model(given.model)
    about = {"model": given.model, "facts": facts, "skip": SKIP, "protocol": PROTOCOL}
    about["fingerprint"] = fingerprint(loaded)
    known = {
        json.dumps([line["method"], line["options"], line["facts"], line["fingerprint"]])
        for line in lines()
        if line.get("protocol") == PROTOCOL
    }
    with tempfile.TemporaryDirectory() as scratch:
        split = Path(scratch) / "development.jsonl"
        write_split(folder / FACTS, facts, split)
        job = Job(
            suite="",
            methods=(),
            loaded=loaded,
            source=Source(folder=folder, data=split),
        )
        sweep = Sweep(job, facts, shared=given.shared_targets)
        for name, options in settings(given.methods.split(",")):
            key = json.dumps([name, options, facts, about["fingerprint"]])
            if key in known:
                continue
            line = {"method": name, "options": options} | about | sweep.measure(name, options)
            with RESULTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
