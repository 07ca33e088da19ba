"""From runs to one self-contained HTML page, and its pictures as files."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from revisor.bench.deciding import labelled
from revisor.bench.metrics import Mean
from revisor.bench.plots import Dot, Line, by_name, draw_costs, draw_lines
from revisor.bench.runner import COSTS
from revisor.bench.runs import RESULT, RUN
from revisor.bench.suites.general import BY_NAME as TASKS
from revisor.bench.unedited import UNEDITED
from revisor.errors import BadInput, NotFound

PAGE = "report.html"
# Loose and strict; of neighbors, whether the unedited model's answer is said again.
FORMS: Mapping[str, tuple[str, str]] = {
    "efficacy": ("efficacy", "efficacy_strict"),
    "generalization": ("generalization", "generalization_strict"),
    "specificity": ("specificity", "specificity_kept_strict"),
}
FACT_SUITES, GENERAL = ("counterfact", "zsre"), "general"
_LOOSE = (
    "",
    "mean of efficacy, generalization, specificity",
    "Loose scores, as the papers have them: the right object is the more probable one.",
)
_STRICT = (
    "-said",
    "mean of what is said",
    "Strict scores: the fact is said, it is said in other words, and beside it the unedited "
    "model's answer is said. The unedited model has a third by saying what it says.",
)
AVERAGES: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    **{suite: {"average": _LOOSE, "average_strict": _STRICT} for suite in FACT_SUITES},
    GENERAL: {"average": ("", "mean accuracy of six tasks", f"Mean of {', '.join(TASKS)}.")},
}
VARIED = ("gamma", "layer")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption, .made { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid #e4e4e4; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
                               background: #fff; } td small { color: #666; }
"""


@dataclass(frozen=True)
class Loaded:
    """One run, read back: its folder, what made it (`made`), its scores."""

    folder: Path
    made: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def suite(self) -> str:
        """The suite's name."""
        return str(self.result["suite"])

    @property
    def edits(self) -> int:
        """How many facts were edited."""
        return int(self.result["edits"])

    @property
    def methods(self) -> Mapping[str, Mapping[str, Any]]:
        """The scores, intervals and costs of each method."""
        found: Mapping[str, Mapping[str, Any]] = self.result["methods"]
        return found

    def varied(self, option: str) -> float | None:
        """The value of an option, if this run is a point of a curve that varies it."""
        value = self.made["settings"]["varied"].get(option)
        return float(value) if isinstance(value, int | float) else None

    @property
    def plain(self) -> bool:
        """Whether no option is varied."""
        return not self.made["settings"]["varied"]

    def mean(self, method: str, name: str) -> Mean | None:
        """A score with its interval, or None where the method lacks it."""
        scores = self.methods[method]
        if name not in scores or name not in scores["intervals"]:
            return None
        low, high = scores["intervals"][name]
        return Mean(mean=scores[name], low=low, high=high, cases=scores["cases"][name])


@dataclass
class Page:
    """The page as it grows, and the pictures by file name."""

    title: str
    parts: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, kind: str = "") -> None:
        """Add a paragraph, of a CSS class."""
        self.parts.append(f'<p class="{kind}">{html.escape(text)}</p>')

    def picture(self, name: str, png: bytes, caption: str) -> None:
        """Add a picture with a caption; it is kept under its file name, too."""
        self.pictures[name] = png
        data = base64.b64encode(png).decode("ascii")
        said = html.escape(caption)
        self.parts.append(
            f'<figure><img alt="{said}" src="data:image/png;base64,{data}">'
            f"<figcaption>{said}</figcaption></figure>"
        )

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; cells are HTML already."""
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        self.parts.append(
            f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def whole(self) -> str:
        """The page, whole."""
        title = html.escape(self.title)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{STYLE}</style></head><body><h1>{title}</h1>{''.join(self.parts)}"
            "</body></html>\n"
        )


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Draw runs, each in one of the folders or below it; returns the files written, the page first.

    Raises:
        NotFound: a folder holds no finished run.
        BadInput: a run's files are damaged.
    """
    runs = read_runs(folders)
    page = Page(title="Editing methods side by side: " + ", ".join(_models(runs)))
    _curves(page, runs)
    _sweeps(page, runs)
    _costs(page, runs)
    _tables(page, runs)
    out.mkdir(parents=True, exist_ok=True)
    written = [out / PAGE]
    written[0].write_text(page.whole(), encoding="utf-8")
    for name, png in page.pictures.items():
        written.append(out / name)
        written[-1].write_bytes(png)
    return written


