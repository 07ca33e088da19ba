"""From cases to the scores of a method.

What comes in: the cases of one method and of the unedited model. What goes out: a mean, an
interval and a count for each score. What it does not do: measure or print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from revisor.evaluate.cases import Case
from revisor.evaluate.metrics import Mean, bootstrap, case_means
from revisor.evaluate.suites.base import Suite

DIGITS = 5


def means(cases: Sequence[Case], *, seed: int) -> dict[str, Mean]:
    """Every score's mean over its cases, with its interval."""
    values: dict[str, list[tuple[str, float]]] = {}
    for case in cases:
        for name, value in case.values.items():
            values.setdefault(name, []).append((case.case, value))
    return {name: bootstrap(case_means(found), seed=seed) for name, found in values.items()}


def summarise(
    suite: Suite, cases: Sequence[Case], unedited: Mapping[str, float], *, seed: int
) -> dict[str, Any]:
    """One method's entry of a result.

    Returns:
        Scores by name, then `intervals` ([low, high] by name) and `cases` (counts by name).
    """
    found = means(cases, seed=seed)
    scores = {name: one.mean for name, one in found.items()}
    scores |= suite.finish(scores, cases, unedited)
    return {
        **{name: round(value, DIGITS) for name, value in scores.items()},
        "intervals": {
            name: [round(one.low, DIGITS), round(one.high, DIGITS)] for name, one in found.items()
        },
        "cases": {name: one.cases for name, one in found.items()},
    }
