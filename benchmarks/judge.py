"""What a language model brings as a judge: it reads a fact beside the question that asks for it.

    python -m benchmarks.judge benchmarks/questions/*.jsonl [--model qwen2.5-coder-1.5b]

The encoder compares a question with a fact's wording; it has never seen the object, and 22 million
weights know few words. Here a model of language is shown the whole fact and the question, and asked
for a yes or a no: the log-odds of its first token are the judgement. A logistic curve, fitted on
the shipped questions, joins them to the encoder's score; the rules of the gate stay as they are.

What comes in: sets as of `asked_by_others`. What goes out: one JSON object; for each set the shares
of questions answered rightly and of near misses answered, with the encoder alone (`text`) and with
the judge, at each strictness and at the threshold at which as many questions are answered as
without a judge; how well either tells right from wrong among the candidates that are near
(`order`: the share of pairs in which the right one is above); seconds a judgement. What it does
not do: write into a model's answer.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.asked_by_others import BLIND, LOOKED_AT, Asked, asked_of, measured, shares
from revisor import data
from revisor.bench.deciding import DEFAULT, TEXT, encoder_named, indexed
from revisor.bench.questions import chatml, shipped_facts
from revisor.gate.choice import Candidate, rank
from revisor.gate.decide import candidates
from revisor.gate.scope import NORMAL
from revisor.language.names import mentions
from revisor.models.load import LoadedModel, load_model
from revisor.progress import Progress
from revisor.question.encoder import QuestionEncoder
from revisor.question.reading import SLOT

LEAST = 0.05  # of the encoder's score: what is below is not looked at
BATCH = 16
MOST = 4  # facts that are judged for a question
HEAD = "Does the statement answer the question? Reply Yes or No.\n\n"
EXAMPLES = (
    ("The head coach of Lorn City is Ana Pell.", "who trains Lorn City's team?", True),
    ("The head coach of Lorn City is Ana Pell.", "Who assists the coach of Lorn City?", False),
    ("The Tarn Hotel was built in 1911.", "How old is the building of the Tarn Hotel?", True),
    ("The Tarn Hotel was built in 1911.", "Who built the Tarn Hotel?", False),
    ("A ticket for the Meridian costs 14 euros.", "what do i pay to get into the Meridian", True),
    ("A ticket for the Meridian costs 14 euros.", "How much is the Meridian's yearly pass?", False),
)  # fmt: skip


class Judge:
    """A model that is asked whether a statement answers a question."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded, self._known = loaded, dict[tuple[str, str], float]()
        self.seconds = 0.0
        yes, no = (self._ids(word)[0] for word in (" Yes", " No"))
        self._sides = yes, no
        examples = (f"{_asked(*one[:2])}{' Yes' if one[2] else ' No'}\n\n" for one in EXAMPLES)
        start = torch.tensor([loaded.tokenizer(HEAD + "".join(examples))["input_ids"]])
        self._length = start.shape[1]
        with torch.inference_mode():
            self._start = loaded.model(start, use_cache=True).past_key_values

    def read(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Judge statements and questions, many at a time."""
        wanted = sorted({*pairs} - self._known.keys(), key=lambda one: len("".join(one)))
        with Progress("Judging", total=len(wanted), unit="pairs") as progress:
            for start in range(0, len(wanted), BATCH):
                part = wanted[start : start + BATCH]
                began = time.perf_counter()
                self._known.update(zip(part, self._odds(part), strict=True))
                self.seconds += time.perf_counter() - began
                progress.advance(len(part))

    def odds(self, statement: str, question: str) -> float:
        """The log-odds of a yes, as read."""
        return self._known[statement, question]

    @property
    def judgements(self) -> int:
        """How many were read."""
        return len(self._known)

    def _odds(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        tails = [self._ids(_asked(*one)) for one in pairs]
        longest = max(map(len, tails))
        ids_BT = torch.zeros((len(tails), longest), dtype=torch.long)
        mask_BT = torch.zeros((len(tails), self._length + longest), dtype=torch.long)
        for row, tail in enumerate(tails):
            ids_BT[row, : len(tail)] = torch.tensor(tail)
            mask_BT[row, : self._length + len(tail)] = 1
        cache = copy.deepcopy(self._start)
        cache.batch_repeat_interleave(len(tails))
        with torch.inference_mode():
            logits_BTV = self._loaded.model(
                ids_BT, attention_mask=mask_BT, past_key_values=cache
            ).logits
        yes, no = self._sides
        last = [logits_BTV[row, len(tail) - 1] for row, tail in enumerate(tails)]
        return [float(one[yes] - one[no]) for one in last]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found


def _asked(statement: str, question: str) -> str:
    return f"Statement: {statement}\nQuestion: {question}\nReply:"


def pair(one: Candidate) -> tuple[str, str]:
    """The statement and the question of a candidate."""
    statement = f"{one.template.replace(SLOT, one.subject).rstrip(' :?.')} {one.object}."
    return statement, one.question.replace(SLOT, one.subject).strip()


def features(one: Candidate, judge: Judge) -> tuple[float, float]:
    """The log-odds of the encoder's score, and of the judge's yes."""
    return float(np.log(one.score / (1 - one.score))), judge.odds(*pair(one))


def is_judged(one: Candidate) -> bool:
    """Whether a candidate may be asked for, in other words than the fact's own."""
    return one.silenced is None and LEAST <= one.score < 1


def near(read: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that are judged."""
    return [one for one in read if is_judged(one)][:MOST]


def shipped(encoder: QuestionEncoder) -> list[tuple[str | None, list[Candidate]]]:
    """The shipped English questions and near misses: the fact that is asked for, and what was
    read."""
    found = []
    with indexed(shipped_facts()) as index:
        view = index.view()
        for record in data.records("questions/cases.jsonl"):
            if record["group"] in ("questions", "near"):
                text = record.get("prompt") or chatml(record["messages"])
                named = mentions(text, view)
                read = candidates(text, named, view, encoder, compared="final")
                found.append((record["fact"], read))
    return found


class Fitted(NamedTuple):
    """The curve, and of how many pairs it is."""

    join: Callable[[float, float], float]
    pairs: int
    weights: list[float]


def fitted(judge: Judge, encoder: QuestionEncoder) -> Fitted:
    """The curve that joins score and judgement, on the shipped questions."""
    found = [(one, one.id == wanted) for wanted, read in shipped(encoder) for one in near(read)]
    judge.read(pair(one) for one, _ in found)
    rows, right = [features(one, judge) for one, _ in found], [is_it for _, is_it in found]
    fit = LogisticRegression(class_weight="balanced").fit(np.array(rows), np.array(right))
    (score, odds), bias = fit.coef_[0], float(fit.intercept_[0])

    def join(at: float, told: float) -> float:
        return float(1 / (1 + np.exp(-np.clip(score * at + odds * told + bias, -30, 30))))

    return Fitted(join, len(rows), [round(float(one), 4) for one in (score, odds, bias)])


def judged(asked: Sequence[Asked], judge: Judge, fit: Fitted) -> list[Asked]:
    """The same questions, with the candidates' scores joined to the judgements."""
    found = []
    for one in asked:
        near_ones = set(map(id, near(one.read)))
        read = [
            replace(each, score=fit.join(*features(each, judge))) if id(each) in near_ones else each
            for each in one.read
        ]
        found.append(one._replace(read=sorted(read, key=rank, reverse=True)))
    return found


def order(asked: Sequence[Asked]) -> float:
    """Among candidates that reach a score, how well the score tells right from wrong ones."""
    pairs = [
        (each.score, one.kind == "answered" and each.id == one.fact.id)
        for one in asked
        for each in near(one.read)
    ]
    return round(float(roc_auc_score([right for _, right in pairs], [at for at, _ in pairs])), 4)


def alike(before: Sequence[Asked], after: Sequence[Asked]) -> dict[str, float]:
    """The near misses answered at the threshold at which as many questions are answered."""

    def share(asked: Sequence[Asked], threshold: float, name: str) -> float:
        return fmean(map(fmean, shares(asked, threshold)[name]))

    wanted = share(before, NORMAL, "answered")
    steps = [step / 200 for step in range(199, 0, -1)]
    at = next((one for one in steps if share(after, one, "answered") >= wanted), steps[-1])
    return {
        "threshold": at,
        **{name: round(share(after, at, name), 5) for name in ("answered", "another", "near")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    wanted = parser.parse_args()
    encoder, judge = encoder_named(DEFAULT), Judge(load_model(wanted.model))
    fit = fitted(judge, encoder)
    before = {file.stem: asked_of(file, encoder) for file in wanted.sets}
    after = {}
    for of, asked in before.items():
        judge.read(pair(each) for one in asked for each in near(one.read))
        after[of] = judged(asked, judge, fit)
    for sets in (before, after):
        sets[BLIND] = [one for of, some in sets.items() if of not in LOOKED_AT for one in some]
    result: dict[str, Any] = {
        "model": wanted.model,
        "pairs": fit.pairs,
        "weights": fit.weights,
        "seconds": round(judge.seconds / judge.judgements, 3),
        "judgements": judge.judgements,
        "methods": {TEXT: measured(before), "judge": measured(after)},
        "order": {of: [order(before[of]), order(after[of])] for of in before},
        "as many answered": {of: alike(before[of], after[of]) for of in before},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
