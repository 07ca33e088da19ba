"""One run: a suite, some methods, one model.

The unedited model is measured first; "kept" compares with what it says. A method is fitted once;
probes that an earlier, interrupted run has finished are not asked again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from revisor.bench.asking import Bench
from revisor.bench.built import BuiltEditor
from revisor.bench.cases import Case, Plan, Probe
from revisor.bench.cost import Watched, tokens_per_second
from revisor.bench.datasets import Source
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.neuraldb import BankMethod, BankOptions, layer_for
from revisor.bench.methods.registry import METHODS, make_editor
from revisor.bench.protocol import Editor
from revisor.bench.registry import did_you_mean
from revisor.bench.runs import Run, open_run, provenance
from revisor.bench.suites import make_suite
from revisor.bench.suites.base import Sizes, Suite
from revisor.bench.summary import summarise
from revisor.bench.unedited import UNEDITED, Unedited
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.gate.probe import load_probe, require
from revisor.models.load import LoadedModel, fingerprint
from revisor.progress import Progress

OWN, BANK = "revisor", "neuraldb"
COSTS = (
    "setup_seconds",
    "seconds_per_fact",
    "tokens_per_second",
    "peak_memory_mb",
    "stored_bytes_per_fact",
    "not_written",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What shall be measured.

    Attributes:
        methods: names; the unedited model is always measured.
        options: hyperparameters by method.
        varied: the option that a recipe's curve varies and its value here; for reports.
        built: a store, measured as it is beside the methods; its facts are those of `source`.
        out: folder of the run; None to keep nothing.
    """

    suite: str
    methods: tuple[str, ...]
    loaded: LoadedModel
    sizes: Sizes = field(default_factory=Sizes)
    source: Source = field(default_factory=Source)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    varied: Mapping[str, Any] = field(default_factory=dict)
    built: BuiltEditor | None = None
    out: Path | None = None


def check_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Names of methods without duplicates and the unedited model; UsageError for an unknown one."""
    known = [*METHODS.names, UNEDITED]
    for name in names:
        if name not in known:
            raise UsageError(f"There is no method '{name}'.", did_you_mean(name, known))
    return tuple(name for name in dict.fromkeys(names) if name != UNEDITED)


class Fitted:
    """An editor and the facts it has; along a recipe's curve it is given only new ones."""

    def __init__(self, editor: Editor, setup: float = 0.0) -> None:
        self.editor = editor
        self.setup = setup
        self.seconds = 0.0
        self.peak_mb: float | None = None
        self.failed: set[str] = set()
        self.facts: tuple[Fact, ...] = ()

    @classmethod
    def of_built(cls, editor: BuiltEditor, facts: Sequence[Fact]) -> Fitted:
        """A store that has these facts already."""
        fitted = cls(editor)
        fitted.facts, fitted.failed = tuple(facts), editor.failed
        return fitted

    def can_grow(self, facts: Sequence[Fact]) -> bool:
        """Whether these facts begin with those that the editor has."""
        return tuple(facts[: len(self.facts)]) == self.facts

    def grow(self, facts: Sequence[Fact]) -> None:
        """Fit those of the facts that the editor does not have yet."""
        new = tuple(facts[len(self.facts) :])
        if not new:
            return
        spared = self._spared()
        with Watched() as watched:
            failures = self.editor.fit(new)
        self.facts += new
        self.seconds += watched.seconds + self._spared() - spared
        self.peak_mb = max(self.peak_mb or 0.0, watched.peak_mb or 0.0) or None
        self.failed |= {failure.fact_id for failure in failures}

    def _spared(self) -> float:
        """Seconds that a method would have taken for what it read from a cache."""
        return float(getattr(self.editor, "spared_seconds", 0.0))


def evaluate(job: Job) -> dict[str, Any]:
    """Measure, and return the result; RevisorError for unknown names, missing files, sizes that
    cannot be had, or a folder with another run."""
    return Evaluation(job).run()


