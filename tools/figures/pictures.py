"""The pictures of the pages, drawn from the result files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from revisor.bench.metrics import Mean
from revisor.bench.plots import COLOURS, MARKERS, by_name, draw_lines
from tools.figures.cells import Results, Score
from tools.figures.tables import METHODS, NEURALDB_SIZES, SIZES

RECALL = {
    "questions": "our own questions",
    "zsre": "zsRE's rewordings",
    "counterfact": "CounterFact's paraphrases",
}
NEAR = "near_fires"
WORDS = {
    "own": "own prompt",
    "wording": "other wordings",
    "other_relation_fires": "another relation, answered",
    "stranger_fires": "no facts, answered",
    "ordinary_fires": "ordinary text, answered",
}
SAID = {
    "efficacy_strict": "own prompt",
    "generalization_strict": "other wordings",
    "other_relations_kept_strict": "other relations as before",
    "unedited_subjects_kept_strict": "people without facts as before",
}
FACTS = {"1k": 1e3, "10k": 1e4, "100k": 1e5, "1m": 1e6}


def strictness(results: Results) -> bytes | None:
    """Recall against near misses that fire, as the threshold moves, the three settings marked."""
    there = results.get("questions")
    points = there.value("eval", "result", "thresholds") if there is not None else None
    if not points:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), dpi=160)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    seen = there.value("eval", "result", "relations") if there is not None else {}
    shown = {
        name: f"{label} ({seen[name]})" if name in seen else label
        for name, label in RECALL.items()
        if name in points[0]
    }
    for place, (name, label) in enumerate(shown.items()):
        _trade(axes, points, name, label, place)
    for one in points:
        if one["setting"]:
            axes.axvline(100 * one[NEAR], color="#999999", linewidth=0.8, linestyle=":", zorder=0)
            axes.annotate(
                f"{one['setting']} ({one['threshold']:g})",
                (100 * one[NEAR], 2),
                rotation=90,
                fontsize=8,
                ha="right",
                va="bottom",
            )
    marked = next(one for one in points if one["setting"])
    axes.set_xlabel(f"near misses that are answered (% of {marked['cases'][NEAR]})")
    axes.set_ylabel("asked for, and answered rightly (%)")
    axes.set_ylim(0, 102)
    axes.set_xlim(left=0)
    axes.set_title(
        "Strictness: the threshold from 0.999 (left) to 0.001", fontsize=10.5, loc="left"
    )
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def _trade(
    axes: Any, points: Sequence[Mapping[str, Any]], name: str, label: str, place: int
) -> None:
    """A line, with a marker and its interval at each setting."""
    colour, marker = COLOURS[place], MARKERS[place]
    line = [(100 * one[NEAR], 100 * one[name]) for one in points]
    axes.plot(*zip(*line, strict=True), color=colour, linewidth=1.6)
    for one in points:
        if one["setting"]:
            low, high = one["intervals"][name]
            axes.errorbar(
                [100 * one[NEAR]],
                [100 * one[name]],
                yerr=[[100 * (one[name] - low)], [100 * (high - one[name])]],
                color=colour,
                marker=marker,
                capsize=2.5,
                elinewidth=0.9,
                label=label if one["setting"] == "normal" else None,
            )


def scale(results: Results) -> bytes | None:
    """What is decided of the same facts as their number grows."""
    lines: dict[str, dict[float, Mean]] = {}
    for name, label in WORDS.items():
        for size in SIZES:
            found = Score(figure=f"scale-{size}", name=name, method="text").mean(results)
            if found is not None:
                lines.setdefault(label, {})[FACTS[size]] = found
    return _curves(lines, "1,000 real facts of so many, by the text alone", "share (%)")


def in_model(results: Results) -> bytes | None:
    """What the model says with so many real facts."""
    lines: dict[str, dict[float, Mean]] = {}
    for name, label in SAID.items():
        for size in SIZES:
            found = Score(figure=f"facts-{size}", name=name, method="store").mean(results)
            if found is not None:
                lines.setdefault(label, {})[FACTS[size]] = found
    return _curves(lines, "real facts in SmolLM2-135M, whole answers", "share (%)")


def edits(part: str, name: str, up: str) -> Callable[[Results], bytes | None]:
    """A picture of figure 1: a line a method."""

    def draw(results: Results) -> bytes | None:
        lines: dict[str, dict[float, Mean]] = {}
        for method, figure in {"unedited": "neuraldb", **METHODS}.items():
            for size in NEURALDB_SIZES:
                run = f"edits/{part}-{size}"
                found = Score(figure=figure, name=name, method=method, run=run).mean(results)
                if found is not None:
                    lines.setdefault(method, {})[float(size)] = found
        return _curves(lines, f"{part}, SmolLM2-135M", f"{up} (%)")

    return draw


def _curves(lines: Mapping[str, Mapping[float, Mean]], title: str, up: str) -> bytes | None:
    if len({x for points in lines.values() for x in points}) < 2:
        return None
    return draw_lines(
        by_name(lines), title=title, across="facts (logarithmic)", up=up, logarithmic=True
    )


@dataclass(frozen=True)
class Picture:
    """A picture that pages show.

    Attributes:
        place: its file, below the repository's root.
        about: what it shows.
        draw: draws it; gives None where too little is measured.
    """

    place: str
    about: str
    draw: Callable[[Results], bytes | None]


PICTURES: Mapping[str, Picture] = {
    "strictness": Picture(
        "docs/research/strictness.png",
        "Questions answered against near misses that are, as the threshold moves",
        strictness,
    ),
    "scale-curve": Picture(
        "docs/figures/scale.png", "What is decided, against the number of facts", scale
    ),
    "in-model-curve": Picture(
        "docs/figures/in-model.png", "What the model says, against the number of facts", in_model
    ),
    "figure-1-loose": Picture(
        "docs/figures/figure-1-loose.png",
        "Loose scores against the number of facts",
        edits("counterfact", "average", "mean of efficacy, generalization, specificity, loose"),
    ),
    "figure-1-said": Picture(
        "docs/figures/figure-1-said.png",
        "What is said against the number of facts",
        edits("counterfact", "average_strict", "mean of what is said"),
    ),
}
