"""Sentence encoders of others: pairs to calibrate on, the curve, and scores by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from revisor.question.external import (
    LEAST,
    NEUTRAL,
    Calibration,
    SentenceEncoder,
    calibrated,
    neutral,
    pairs,
)

CEO = "The CEO of {} is"


def turned(cosines: dict[str, float]):  # type: ignore[no-untyped-def]
    """An embedding in the plane: of each text its cosine with every text that is not named."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        found = [cosines.get(text, 1.0) for text in texts]
        return np.array([(cos, (1 - cos * cos) ** 0.5) for cos in found], np.float32)

    return embed


def test_pairs_are_of_three_kinds_and_name_nobody() -> None:
    found = pairs()
    count = Counter(one.kind for one in found)
    assert min(count.values()) >= 100
    assert set(count) == {"same", "other", "near"}
    assert len(set(found)) == len(found)
    assert found == pairs(), "they are the same every time"
    for one in found:
        assert one.question.count("{}") == 1
        assert "{}" in one.template
        assert "\n" not in one.question
    same = {(one.question, one.template) for one in found if one.kind == "same"}
    assert not same & {(one.question, one.template) for one in found if one.kind != "same"}


def test_a_name_is_read_as_a_word_that_says_nothing() -> None:
    assert neutral("Is {} in {}?") == f"Is {NEUTRAL} in {NEUTRAL}?"


def test_a_score_rises_with_the_cosine_along_a_logistic_curve() -> None:
    fit = Calibration(slope=10.0, bias=-6.0, order=1.0)
    angles = {neutral(f"{cos} {{}}"): cos for cos in (0.0, 0.6, 0.7)}
    encoder = SentenceEncoder("plane", turned(angles), fit)
    texts = [CEO, "0.7 {}", "0.6 {}", "0.0 {}"]
    vectors, (ceo,) = encoder.encode(texts), encoder.encode([CEO])
    scores = [encoder.scope(vector, ceo) for vector in vectors]
    assert scores == pytest.approx([0.98201, 0.73106, 0.5, 0.00247], abs=1e-4)
    assert encoder.encode([]) == []


def test_a_text_is_read_once() -> None:
    read: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return np.ones((len(texts), 1), np.float32)

    encoder = SentenceEncoder("one", embed, Calibration(slope=1.0, bias=0.0, order=1.0))
    for _ in range(3):
        encoder.encode([CEO, CEO])
    assert read.count(neutral(CEO)) == 1


class Bags:
    """Bags of words, each a direction of its own; some words count nothing."""

    def __init__(self, *, silent: Sequence[str] = ()) -> None:
        self.places: dict[str, int] = {}
        self.silent = frozenset(silent)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), 4_096), np.float32)
        for row, text in zip(found, texts, strict=True):
            row[0] = 1e-3
            for word in text.lower().strip("?.!").split():
                if word not in self.silent:
                    row[self.places.setdefault(word, len(self.places) + 1)] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_curve_parts_the_same_question_from_another() -> None:
    silent = f"the a of is {NEUTRAL} in on what who for at i my".split()
    fit = calibrated(Bags(silent=silent))
    assert fit == calibrated(Bags(silent=silent)), "it is the same every time"
    assert fit.ok
    assert fit.slope > 0
    encoder = SentenceEncoder("bags", Bags(silent=silent), fit)
    ceo, same, other = encoder.encode([CEO, "Who is the CEO of {}?", "The height of {} is"])
    assert encoder.scope(same, ceo) > 0.5 > encoder.scope(other, ceo)


def test_vectors_that_tell_nothing_apart_are_not_ok() -> None:
    def one(texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)

    fit = calibrated(one)
    assert not fit.ok
    assert fit.order < LEAST
