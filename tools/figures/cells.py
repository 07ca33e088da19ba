"""Cells of tables: where a number stands in a result, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from revisor.bench.metrics import Mean
from tools.figures.results import Result

Results = Mapping[str, Result]
NOTHING = "–"


@dataclass(frozen=True)
class Text:
    """A cell that is no measurement."""

    text: str
    figure: str = ""

    def shown(self, results: Results) -> str | None:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of a method, in percent with its interval.

    Attributes:
        figure: whose result it stands in.
        name: of the score; of several, with " / " between them.
        method: whose score.
        step: whose result.
        run: the run of a recipe, by its folder.
        plain: without the interval; `digits` after the point; not in percent where `is_share`
            is False.
    """

    figure: str
    name: str
    method: str = "revisor"
    step: str = "eval"
    run: str = ""
    plain: bool = False
    digits: int = 1
    is_share: bool = True

    def shown(self, results: Results) -> str | None:
        told = [self._one(results, name) for name in self.name.split(" / ")]
        if all(one is None for one in told):
            return None
        return " / ".join(one or NOTHING for one in told)

    def mean(self, results: Results, name: str = "") -> Mean | None:
        """The score itself."""
        result = results.get(self.figure)
        if result is None:
            return None
        runs = ("runs", self.run) if self.run else ()
        return result.mean(name or self.name, self.step, "result", *runs, "methods", self.method)

    def _one(self, results: Results, name: str) -> str | None:
        found = self.mean(results, name)
        if found is None:
            return None
        if not self.is_share:
            return f"{found.mean:,.{self.digits}f}"
        shown = percent(found.mean, self.digits)
        if self.plain or found.low == found.high:
            return shown
        return f"{shown} [{percent(found.low)}, {percent(found.high)}]"


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many texts or facts a score is of."""

    figure: str
    name: str
    method: str = "revisor"
    step: str = "eval"
    run: str = ""

    def shown(self, results: Results) -> str | None:
        of = Score(
            figure=self.figure, name=self.name, method=self.method, step=self.step, run=self.run
        )
        found = of.mean(results)
        return f"{found.cases:,}" if found is not None and found.cases else None


@dataclass(frozen=True)
class Number:
    """Numbers at paths of a result, filled into a text: `"{} of {}"`.

    Attributes:
        figure: whose result.
        paths: below its steps, parts with "/" between them.
        form: with a replacement field a number.
        scale: what they are multiplied with.
    """

    figure: str
    paths: tuple[str, ...]
    form: str = "{:,}"
    scale: float | None = None

    def shown(self, results: Results) -> str | None:
        result = results.get(self.figure)
        if result is None:
            return None
        found = [result.value(*path.split("/")) for path in self.paths]
        if any(one is None for one in found):
            return None
        if self.scale is not None:
            found = [one * self.scale for one in found]
        return self.form.format(*found)


Cell = Text | Score | Count | Number


def percent(share: float, digits: int = 1) -> str:
    """A share in percent, without a zero behind the point."""
    return f"{100 * share:.{digits}f}".removesuffix("." + "0" * digits)
