"""Pictures of curves and costs, as PNG files.

Colours are Okabe and Ito's (2008), told apart by all; every line has a marker of its own, too.
Shares are drawn from 0 to 100 %, so that a small difference looks small. Points with one x stand a
little apart, so that equal ones are all seen; the best known method lies on top.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from revisor.bench.extra import need
from revisor.bench.metrics import Mean
from revisor.bench.unedited import UNEDITED

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS = "osD^vPX*<>hp"
FIXED = ("revisor", "neuraldb", "memit-seq", "rect", "alphaedit", "memit", "rag", "icl")
GREY = "#767676"
APART = 0.012  # of the axis, from line to line
SIZE_IN = (6.4, 4.2)
DPI = 160


@dataclass(frozen=True, kw_only=True)
class Line:
    """One method's points (x, mean), in ascending order of x; `dashed` is a second form of the line
    before, in its colour."""

    name: str
    points: tuple[tuple[float, Mean], ...]
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One method's quality and cost."""

    name: str
    cost: float
    quality: Mean


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    across: str,
    up: str,
    logarithmic: bool = False,
) -> bytes:
    """Lines over one axis, with bars for 95 % intervals."""
    figure, axes = _figure(title, across, up)
    order = list(dict.fromkeys(line.name for line in lines))
    ticks = sorted({x for line in lines for x, _ in line.points})
    logarithmic = logarithmic and ticks[0] > 0
    handles = []
    for line in lines:
        colour, marker = _look(line.name, order)
        step = APART * (order.index(line.name) - (len(order) - 1) / 2)
        xs = [_moved(x, step, ticks, logarithmic) for x, _ in line.points]
        ys = [100 * one.mean for _, one in line.points]
        bars = [
            [max(0.0, 100 * (one.mean - one.low)) for _, one in line.points],
            [max(0.0, 100 * (one.high - one.mean)) for _, one in line.points],
        ]
        drawn = axes.errorbar(
            xs,
            ys,
            yerr=bars,
            zorder=3 - order.index(line.name) / len(order),
            color=colour,
            marker=marker,
            markersize=5.5,
            markerfacecolor="white" if line.dashed else colour,
            linewidth=1.8,
            linestyle=":" if line.name == UNEDITED else "--" if line.dashed else "-",
            capsize=2.5,
            elinewidth=0.9,
        )
        drawn.lines[0].set_label(f"{line.name}, strict" if line.dashed else line.name)
        handles.append(drawn.lines[0])
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [_number(x) for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 102)
    _legend(axes, handles)
    return _png(figure)


def _number(value: float) -> str:
    """A number as on an axis: "1,000,000", "0.65"."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,g}"


def _moved(x: float, step: float, ticks: Sequence[float], logarithmic: bool) -> float:
    """x, moved by a share of the axis."""
    low, high = ticks[0], ticks[-1]
    if logarithmic:
        return float(x * (high / low) ** step)
    return x + step * (high - low)


def _legend(axes: Any, handles: Sequence[Any]) -> None:
    """Put a legend beside the picture, without the bars."""
    axes.legend(
        handles=handles,
        frameon=False,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
    )


def draw_costs(dots: Sequence[Dot], *, title: str, across: str, up: str) -> bytes:
    """Quality against cost, each method by name; cost on a logarithmic axis."""
    need("matplotlib")
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = _figure(title, across, up)
    order = [dot.name for dot in dots]
    handles = []
    for dot in dots:
        colour, marker = _look(dot.name, order)
        bars = [
            [max(0.0, 100 * (dot.quality.mean - dot.quality.low))],
            [max(0.0, 100 * (dot.quality.high - dot.quality.mean))],
        ]
        drawn = axes.errorbar(
            [dot.cost],
            [100 * dot.quality.mean],
            yerr=bars,
            color=colour,
            marker=marker,
            markersize=8,
            capsize=2.5,
            elinewidth=0.9,
            linestyle="",
        )
        drawn.lines[0].set_label(dot.name)
        handles.append(drawn.lines[0])
    axes.set_xscale("log")
    costs = [dot.cost for dot in dots]
    axes.set_xlim(min(costs) / 2, max(costs) * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 102)
    _legend(axes, handles)
    return _png(figure)


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _look(name: str, order: Sequence[str]) -> tuple[str, str]:
    """Colour and marker; the best known methods have theirs in every picture."""
    if name == UNEDITED:
        return GREY, "x"
    known = [*FIXED, *(other for other in order if other not in FIXED and other != UNEDITED)]
    place = known.index(name)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    # Without the software's version, so that the same numbers give the same bytes.
    figure.savefig(stream, format="png", bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def by_name(lines: Mapping[str, Mapping[float, Mean]]) -> list[Line]:
    """Lines from means by name and x."""
    return [Line(name=name, points=tuple(sorted(points.items()))) for name, points in lines.items()]
