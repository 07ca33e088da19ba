"""The arithmetic of scores: pure functions from texts and numbers to numbers."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ARTICLES = frozenset({"a", "an", "the"})
BIGRAM_WEIGHT, TRIGRAM_WEIGHT = 2 / 3, 4 / 3  # Meng et al. 2022, section 3.4
ROUNDS = 1_000
LEVEL = 0.95


def normalised(text: str) -> str:
    """The form in which an answer and an object are compared.

    NFKC, case folded, punctuation as spaces, articles left out, single spaces. Symbols stay: `C` is
    not `C++`, and `C#` is neither. A text of punctuation alone stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(
        char if char == "#" or unicodedata.category(char)[0] in "LMNS" else " " for char in folded
    )
    words = kept.split()
    content = [word for word in words if word not in ARTICLES]
    return " ".join(content or words) or " ".join(folded.split())


def begins_with(answer: str, wanted: Iterable[str]) -> bool:
    """Whether an answer begins with one of the objects, up to the end of a word (`Rome` is not in
    `Romeo`) in scripts that write spaces."""
    said = normalised(answer)
    return any(_ends_word(said, name) for text in wanted if (name := normalised(text)))


def _ends_word(said: str, name: str) -> bool:
    if not said.startswith(name):
        return False
    rest = said[len(name) :]
    return not rest or rest[0] == " " or unicodedata.east_asian_width(name[-1]) in "WF"


def contains(answer: str, wanted: Iterable[str]) -> bool:
    """Whether an answer holds one of the objects, as whole words, anywhere."""
    words = normalised(answer).split(" ")
    return any(
        begins_with(" ".join(words[start:]), [text])
        for text in wanted
        for start in range(len(words))
    )


def first_line(answer: str) -> str:
    """An answer up to its natural stop: the end of its first line that says anything."""
    lines = answer.strip().splitlines()
    return lines[0].strip() if lines else ""


def token_accuracy(said: Sequence[int], target: Sequence[int]) -> float:
    """Share of the target's tokens that are the most probable, given the target before them."""
    if not target:
        return 0.0
    return sum(a == b for a, b in zip(said, target, strict=False)) / len(target)


def ngram_entropy(text: str) -> float:
    """Fluency: the weighted entropy in bits of a text's 2- and 3-grams of words.

    sum over n of w_n * H_n with w_2 = 2/3 and w_3 = 4/3, halved as a mean of the two (Zhang et al.
    2018; Meng et al. 2022). Low for a text that repeats itself.
    """
    words = text.split()
    return (BIGRAM_WEIGHT * _entropy(words, 2) + TRIGRAM_WEIGHT * _entropy(words, 3)) / 2


def _entropy(words: Sequence[str], size: int) -> float:
    grams = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
    total = sum(grams.values())
    return -sum(count / total * math.log2(count / total) for count in grams.values())


def idf_of(texts: Iterable[str]) -> dict[str, float]:
    """Inverse document frequencies of words: ln((1 + D) / (1 + d)) + 1."""
    seen: Counter[str] = Counter()
    count = 0
    for text in texts:
        seen.update(set(normalised(text).split()))
        count += 1
    return {word: math.log((1 + count) / (1 + number)) + 1 for word, number in seen.items()}


def tfidf_similarity(text: str, reference: str, idf: Mapping[str, float]) -> float:
    """Consistency: cosine of the TF-IDF vectors of two texts; words without a frequency are out."""
    left, right = (_tfidf(one, idf) for one in (text, reference))
    norm = math.hypot(*left.values()) * math.hypot(*right.values())
    return sum(value * right.get(word, 0.0) for word, value in left.items()) / norm if norm else 0.0


def _tfidf(text: str, idf: Mapping[str, float]) -> dict[str, float]:
    counts = Counter(normalised(text).split())
    return {word: number * idf[word] for word, number in counts.items() if word in idf}


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over cases' own means (a fact with ten prompts counts as one with two), with its
    bootstrap interval at 95 %, cases drawn with replacement."""

    mean: float
    low: float
    high: float
    cases: int


def case_means(values: Iterable[tuple[str, float]]) -> np.ndarray:
    """The mean of each case, in the order in which cases first appear."""
    by_case: dict[str, list[float]] = {}
    for case, value in values:
        by_case.setdefault(case, []).append(value)
    return np.array([sum(one) / len(one) for one in by_case.values()])


def bootstrap(values: np.ndarray, *, seed: int = 0, rounds: int = ROUNDS) -> Mean:
    """The mean of some values with its percentile interval; ValueError if there are none."""
    if not len(values):
        raise ValueError("no cases, no mean")
    generator = np.random.default_rng(seed)
    means = np.empty(rounds)
    for index in range(rounds):  # a round at a time: rounds x cases indices would be gigabytes
        means[index] = values[generator.integers(len(values), size=len(values))].mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Mean(mean=float(values.mean()), low=float(low), high=float(high), cases=len(values))


def joint_mean(
    cases: Mapping[str, Mapping[str, float]],
    names: Sequence[str],
    *,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Mean:
    """The mean of several scores' means (by case in `cases`), its interval from draws of whole
    cases; ValueError for a score that no case has."""
    table = np.array([[one.get(name, np.nan) for name in names] for one in cases.values()])
    if not len(table) or np.isnan(table).all(axis=0).any():
        raise ValueError(f"no case has all of {names}")
    there = ~np.isnan(table)
    filled = np.where(there, table, 0.0)
    generator = np.random.default_rng(seed)
    drawn = np.empty(rounds)
    for index in range(rounds):
        rows = generator.integers(len(table), size=len(table))
        # A score that no drawn case has keeps its overall mean.
        counts = there[rows].sum(0)
        sums = filled[rows].sum(0)
        overall = filled.sum(0) / there.sum(0)
        drawn[index] = np.where(counts > 0, sums / np.maximum(counts, 1), overall).mean()
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float((filled.sum(0) / there.sum(0)).mean())
    return Mean(mean=mean, low=float(low), high=float(high), cases=len(table))
