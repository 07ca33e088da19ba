"""From cases to the scores of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from revisor.bench.cases import Case
from revisor.bench.metrics import Mean, bootstrap, joint_mean

if TYPE_CHECKING:
    from revisor.bench.suites.base import Suite

DIGITS = 5


def means(
    cases: Sequence[Case], averages: Mapping[str, Sequence[str]], *, seed: int
) -> dict[str, Mean]:
    """Every score's mean over its cases with its interval, and the averages of several."""
    by_case: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        for name, value in case.values.items():
            by_case.setdefault(case.case, {}).setdefault(name, []).append(value)
    own = {
        case: {name: sum(values) / len(values) for name, values in scores.items()}
        for case, scores in by_case.items()
    }
    names = dict.fromkeys(name for scores in own.values() for name in scores)
    found = {
        name: bootstrap(np.array([one[name] for one in own.values() if name in one]), seed=seed)
        for name in names
    }
    for name, parts in averages.items():
        if all(part in names for part in parts):
            found[name] = joint_mean(own, parts, seed=seed)
    return found


def summarise(
    suite: Suite, cases: Sequence[Case], unedited: Mapping[str, float], *, seed: int
) -> dict[str, Any]:
    """One method's entry of a result; see `entry`."""
    found = means(cases, suite.averages, seed=seed)
    scores = {name: one.mean for name, one in found.items()}
    return entry(found, suite.finish(scores, cases, unedited))


def entry(found: Mapping[str, Mean], more: Mapping[str, float]) -> dict[str, Any]:
    """Scores by name, then `intervals` ([low, high] by name) and `cases` (counts by name); `more`
    are scores without an interval."""
    scores = {name: one.mean for name, one in found.items()} | dict(more)
    return {
        **{name: round(value, DIGITS) for name, value in scores.items()},
        "intervals": {
            name: [round(one.low, DIGITS), round(one.high, DIGITS)] for name, one in found.items()
        },
        "cases": {name: one.cases for name, one in found.items()},
    }
