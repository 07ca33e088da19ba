"""Scores computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from revisor.bench.metrics import (
    begins_with,
    bootstrap,
    case_means,
    contains,
    first_line,
    idf_of,
    joint_mean,
    ngram_entropy,
    normalised,
    tfidf_similarity,
    token_accuracy,
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" The  United States. ", "united states"),
        ("“Jane  ROE”", "jane roe"),
        ("Zoë", "zoë"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("The", "the"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_the_normal_form_drops_case_punctuation_and_articles(text: str, form: str) -> None:
    assert normalised(text) == form


@pytest.mark.parametrize(
    ("answer", "wanted", "verdict"),
    [
        ("Rome, the capital of Italy", ["Rome"], True),
        ("Rome", ["Rome"], True),
        ("Romeo and Juliet", ["Rome"], False),
        ("Microsoft Entra IDN. Microsoft", ["Microsoft Entra ID"], False),
        ("in Rome", ["Rome"], False),
        ("the United States of America", ["United States"], True),
        ("a.k.a. UK", ["United Kingdom", "aka"], False),
        ("UK", ["United Kingdom", "UK"], True),
        ("東京です", ["東京"], True),
        ("C++ code", ["C"], False),
        ("", ["Rome"], False),
        ("Rome", [], False),
        ("Rome", [""], False),
    ],
)
def test_an_answer_begins_with_an_object_as_whole_words(
    answer: str, wanted: list[str], verdict: bool
) -> None:
    assert begins_with(answer, wanted) is verdict


def test_an_object_may_stand_anywhere_as_whole_words() -> None:
    assert contains("The capital of ACME is Vienna.", ["Vienna"])
    assert not contains("The Viennese", ["Vienna"])


def test_an_answer_stops_after_the_first_line_that_says_anything() -> None:
    assert first_line("\n\n Rome. \nParis") == "Rome."
    assert first_line(" \n ") == ""


def test_token_accuracy_is_the_share_of_right_tokens() -> None:
    assert token_accuracy((1, 2, 9, 4), (1, 2, 3, 4)) == 0.75
    assert token_accuracy((), ()) == 0.0


def test_entropy_is_that_of_bigrams_and_trigrams_weighted() -> None:
    # "a b a b": bigrams ab, ba, ab: H = log2(3) - 2/3; trigrams aba, bab: H = 1
    bigrams = math.log2(3) - 2 / 3
    assert ngram_entropy("a b a b") == pytest.approx((2 / 3 * bigrams + 4 / 3 * 1.0) / 2)
    assert ngram_entropy("so so so so so") == 0.0
    assert ngram_entropy("one") == 0.0


def test_tfidf_similarity_is_a_cosine() -> None:
    idf = idf_of(["red house", "red car", "blue car"])
    assert idf["red"] == pytest.approx(math.log(4 / 3) + 1)
    assert idf["house"] == pytest.approx(math.log(4 / 2) + 1)
    assert tfidf_similarity("red red house", "house red red", idf) == pytest.approx(1.0)
    assert tfidf_similarity("red", "blue", idf) == 0.0
    assert tfidf_similarity("unseen", "red", idf) == 0.0
    r, h = idf["red"], idf["house"]
    assert tfidf_similarity("red house", "red", idf) == pytest.approx(r / math.hypot(r, h))


def test_every_case_counts_once_however_many_prompts_it_has() -> None:
    values = case_means([("a", 1.0), ("a", 0.0), ("b", 1.0), ("a", 0.5)])
    assert values.tolist() == [0.5, 1.0]
    assert bootstrap(values).mean == 0.75


def test_the_interval_covers_the_mean_and_shrinks_with_more_cases() -> None:
    few = bootstrap(np.array([0.0, 1.0] * 10), seed=3)
    many = bootstrap(np.array([0.0, 1.0] * 1000), seed=3)
    assert few.low < few.mean == 0.5 < few.high
    assert few.cases == 20
    # The exact 95 % interval of a fair coin's mean is 0.5 +- 1.96 * 0.5 / sqrt(n).
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(20), abs=0.06)
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(2000), abs=0.006)
    assert bootstrap(np.array([0.0, 1.0] * 10), seed=3) == few


def test_a_constant_has_no_width_and_nothing_has_no_mean() -> None:
    sure = bootstrap(np.ones(7))
    assert (sure.low, sure.mean, sure.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no cases"):
        bootstrap(np.array([]))


def test_a_joint_mean_averages_scores_that_not_every_case_has() -> None:
    cases = {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 0.0}, "c": {"x": 1.0, "y": 1.0}}
    joint = joint_mean(cases, ["x", "y"])
    assert joint.mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert joint.low <= joint.mean <= joint.high
    with pytest.raises(ValueError, match="no case"):
        joint_mean(cases, ["x", "z"])