def read_runs(folders: Sequence[Path]) -> list[Loaded]:
    """The finished runs in some folders."""
    runs: dict[Path, Loaded] = {}
    for folder in folders:
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder}.", "Name what `eval --out` wrote.")
        found = 0
        for made in sorted(folder.rglob(RUN)):
            if not (made.parent / RESULT).exists():
                continue
            found += 1
            try:
                runs[made.parent.resolve()] = Loaded(
                    made.parent,
                    json.loads(made.read_text(encoding="utf-8")),
                    json.loads((made.parent / RESULT).read_text(encoding="utf-8")),
                )
            except ValueError as error:
                raise BadInput(f"{made.parent} is damaged: {error}.", "Run it again.") from error
        if not found:
            raise NotFound(
                f"{folder} holds no finished run.",
                "Finish it: the same `revisor eval ... --out` goes on where it stopped.",
            )
    return sorted(runs.values(), key=lambda run: (run.suite, run.edits, str(run.folder)))


def _models(runs: Sequence[Loaded]) -> list[str]:
    return list(dict.fromkeys(str(run.result["model"]) for run in runs))


def _curves(page: Page, runs: Sequence[Loaded]) -> None:
    """Figure 1 of the paper: quality and general ability against the number of edits."""
    for model in _models(runs):
        mine = [run for run in runs if run.result["model"] == model and run.plain]
        for suite in (*FACT_SUITES, GENERAL):
            for score, (suffix, up, caption) in AVERAGES[suite].items():
                lines = _along_edits([run for run in mine if run.suite == suite], score)
                if not lines:
                    continue
                page.heading(f"{suite}: {up} against the number of edits")
                page.picture(
                    f"edits-{suite}{suffix}-{_slug(model)}.png",
                    draw_lines(
                        lines,
                        title=f"{suite}, {model}",
                        across="facts in the model",
                        up=f"{up} (%)",
                        logarithmic=True,
                    ),
                    f"{caption} Bars are 95 % bootstrap intervals. A line that ends early was "
                    "stopped, or not run further.",
                )


def _along_edits(runs: Sequence[Loaded], score: str) -> list[Line]:
    """A line a method; none where all runs have one number of edits."""
    if len({run.edits for run in runs}) < 2:
        return []
    lines: dict[str, dict[float, Mean]] = {}
    for run in runs:
        for method in run.methods:
            mean = run.mean(method, score)
            if mean is not None:
                lines.setdefault(method, {})[float(run.edits)] = mean
    return by_name(lines)


def _sweeps(page: Page, runs: Sequence[Loaded]) -> None:
    """Scores of one method against γ, and against the layer."""
    for option, symbol in (("gamma", "γ"), ("layer", "layer")):
        groups: dict[tuple[str, str, int, str], list[Loaded]] = {}
        for run in runs:
            if run.varied(option) is None:
                continue
            for method in run.methods:
                if method != UNEDITED:
                    key = (run.suite, str(run.result["model"]), run.edits, method)
                    groups.setdefault(key, []).append(run)
        for (suite, model, edits, method), members in groups.items():
            lines = _along_option(members, option, method)
            if not lines:
                continue
            page.heading(f"{method} against {symbol} ({suite}, {edits:,} edits)")
            page.picture(
                f"{option}-{suite}-{method}-{edits}-{_slug(model)}.png",
                draw_lines(
                    lines,
                    title=f"{method} on {suite}, {model}, {edits:,} edits",
                    across=symbol,
                    up="score (%)",
                ),
                "Full lines loose, dashed lines strict: what is said, and of neighbors the share "
                "whose answer is the unedited model's. Bars are 95 % bootstrap intervals.",
            )