class Evaluation:
    """A job under way."""

    def __init__(self, job: Job) -> None:
        self.job = job = replace(job, options=_with_layer(job))
        self.methods = check_methods(job.methods)
        self.suite: Suite = make_suite(job.suite)
        # The hashes of the files that this suite reads, and of no other of a recipe's suites.
        self.source = replace(job.source, hashes={})
        self.plan: Plan = self.suite.plan(self.source, job.sizes, job.loaded.tokenizer)
        _check_probe(job)
        self.bench = Bench(
            loaded=job.loaded,
            seed=job.sizes.seed,
            idf=self.plan.idf,
        )
        self.store: Run = open_run(job.out, self._made())
        self.ids = [probe.id for probe in self.plan.probes]
        self._fitted: dict[str, Fitted] = {}
        self._summaries: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        """Every method, one after the other."""
        self.measure(UNEDITED)
        if self.job.built is not None:
            self.measure(self.job.built.name)
        for method in self.methods:
            self.measure(method)
        return self.result()

    def measure(self, method: str, fitted: Fitted | None = None) -> dict[str, Any]:
        """Measure one method, maybe by an editor with some of the facts (`fitted`), and return its
        summary; fitting is skipped where nothing is left to ask."""
        waiting = [probe for probe in self.plan.probes if not self.store.finished(method, probe.id)]
        if not self.complete(method):
            fitted = fitted or self.begin(method)
            fitted.grow(self.plan.facts)
            self._ask(method, fitted, waiting)
        cases = self.store.cases(method, self.ids)
        unedited = self._summaries.get(UNEDITED, {})
        plain = {name: value for name, value in unedited.items() if isinstance(value, float)}
        summary = summarise(self.suite, cases, plain, seed=self.job.sizes.seed)
        costs = self.store.costs(method)
        summary |= {name: costs[name] for name in COSTS if costs.get(name) is not None}
        self._summaries[method] = summary
        return summary

    def complete(self, method: str) -> bool:
        """Whether nothing is left to do for a method."""
        asked = all(self.store.finished(method, probe) for probe in self.ids)
        return asked and bool(self.store.costs(method))

    def adopt(self, cases: Sequence[Case]) -> None:
        """Adopt the unedited model's cases from another run with the same seed."""
        self.store.add([c for c in cases if not self.store.finished(c.method, c.probe)])

    def begin(self, method: str, banks: Sequence[BankMethod] = ()) -> Fitted:
        """A new editor of that name, and the time it took to make.

        What is measured once for each model (second moments, calibration) comes from the cache if
        it is there, and then costs almost nothing. `banks` are editors whose rows it may share, if
        only γ differs.
        """
        job = self.job
        if method == UNEDITED:
            return Fitted(Unedited())
        if job.built is not None and method == job.built.name:
            return Fitted.of_built(job.built, self.plan.facts)
        begun = time.perf_counter()
        options = job.options.get(method)
        editor = make_editor(method, job.loaded, options, job.source.folder)
        if isinstance(editor, BankMethod):
            any(editor.borrow(bank) for bank in banks)
        return Fitted(editor, time.perf_counter() - begun)

    def result(self) -> dict[str, Any]:
        """The result as it is printed and kept in the run."""
        job = self.job
        cases = {method: self.store.cases(method, self.ids) for method in self._summaries}
        found = {
            "suite": job.suite,
            "n": self.plan.n,
            "edits": len(self.plan.facts),
            "model": shown_name(job.loaded),
            "layer": self._layer(),
            "seed": job.sizes.seed,
            "dropped": dict(self.plan.dropped),
            "methods": self._summaries,
            **self.suite.tell(self.plan, cases, job.options),
        }
        self.store.finish(found)
        return found

    def _ask(self, method: str, fitted: Fitted, waiting: Sequence[Probe]) -> None:
        base = {case.probe: case for case in self.store.cases(UNEDITED, self.ids)}
        title = f"Measuring {method}"
        with fitted.editor.attached():
            with Progress(title, total=len(waiting), unit="probes") as progress:
                for block in self.suite.blocks(waiting):
                    cases = self.suite.measure(
                        self.bench, fitted.editor, block, base, progress.advance
                    )
                    self.store.add(cases)
            speed = tokens_per_second(self.bench.completer)
        count = max(1, len(fitted.facts))
        there = isinstance(fitted.editor, BuiltEditor)  # somebody else has made it
        seconds = None if there else round(fitted.seconds / count, 4)
        self.store.add_costs(
            method,
            {
                "setup_seconds": round(fitted.setup, 2),
                "seconds_per_fact": 0.0 if method == UNEDITED else seconds,
                "tokens_per_second": round(speed, 1),
                "peak_memory_mb": None if fitted.peak_mb is None else round(fitted.peak_mb, 1),
                "stored_bytes_per_fact": round(fitted.editor.stored_bytes / count),
                "not_written": len(fitted.failed),
            },
        )
        gc.collect()

    def _layer(self) -> int | None:
        """The layer of `neuraldb`'s gate; None where that method is not measured."""
        if self.job.built is not None:
            return self.job.built.layer
        layer: int | None = self.job.options.get(BANK, {}).get("layer")
        return layer if BANK in self.methods else None

    def _made(self) -> dict[str, Any]:
        job = self.job
        parameter = next(job.loaded.model.parameters())
        return {
            "settings": {
                "suite": job.suite,
                "n": self.plan.n,
                "edits": len(self.plan.facts),
                "seed": job.sizes.seed,
                "layer": self._layer(),
                "options": {name: dict(value) for name, value in job.options.items() if value},
                "varied": dict(job.varied),
                **({} if job.built is None else {"store": job.built.seal}),
            },
            "model": {
                "name": shown_name(job.loaded),
                "fingerprint": fingerprint(job.loaded),
                "dtype": str(parameter.dtype).removeprefix("torch."),
            },
            "data": dict(sorted(self.source.hashes.items())),
            **provenance(),
        }


def _with_layer(job: Job) -> Mapping[str, Mapping[str, Any]]:
    """The options, those of `neuraldb` with the layer that it would choose itself."""
    own = job.options.get(BANK, {})
    if BANK not in job.methods or own.get("layer") is not None:
        return job.options
    layer = layer_for(Binding(loaded=job.loaded), BankOptions())
    return {**job.options, BANK: {**own, "layer": layer}}


def _check_probe(job: Job) -> None:
    """Fit the probe that `revisor` needs, or refuse the model, before anything is measured."""
    if OWN in job.methods and job.options.get(OWN, {}).get("probe", "auto") == "auto":
        require(load_probe(job.loaded).figures)


def shown_name(loaded: LoadedModel) -> str:
    """A model's name without the folders it lies in."""
    path = Path(loaded.name)
    return path.name if path.exists() else loaded.name
