"""Questions compared by a sentence encoder of somebody else, whose cosines are calibrated once.

Such an encoder gives a text one vector. How near two vectors are is made a probability by a
logistic curve (Platt 1999), fitted on shipped questions of which it is known which of them ask the
same: score = 1 / (1 + exp(-(slope * cosine + bias))).

Letters: N texts, W width, P pairs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from revisor.data import records
from revisor.facts.fact import PLACEHOLDER

Embed = Callable[[Sequence[str]], np.ndarray]
Kind = Literal["same", "other", "near"]

NEUTRAL = "something"  # stands for the name: a word of the language that says nothing
WEIGHTS: dict[Kind, float] = {"same": 1 / 2, "other": 1 / 3, "near": 1 / 6}
LEAST = 0.75  # of pairs of other questions, how many one of the same has to be above
REMEMBERED = 4_096  # vectors
# Near misses that a question by itself tells; of names, requests and yes or no rules decide.
_NEAR = frozenset(("amount", "hop", "other", "predicate", "reverse", "status", "time"))
_STEPS = 100
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a template with `{}` for the name; `kind`: they ask for the `same`, for
    `other` things, or `near` ones (other, in similar words)."""

    question: str
    template: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A logistic curve from cosines to scores; `order` is the share of pairs (`same`, `other`) in
    which `same` has the greater cosine."""

    slope: float
    bias: float
    order: float

    @property
    def ok(self) -> bool:
        """The encoder tells questions that ask the same from others."""
        return self.slope > 0 and self.order >= LEAST


class SentenceEncoder:
    """A `QuestionEncoder` from calibrated vectors of length 1 (N, W); `name` tells its version."""

    def __init__(self, name: str, embed: Embed, calibration: Calibration) -> None:
        self.name = name
        self._calibration = calibration
        self._vector = lru_cache(REMEMBERED)(lambda text: embed([neutral(text)])[0])

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Vectors of texts (W)."""
        return [self._vector(text) for text in texts]

    def scope(self, question: np.ndarray, template: np.ndarray) -> float:
        """The probability that a question asks for what a template asks for."""
        fit = self._calibration
        logit = fit.slope * float(template @ question) + fit.bias
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


def neutral(text: str) -> str:
    """A text as an encoder reads it, with a word for the name."""
    return text.replace(PLACEHOLDER, NEUTRAL)


def calibrated(embed: Embed) -> Calibration:
    """The curve for an encoder that embeds texts as vectors of length 1 (N, W); deterministic."""
    read = pairs()
    texts = sorted({text for one in read for text in (one.question, one.template)})
    vector = dict(zip(texts, embed([neutral(text) for text in texts]), strict=True))
    cosine_P = np.array([float(vector[one.question] @ vector[one.template]) for one in read])
    kinds = [one.kind for one in read]
    weight_P = np.array([WEIGHTS[kind] / kinds.count(kind) for kind in kinds])
    same_P = np.array([kind == "same" for kind in kinds])
    other_P = np.array([kind == "other" for kind in kinds])
    slope, bias = _logistic(cosine_P, same_P.astype(float), weight_P)
    order = float((cosine_P[same_P][:, None] > cosine_P[other_P]).mean())
    return Calibration(slope=slope, bias=bias, order=order)


def pairs() -> list[Pair]:
    """The shipped pairs: questions about made-up facts, each with a wording of the fact that it
    asks for, of another fact about the same name, or of one that it only seems to ask for."""
    facts = {one["id"]: one for one in records("questions/facts.jsonl")}
    return list(dict.fromkeys(_pairs(facts)))


def _pairs(facts: dict[str, dict[str, Any]]) -> Iterator[Pair]:
    for case in records("questions/cases.jsonl"):
        asks = case["group"] == "questions"
        if not asks and (case["group"] != "near" or case["kind"] not in _NEAR):
            continue
        fact = facts[case["fact"] or case["about"]]
        question = _slotted(_said(case), fact)
        if question is None:
            continue
        yield Pair(question, fact["prompt"], "same" if asks else "near")
        for other in facts.values() if asks else ():
            if other["subject"] == fact["subject"] and other["prompt"] != fact["prompt"]:
                yield Pair(question, other["prompt"], "other")


def _said(case: dict[str, Any]) -> str:
    messages = case.get("messages", [{"content": case.get("prompt")}])
    said: str = messages[0]["content"]
    return "" if len(messages) > 1 or "\n" in said else said


def _slotted(text: str, fact: dict[str, Any]) -> str | None:
    """A text with `{}` for the fact's name; None if it does not name it."""
    for name in (fact["subject"], *fact.get("aliases", ())):
        found = re.search(re.escape(name), text, re.IGNORECASE)
        if found:
            return f"{text[: found.start()]}{PLACEHOLDER}{text[found.end() :]}"
    return None


def _logistic(x_P: np.ndarray, y_P: np.ndarray, weight_P: np.ndarray) -> tuple[float, float]:
    """Slope and bias by Newton's method; a small ridge keeps the slope finite for separable
    pairs."""
    X_P2 = np.stack((x_P, np.ones_like(x_P)), 1)
    ridge_2 = np.array([_RIDGE, 0.0])
    fit_2 = np.zeros(2)
    for _ in range(_STEPS):
        p_P = 1 / (1 + np.exp(-np.clip(X_P2 @ fit_2, -30, 30)))
        gradient_2 = X_P2.T @ (weight_P * (p_P - y_P)) + ridge_2 * fit_2
        curve_P = weight_P * np.maximum(p_P * (1 - p_P), 1e-9)
        hessian_22 = (X_P2 * curve_P[:, None]).T @ X_P2 + np.diag(ridge_2)
        step_2 = np.linalg.solve(hessian_22, gradient_2)
        fit_2 -= step_2
        if float(np.abs(step_2).max()) < 1e-9:
            break
    return float(fit_2[0]), float(fit_2[1])
