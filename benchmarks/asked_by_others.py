"""Questions and near misses that others wrote, by the text alone: what is answered, and with what.

    python -m benchmarks.asked_by_others benchmarks/questions/*.jsonl [--encoder NAME ...]

What comes in: sets of made-up facts, each with questions that it answers and near misses that no
fact of its subject answers, written by language models that knew nothing of this project; another
one took wrong labels out. `office` was looked at while rules were made; `organisations` and
`unusual` never were, the latter of relations that hardly any list has. What goes out: one JSON
object; for each encoder and set, and for those together that were never looked at (`blind`), the
shares of questions answered rightly and with another fact, and of near misses answered, with
intervals over the facts, and at every strictness. What it does not do: ask a model; each question
is a turn of a chat, and its answer is due.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np

from revisor.bench.deciding import DEFAULT, TEXT, encoder_named, indexed
from revisor.bench.metrics import bootstrap
from revisor.bench.questions import chatml
from revisor.facts.fact import Fact
from revisor.facts.forms import fact_from
from revisor.gate.choice import Candidate, chosen
from revisor.gate.decide import candidates
from revisor.gate.scope import NORMAL, THRESHOLDS
from revisor.index import FactIndex
from revisor.language.names import mentions
from revisor.progress import Progress
from revisor.question.encoder import QuestionEncoder

LOOKED_AT = ("office",)
BLIND = "blind"
DIGITS = 5

Kind = Literal["answered", "near"]


class Asked(NamedTuple):
    """A question of a fact's own (`answered`) or a `near` miss, with what was read in it."""

    fact: Fact
    kind: Kind
    question: str
    read: Sequence[Candidate]


class Written(NamedTuple):
    """A fact of a set, with the questions that it answers and the near misses."""

    fact: Fact
    texts: Mapping[Kind, Sequence[str]]


def written_in(file: Path) -> list[Written]:
    """What stands in a set."""
    found = []
    for number, line in enumerate(file.read_text("utf-8").splitlines()):
        record = json.loads(line)
        texts: dict[Kind, Sequence[str]] = {
            "answered": record.pop("ask"),
            "near": record.pop("miss"),
        }
        found.append(Written(_stated(f"{file.stem}-{number}", record), texts))
    return found


def asked_of(file: Path, encoder: QuestionEncoder) -> list[Asked]:
    """Every question of a set, among all facts of the set."""
    found = written_in(file)
    with indexed([one.fact for one in found]) as index, Progress(f"Asking {file.stem}"):
        return [
            Asked(one.fact, kind, question, _read(question, index, encoder))
            for one in found
            for kind, questions in one.texts.items()
            for question in questions
        ]


def _stated(name: str, record: dict[str, Any]) -> Fact:
    found = fact_from({"id": name, **record})
    if not isinstance(found, Fact):
        raise ValueError(f"{name}: {found}")
    return found


def _read(question: str, index: FactIndex, encoder: QuestionEncoder) -> list[Candidate]:
    text, view = chatml([{"role": "user", "content": question}]), index.view()
    return candidates(text, mentions(text, view), view, encoder, compared="final")


def shares(asked: Sequence[Asked], threshold: float) -> dict[str, list[list[float]]]:
    """For each score the values of each fact's questions."""
    found: dict[str, dict[str, list[float]]] = {"answered": {}, "another": {}, "near": {}}
    for one in asked:
        said = chosen(one.read, threshold)
        right = said is not None and said.fact.id == one.fact.id
        scores = {"near": said is not None}
        if one.kind == "answered":
            scores = {"answered": right, "another": said is not None and not right}
        for name, value in scores.items():
            found[name].setdefault(one.fact.id, []).append(float(value))
    return {name: list(by_fact.values()) for name, by_fact in found.items()}


def measured(sets: Mapping[str, Sequence[Asked]]) -> dict[str, Any]:
    """The scores of sets with intervals, `SET_answered` and so on, and by strictness without."""
    scores: dict[str, Any] = {"intervals": {}, "cases": {}, "strictness": {}}
    for of, asked in sets.items():
        for name, values in shares(asked, NORMAL).items():
            mean = bootstrap(np.array([fmean(some) for some in values]), seed=0)
            scores[f"{of}_{name}"] = round(mean.mean, DIGITS)
            scores["intervals"][f"{of}_{name}"] = [
                round(mean.low, DIGITS),
                round(mean.high, DIGITS),
            ]
            scores["cases"][f"{of}_{name}"] = sum(map(len, values))
        for setting, threshold in THRESHOLDS.items():
            found = shares(asked, threshold)
            scores["strictness"].setdefault(setting, {}).update(
                {f"{of}_{one}": round(fmean(map(fmean, found[one])), DIGITS) for one in found}
            )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--encoder", action="append", help="default, or as `revisor init` has it")
    wanted = parser.parse_args()
    methods: dict[str, Any] = {}
    for name in wanted.encoder or [DEFAULT]:
        encoder = encoder_named(name)
        sets = {file.stem: asked_of(file, encoder) for file in wanted.sets}
        blind = [one for of, asked in sets.items() if of not in LOOKED_AT for one in asked]
        methods[TEXT if name == DEFAULT else "sentences"] = measured({**sets, BLIND: blind})
    print(json.dumps({"facts": _counts(sets), "methods": methods}))


def _counts(sets: Mapping[str, Sequence[Asked]]) -> dict[str, int]:
    counts = {of: len({one.fact.id for one in asked}) for of, asked in sets.items()}
    blind = sum(count for of, count in counts.items() if of not in LOOKED_AT)
    return {**counts, BLIND: blind}


if __name__ == "__main__":
    main()
