"""The tables of the pages, between `<!-- figures: NAME -->` and `<!-- end -->`, and the plots."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from revisor.errors import BadInput
from tools.figures.cells import NOTHING, Cell, Results, Text
from tools.figures.listing import ROOT, Figure
from tools.figures.pictures import PICTURES, Picture
from tools.figures.results import read_results
from tools.figures.tables import TABLES, Table

BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SEEN = re.compile(r"\{seen: (\w+)\}")
MARK = "†"
UNKNOWN = "Not measured yet.\n"


def pages() -> list[Path]:
    """The pages that may have blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def write_pages(figures: Mapping[str, Figure]) -> list[Path]:
    """Write all blocks and draw all pictures anew.

    Returns:
        The files that changed.

    Raises:
        BadInput: a page has a block that is no table, or a result file is damaged.
    """
    results = read_results(figures)
    changed = []
    for picture in PICTURES.values():
        drawn, path = picture.draw(results), ROOT / picture.place
        if drawn is not None and (not path.exists() or path.read_bytes() != drawn):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(drawn)
            changed.append(path)
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before, figures, results, page.parent)
        if after != before:
            page.write_text(after, encoding="utf-8")
            changed.append(page)
    return changed


def filled(page: str, figures: Mapping[str, Figure], results: Results, folder: Path = ROOT) -> str:
    """A page's text with its blocks made anew.

    Args:
        folder: of the page.

    Raises:
        BadInput: a block is neither a table nor a picture.
    """

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name in PICTURES:
            return f"{found[1]}{_shown(PICTURES[name], folder)}{found[4]}"
        if name not in TABLES:
            known = ", ".join(sorted([*TABLES, *PICTURES]))
            raise BadInput(f"There is no table or picture '{name}'.", f"Choose of: {known}")
        return f"{found[1]}{rendered(TABLES[name], figures, results)}{found[4]}"

    return BLOCK.sub(block, page)


def _shown(picture: Picture, folder: Path) -> str:
    path = ROOT / picture.place
    if not path.exists():
        return UNKNOWN
    return f"![{picture.about}]({Path(os.path.relpath(path, folder)).as_posix()})\n"


def rendered(table: Table, figures: Mapping[str, Figure], results: Results) -> str:
    """A table in Markdown. Rows that nothing has been measured of are left out; those that were
    measured with other sources are marked, and a line below tells at which commit."""
    lines, old, notes = [], dict[str, str](), dict[str, str]()
    for row in table.made(figures, results):
        shown = [cell.shown(results) for cell in row.cells]
        if all(one is None for one, cell in zip(shown, row.cells, strict=True) if cell.figure):
            continue
        stale = _stale(row.cells, figures, results)
        old |= stale
        notes |= _notes(row.cells, results)
        label = SEEN.sub(lambda found: _seen(found[1], results), row.label)
        label = f"{label} {MARK}" if stale else label
        lines.append(_line([label, *(NOTHING if one is None else one for one in shown)]))
    if not lines:
        return UNKNOWN
    head = [_line(table.head), "|" + "---|" * len(table.head)]
    told = [f"`{name}`: {note}" for name, note in notes.items()]
    below = [line for one in [*_footnote(old), *told] for line in ("", one)]
    return "\n".join([*head, *lines, *below]) + "\n"


def _notes(cells: Sequence[Cell], results: Results) -> dict[str, str]:
    """What else is to be known of the figures of a row."""
    names = dict.fromkeys(cell.figure for cell in cells if not isinstance(cell, Text))
    return {name: results[name].note for name in names if name in results and results[name].note}


def _seen(name: str, results: Results) -> str:
    """Whether the encoder's training had the relations of a data set."""
    there = results.get("questions")
    return str(there and there.value("eval", "result", "relations", name) or "seen or not: unknown")


def _stale(
    cells: Sequence[Cell], figures: Mapping[str, Figure], results: Results
) -> dict[str, str]:
    """Of the figures of a row that were measured with other sources: at which commit."""
    names = {cell.figure for cell in cells if cell.figure in results}
    return {
        name: f"{results[name].commit}, {results[name].date}"
        for name in sorted(names)
        if not results[name].is_of(figures[name])
    }


def _footnote(old: Mapping[str, str]) -> list[str]:
    if not old:
        return []
    by_commit: dict[str, list[str]] = {}
    for name, commit in sorted(old.items()):
        by_commit.setdefault(commit, []).append(f"`{name}`")
    told = "; ".join(f"{', '.join(names)} at {commit}" for commit, names in by_commit.items())
    return [f"{MARK} Measured with other sources than the present ones: {told}."]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
