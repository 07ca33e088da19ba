"""Result files of figures, and the numbers in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from revisor.bench.metrics import Mean
from revisor.errors import BadInput
from tools.figures.listing import RESULTS, Figure

Steps = Mapping[str, Mapping[str, Any]]
REMEDY = "Remove it, then: make figures ONLY={}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a figure's commands found.

    Attributes:
        figure: its name.
        steps: of each step by name the `command`, `seconds`, `peak_mb` and `result`.
        date: of the measurement.
        commit: of the code that was measured, with " and changes" where files differed from it.
        sources: the hash of `Figure.sources` then; None where it is not known.
        machine: its kind.
        note: what else is to be known.
    """

    figure: str
    steps: Steps
    date: str
    commit: str
    sources: str | None
    machine: Mapping[str, Any]
    note: str = ""

    def is_of(self, figure: Figure) -> bool:
        """Whether it was measured with the sources as they are."""
        return self.sources == figure.sources

    def value(self, *path: str) -> Any:
        """What stands at a path of `steps`; None where nothing does."""
        found: Any = self.steps
        for key in path:
            if isinstance(found, list):
                found = next((one for one in found if one.get("folder") == key), None)
            else:
                found = found.get(key) if isinstance(found, Mapping) else None
            if found is None:
                return None
        return found

    def mean(self, name: str, *methods: str) -> Mean | None:
        """A score with its interval; None where it is not there.

        Args:
            methods: the path to a method's entry.
        """
        scores = self.value(*methods)
        if not scores or name not in scores:
            return None
        low, high = scores.get("intervals", {}).get(name, (scores[name], scores[name]))
        cases = scores.get("cases", {}).get(name, 0)
        return Mean(mean=scores[name], low=low, high=high, cases=cases)


def read_results(figures: Mapping[str, Figure], folder: Path = RESULTS) -> dict[str, Result]:
    """The results that are there, by figure.

    Raises:
        BadInput: a file is damaged, or is of no figure of the list.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.stem not in figures:
            raise BadInput(f"{path} is of no figure of the list.", "Remove it, or list the figure.")
        found[path.stem] = read_result(path)
    return found


def read_result(path: Path) -> Result:
    """One result file.

    Raises:
        BadInput: it is damaged.
    """
    remedy = REMEDY.format(path.stem)
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is no result of a figure: {error}.", remedy) from error
    steps = result.steps
    whole = isinstance(steps, dict) and all(
        isinstance(one, dict) and "command" in one for one in steps.values()
    )
    if not whole or result.figure != path.stem:
        raise BadInput(f"{path} is no result of the figure {path.stem}.", remedy)
    return result


def write_result(result: Result, folder: Path = RESULTS) -> Path:
    """Write a result file as a whole; a kill leaves the old one or the new one."""
    path = folder / f"{result.figure}.json"
    folder.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    text = json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n"
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    return path


def condensed(result: Any, figure: Figure) -> Any:
    """A command's result without what the figure does not keep."""
    if not isinstance(result, dict):
        return result
    kept = {key: value for key, value in result.items() if key not in figure.leave_out}
    if "runs" in kept:
        kept["runs"] = [condensed(run, figure) for run in kept["runs"]]
    if figure.curve and "thresholds" in kept:
        known = ("threshold", "setting", *figure.curve)
        kept["thresholds"] = [_only(one, known) for one in kept["thresholds"]]
    if figure.scores and isinstance(kept.get("methods"), dict):
        kept["methods"] = {
            name: _only(scores, figure.scores) for name, scores in kept["methods"].items()
        }
    return kept


def _only(scores: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {name: scores[name] for name in names if name in scores}
    for part in ("intervals", "cases"):
        some = {name: value for name, value in scores.get(part, {}).items() if name in names}
        found[part] = some
    return found