def _along_option(runs: Sequence[Loaded], option: str, method: str) -> list[Line]:
    lines = []
    for name, (loose, strict) in FORMS.items():
        for score in (loose, strict):
            points: dict[float, Mean] = {}
            for run in runs:
                at, mean = run.varied(option), run.mean(method, score)
                if at is not None and mean is not None:
                    points[at] = mean
            if len(points) > 1:
                ordered = tuple(sorted(points.items()))
                lines.append(Line(name=name, points=ordered, dashed=score == strict))
    return lines


def _costs(page: Page, runs: Sequence[Loaded]) -> None:
    """Quality against seconds a fact, at the number of edits that most methods have."""
    for model in _models(runs):
        for suite in FACT_SUITES:
            at: dict[int, dict[str, Loaded]] = {}
            for run in runs:
                if run.suite == suite and run.result["model"] == model and run.plain:
                    at.setdefault(run.edits, {}).update(
                        (method, run)
                        for method in run.methods
                        if run.methods[method].get("seconds_per_fact")
                    )
            if not at:
                continue
            edits = max(at, key=lambda count: (len(at[count]), count))
            dots = [
                Dot(name=name, cost=float(run.methods[name]["seconds_per_fact"]), quality=mean)
                for name, run in at[edits].items()
                if (mean := run.mean(name, "average"))
            ]
            if not dots:
                continue
            page.heading(f"Quality against cost ({suite})")
            page.picture(
                f"cost-{suite}-{_slug(model)}.png",
                draw_costs(
                    dots,
                    title=f"{suite}, {model}, {edits:,} edits: quality against cost",
                    across="seconds a fact (logarithmic)",
                    up="mean of the three, loose (%)",
                ),
                f"{edits:,} facts in the model; without methods that take no time for a fact.",
            )


def _tables(page: Page, runs: Sequence[Loaded]) -> None:
    for run in runs:
        varied = "".join(
            f", {option} {value:g}"
            for option in VARIED
            if (value := run.varied(option)) is not None
        )
        page.heading(
            f"{run.suite}: {run.result['n']:,} measured, {run.edits:,} facts in the model{varied}"
        )
        names = dict.fromkeys(
            name
            for scores in run.methods.values()
            for name, value in scores.items()
            if not isinstance(value, Mapping)
        )
        rows = [
            [
                html.escape(labelled(name, run.result)),
                *(_cell(scores, name) for scores in run.methods.values()),
            ]
            for name in names
        ]
        page.table(["score", *run.methods], rows)
        page.text(_made(run), "made")


def _cell(scores: Mapping[str, Any], name: str) -> str:
    value = scores.get(name)
    if value is None:
        return "–"
    if name in COSTS or isinstance(value, int):
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    interval = scores["intervals"].get(name)
    shown = f"{value:.3f}"
    return (
        shown if interval is None else f"{shown} <small>{interval[0]:.3f}–{interval[1]:.3f}</small>"
    )


def _made(run: Loaded) -> str:
    """A sentence about what made a run."""
    made, machine = run.made, run.made["machine"]
    dropped = "; ".join(f"{count:,} {why}" for why, count in run.result["dropped"].items() if count)
    device = machine["accelerator"] or f"{machine['cpu']}, {machine['threads']} thread(s)"
    return (
        f"{', '.join(made['code'])}; {made['model']['name']} {made['model']['fingerprint']} in "
        f"{made['model']['dtype']}; seed {made['settings']['seed']}; {device}; torch "
        f"{machine['torch']}." + (f" Left out: {dropped}." if dropped else "")
    )


def _slug(text: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in text).strip("-").lower()
