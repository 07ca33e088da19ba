"""A recipe: the curves of a figure, each point a run, resumable as a whole.

A method is fitted once along a curve: a larger size gives it only the new facts. A method that no
longer says its facts is stopped there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from revisor.bench.cases import Case
from revisor.bench.datasets import Source
from revisor.bench.methods.neuraldb import BankMethod
from revisor.bench.methods.registry import checked_options, read_options, read_toml
from revisor.bench.registry import did_you_mean
from revisor.bench.runner import Evaluation, Fitted, Job, check_methods
from revisor.bench.suites import make_suite
from revisor.bench.suites.base import Sizes
from revisor.bench.unedited import UNEDITED
from revisor.errors import BadInput, Fault, NotFound
from revisor.models.load import LoadedModel

STOPPED = "stopped.json"
JUDGED = "efficacy_strict"
SIZE_KEYS = {
    "model": str,
    "dtype": str,
    "seed": int,
    "options": str,
    "set": dict,
    "stop_below": float,
    "n": dict,
}
CURVE_KEYS = {
    "name": str,
    "suites": list,
    "last": list,
    "methods": list,
    "edits": dict,
    "fresh": list,
    "option": str,
    "values": list,
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points along which something grows.

    Attributes:
        name: of the folder of its runs.
        suites, methods: what is measured at each point.
        last: suites that are measured only where a method's curve ends.
        edits: facts in the model, in ascending order.
        fresh: methods that take all facts of a point at once, an editor a point.
        option: a hyperparameter that takes each of `values`.
    """

    name: str
    suites: tuple[str, ...]
    methods: tuple[str, ...]
    edits: tuple[int, ...]
    last: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    option: str | None = None
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Curves for one model at one size.

    Attributes:
        model, dtype, seed: as of `revisor eval`.
        n: how many are measured, by suite.
        stop_below: a method whose strict efficacy falls below is not given more facts.
        options: hyperparameters by method: the recipe's own (`set`), else those of the file that
            its `options` names.
        curves: in order.
    """

    model: str
    dtype: str = "auto"
    seed: int = 0
    n: Mapping[str, int] = field(default_factory=dict)
    stop_below: float = 0.0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: tuple[Curve, ...]


def read_recipe(path: Path, size: str) -> Recipe:
    """One size of a recipe.

    Raises:
        NotFound: there is no such file, or it has no such size.
        BadInput: it is not TOML, or has faults; all are listed.
        UsageError: an unknown suite or method.
    """
    found = read_toml(path, "recipe")
    sizes = {name: value for name, value in found.items() if isinstance(value, dict)}
    if size not in sizes:
        raise NotFound(f"{path.name} has no size '{size}'.", did_you_mean(size, sizes))
    chosen = sizes[size]
    tables = found.get("curve", [])
    faults = list(_faults(f"[{size}]", chosen, SIZE_KEYS, ("model",)))
    if not isinstance(tables, list) or not tables:
        faults.append(Fault(line=0, fault="no curve", remedy="write at least one [[curve]]"))
        tables = []
    for number, table in enumerate(tables, start=1):
        needed = ("name", "suites", "methods", "edits")
        faults += _faults(f"curve {number}", table, CURVE_KEYS, needed)
        points = table.get("edits")
        if isinstance(points, dict) and size not in points:
            fault = f"curve {number} has no edits for the size '{size}'"
            faults.append(Fault(line=0, fault=fault, remedy=f"write {size} = [100, 300]"))
    if faults:
        raise BadInput(f"{path} has {len(faults)} fault(s).", "Mend them all.", faults)
    file, own = chosen.pop("options", None), checked_options(chosen.pop("set", {}))
    known = {} if file is None else read_options(path.parent / file, chosen["model"])
    return Recipe(
        **chosen,
        options={name: {**known.get(name, {}), **own.get(name, {})} for name in {**known, **own}},
        curves=tuple(_curve(table, size) for table in tables),
    )


def _faults(
    where: str, table: Mapping[str, Any], known: Mapping[str, type], needed: Sequence[str]
) -> list[Fault]:
    faults = []
    for key, value in table.items():
        if key not in known:
            fault = f"{where}: unknown key '{key}'"
            faults.append(Fault(line=0, fault=fault, remedy=did_you_mean(key, known)))
        elif not isinstance(value, known[key]):
            fault = f"{where}: '{key}' is {value!r}"
            faults.append(Fault(line=0, fault=fault, remedy=f"give a {known[key].__name__}"))
    for key in needed:
        if key not in table:
            faults.append(Fault(line=0, fault=f"{where}: '{key}' is missing"))
    return faults


def _curve(table: Mapping[str, Any], size: str) -> Curve:
    last = tuple(table.get("last", ()))
    for suite in (*table["suites"], *last):
        make_suite(suite)
    return Curve(
        name=table["name"],
        suites=tuple(table["suites"]),
        methods=check_methods(table["methods"]),
        edits=tuple(table["edits"][size]),
        last=last,
        fresh=check_methods(table.get("fresh", ())),
        option=table.get("option"),
        values=tuple(table.get("values", ())),
    )


def run_recipe(
    recipe: Recipe, loaded: LoadedModel, source: Source, out: Path
) -> list[dict[str, Any]]:
    """Run every point of every curve; the result of each run has its `folder` under `out`."""
    job = Job(
        suite="",
        methods=(),
        loaded=loaded,
        sizes=Sizes(seed=recipe.seed),
        source=source,
        options=recipe.options,
    )
    kitchen = _Kitchen(recipe, job, out)
    for curve in recipe.curves:
        kitchen.run(curve)
    return kitchen.results()


class _Kitchen:
    """A recipe being run: evaluations by folder, and the unedited model's cases so far."""

    def __init__(self, recipe: Recipe, job: Job, out: Path) -> None:
        self.recipe, self.job, self.out = recipe, job, out
        self.evaluations: dict[str, Evaluation] = {}
        self.said: dict[tuple[str, frozenset[str]], Sequence[Case]] = {}
        self.stopped: dict[str, str] = {}
        self.banks: list[BankMethod] = []

    def run(self, curve: Curve) -> None:
        """Run all methods point by point, so that what is there makes a figure at any time."""
        values: Sequence[Any] = curve.values if curve.option else (None,)
        growing: dict[tuple[str, Any], Fitted | None] = {}
        for place in range(len(curve.edits)):
            for method in curve.methods:
                for value in values:
                    if f"{curve.name}/{method}" in self.stopped:
                        growing.pop((method, value), None)
                        continue
                    fitted = self._point(curve, method, value, place, growing.get((method, value)))
                    growing[method, value] = None if method in curve.fresh else fitted

    def _point(
        self, curve: Curve, method: str, value: Any, place: int, fitted: Fitted | None
    ) -> Fitted | None:
        """One method at one point of a curve; its editor as it is afterwards."""
        job, edits = self.job, curve.edits[place]
        if curve.option:
            varied = {
                name: {**job.options.get(name, {}), curve.option: value} for name in curve.methods
            }
            job = replace(job, options={**job.options, **varied}, varied={curve.option: value})
        for suite in curve.suites:
            fitted, summary = self._run(job, curve, method, value, place, suite, fitted)
            if not curve.option and summary.get(JUDGED, 1.0) < self.recipe.stop_below:
                self._stop(curve, method, f"says too few of {edits} facts")
        if edits == curve.edits[-1] or f"{curve.name}/{method}" in self.stopped:
            for suite in curve.last:
                fitted, _ = self._run(job, curve, method, value, place, suite, fitted)
        return fitted

    def _run(
        self,
        job: Job,
        curve: Curve,
        method: str,
        value: Any,
        place: int,
        suite: str,
        fitted: Fitted | None,
    ) -> tuple[Fitted | None, Mapping[str, Any]]:
        """One suite at a point: the editor afterwards, and what was measured."""
        edits = curve.edits[place]
        label = f"{edits}" if value is None else f"{curve.option}-{value}"
        if value is not None and len(curve.edits) > 1:
            label += f"-{edits}"
        folder = f"{curve.name}/{suite}-{label}"
        evaluation = self._evaluation(job, folder, suite, edits, curve.methods)
        facts = evaluation.plan.facts
        if not evaluation.complete(method):
            if fitted is None or not fitted.can_grow(facts):
                fitted = self._begin(evaluation, method)
            # A resumed curve takes the steps that were taken before: some methods' results
            # depend on which facts came together.
            earlier = () if method in curve.fresh else curve.edits[:place]
            for size in earlier:
                if len(fitted.facts) < size < len(facts):
                    fitted.grow(facts[:size])
        summary = evaluation.measure(method, fitted)
        evaluation.result()
        return fitted, summary

    def _begin(self, evaluation: Evaluation, method: str) -> Fitted:
        fitted = evaluation.begin(method, self.banks)
        if isinstance(fitted.editor, BankMethod):
            self.banks.append(fitted.editor)
        return fitted

    def _evaluation(
        self, job: Job, folder: str, suite: str, edits: int, methods: Sequence[str]
    ) -> Evaluation:
        """The run of a folder, in which the unedited model is measured."""
        if folder not in self.evaluations:
            n = self.recipe.n.get(suite)
            if n is not None and suite not in ("general", "perplexity", "gate"):
                n = min(n, edits)
            sizes = Sizes(n=n, edits=edits, seed=self.recipe.seed)
            one = replace(job, suite=suite, sizes=sizes, out=self.out / folder)
            evaluation = Evaluation(one)
            # Of one run with the same probes, all or none: what a method said is compared with what
            # the model said in the same batches, and the rounding of others changes some answers.
            probes = suite, frozenset(evaluation.ids)
            if probes in self.said:
                evaluation.adopt(self.said[probes])
            evaluation.measure(UNEDITED)
            self.said.setdefault(probes, evaluation.store.cases(UNEDITED, evaluation.ids))
            for method in methods:  # what an earlier, interrupted recipe has finished
                if evaluation.complete(method):
                    evaluation.measure(method)
            self.evaluations[folder] = evaluation
        return self.evaluations[folder]

    def _stop(self, curve: Curve, method: str, why: str) -> None:
        self.stopped[f"{curve.name}/{method}"] = why
        text = json.dumps(self.stopped, indent=1, ensure_ascii=False) + "\n"
        (self.out / STOPPED).write_text(text, encoding="utf-8")

    def results(self) -> list[dict[str, Any]]:
        return [
            {"folder": folder, **evaluation.result()}
            for folder, evaluation in self.evaluations.items()
        ]
