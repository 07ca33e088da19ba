"""Questions over several facts, where the model says its steps: do the facts compose in its text?

    python -m benchmarks.step_by_step --data DIR [--model qwen2.5-coder-1.5b] [--chains 40]

What comes in: MQuAKE's hard cases (Zhong et al. 2023), chains of four facts that contradict what
the model knows. What goes out: one JSON object: shares of questions, and of cases by any of their
three wordings as MQuAKE counts, that are answered with the new answer, asked for it at once and
asked for the steps first; unedited and with the facts; whole answers to read. What it does not do:
choose a prompt by what it scores: instruction and example were written once, the example's names
are in no case.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from revisor.bench.completing import Completer
from revisor.bench.datasets import Source
from revisor.bench.metrics import begins_with, bootstrap
from revisor.bench.suites.hops import Chain, read_chains
from revisor.engines.attach import attach
from revisor.models.load import LoadedModel, load_model
from revisor.progress import Progress

STEPS = (
    "Answer in steps. Begin with the innermost part of the question and write one short sentence "
    "a step, with both names in it. The last line is 'Answer:' and the name alone."
)
EXAMPLE = (
    "What is the currency of the country where the maker of Zilver bicycles is based?",
    "Zilver bicycles are made by Velo Ostrava.\n"
    "Velo Ostrava is based in Czechia.\n"
    "The currency of Czechia is the koruna.\n"
    "Answer: the koruna",
)
ANSWER = "Answer:"
BUDGETS = {"direct": 16, "steps": 110}
SHOWN = 6
FACTS = 250  # in the model; the chains that are asked are among theirs


def texts_of(question: str, loaded: LoadedModel) -> dict[str, list[int]]:
    """Token ids of the question, asked for its answer at once and for the steps first."""
    turns = [
        {"role": "system", "content": STEPS},
        {"role": "user", "content": EXAMPLE[0]},
        {"role": "assistant", "content": EXAMPLE[1]},
        {"role": "user", "content": question},
    ]
    chat = loaded.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    direct = f"Question: {question}\nAnswer:"
    ids = loaded.tokenizer([direct, chat], add_special_tokens=False)["input_ids"]
    return dict(zip(BUDGETS, ids, strict=True))


def answer_in(text: str, way: str) -> str:
    """What a text gives as its answer."""
    if way == "direct":
        return text
    return text.rpartition(ANSWER)[2] if ANSWER in text else ""


def said(loaded: LoadedModel, chains: Sequence[Chain]) -> list[dict[str, Any]]:
    """Every question in both ways: case, way, question, text, whether the new answer is given."""
    completer, found = Completer(loaded), list[dict[str, Any]]()
    for way, budget in BUDGETS.items():
        asked = [(chain, question) for chain in chains for question in chain.questions]
        ids = [texts_of(question, loaded)[way] for _, question in asked]
        texts = completer.complete(ids, [budget] * len(ids), by_line=way == "direct")
        for (chain, question), one in zip(asked, texts, strict=True):
            answer = answer_in(one.text, way).strip()
            found.append({
                "case": chain.id,
                "way": way,
                "question": question,
                "wanted": chain.wanted[0],
                "text": one.text.strip(),
                "right": begins_with(answer, chain.wanted),
            })  # fmt: skip
    return found


def shares(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By way: the share of questions, and of cases by any wording, each with its interval."""
    scores: dict[str, Any] = {"intervals": {}, "cases": {}}
    for way in BUDGETS:
        by_case: dict[str, list[float]] = {}
        for one in found:
            if one["way"] == way:
                by_case.setdefault(one["case"], []).append(float(one["right"]))
        for name, values in (
            (way, [fmean(rights) for rights in by_case.values()]),
            (f"{way}_any", [max(rights) for rights in by_case.values()]),
        ):
            mean = bootstrap(np.array(values), seed=0)
            scores[name] = round(mean.mean, 5)
            scores["intervals"][name] = [round(mean.low, 5), round(mean.high, 5)]
            scores["cases"][name] = mean.cases
    return scores


def measured(name: str, source: Source, count: int) -> dict[str, Any]:
    """The result: scores by method, and whole texts of some cases."""
    loaded = load_model(name)
    chains = read_chains(source, FACTS, Counter())
    facts = list({item.fact.id: item.fact for chain in chains for item in chain.items}.values())
    asked = random.Random(0).sample(chains, min(count, len(chains)))
    methods: dict[str, Any] = {}
    read: dict[str, list[dict[str, Any]]] = {}
    for method in ("unedited", "revisor"):
        given = attach(loaded.model, loaded.tokenizer, facts) if method == "revisor" else None
        with given or nullcontext(), Progress(f"Asking {method}"):
            found = said(loaded, asked)
        methods[method] = shares(found)
        read[method] = [one for one in found if one["way"] == "steps"][:SHOWN]
    return {
        "model": name,
        "facts": len(facts),
        "chains": len(asked),
        "methods": methods,
        "texts": read,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--chains", type=int, default=40)
    wanted = parser.parse_args()
    print(json.dumps(measured(wanted.model, Source(folder=wanted.data), wanted.chains)))


if __name__ == "__main__":
    main()
