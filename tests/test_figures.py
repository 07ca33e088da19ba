"""The figures of README and docs: made by the listed commands, shown as they were measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from revisor.bench import runs
from revisor.bench.runs import source_hash
from revisor.errors import BadInput, NotFound, UsageError
from tools.figures.cells import Score
from tools.figures.listing import ROOT, Figure, chosen, read_list
from tools.figures.pages import BLOCK, filled, pages, rendered
from tools.figures.pictures import PICTURES
from tools.figures.results import Result, read_result, read_results, write_result
from tools.figures.running import Places, commands_of, is_current, run_figures
from tools.figures.tables import TABLES, Row, Table

FIGURES = read_list()
PAGES = [page for page in pages() if BLOCK.search(page.read_text(encoding="utf-8"))]
TABLE = Table(
    ("", "score"),
    (
        Row("one", (Score(figure="one", name="own", method="text"),)),
        Row("two", (Score(figure="two", name="own", method="text"),)),
        Row("three", (Score(figure="three", name="own", method="text"),)),
    ),
)


def figure(name: str, **steps: str) -> Figure:
    """A figure of the test, which depends on one small file."""
    return Figure(name=name, about="a test", parts=("progress.py",), minutes=1, steps=steps)


def result(of: Figure, share: float, *, sources: str | None = None, commit: str = "abc") -> Result:
    """A result with one score."""
    entry = {"own": share, "intervals": {"own": [share - 0.1, share]}, "cases": {"own": 40}}
    step = {"command": of.steps["eval"], "result": {"methods": {"text": entry}}}
    return Result(
        figure=of.name,
        steps={"eval": step},
        date="2026-11-30",
        commit=commit,
        sources=of.sources if sources is None else sources,
        machine={},
    )


def places(folder: Path) -> Places:
    return Places(results=folder / "results", work=folder / "work")


def printing(text: str) -> str:
    """A command that prints a text."""
    return f"""python -c 'print("{text}")' """


# The pages and the files that are here


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_of_a_page_are_what_the_result_files_give(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text, FIGURES, read_results(FIGURES), page.parent) == text, "run: make tables"


def test_every_figure_and_every_table_is_shown_on_some_page() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    blocks = {name: body for text in texts for _, name, body, _ in BLOCK.findall(text)}
    assert set(blocks) == {*TABLES, *PICTURES}
    assert set(re.findall(r"^\| `([\w-]+)`", blocks["list"], re.MULTILINE)) == set(FIGURES)


def test_tables_show_figures_of_the_list_alone() -> None:
    results = read_results(FIGURES)
    for name, table in TABLES.items():
        for row in table.made(FIGURES, results):
            for cell in row.cells:
                assert not cell.figure or cell.figure in FIGURES, (name, row.label)


@pytest.mark.parametrize("name", sorted(read_results(FIGURES)))
def test_a_result_was_made_by_the_listed_commands(name: str) -> None:
    assert commands_of(read_results(FIGURES)[name]) == dict(FIGURES[name].steps)


def test_commands_name_no_folder_of_a_machine() -> None:
    for one in FIGURES.values():
        for command in one.steps.values():
            assert command.split()[0] in ("revisor", "python"), command
            assert not re.search(r"(?<!\S)/", command), command


# Marks


def test_rows_of_other_sources_are_marked_and_the_commit_is_named() -> None:
    figures = {name: figure(name, eval="x") for name in ("one", "two", "three")}
    results = {
        "one": result(figures["one"], 0.9),
        "two": result(figures["two"], 0.5, sources="000000000000", commit="old1234"),
    }
    assert rendered(TABLE, figures, results).splitlines() == [
        "|  | score |",
        "|---|---|",
        "| one | 90 [80, 90] |",
        "| two † | 50 [40, 50] |",
        "",
        "† Measured with other sources than the present ones: `two` at old1234, 2026-11-30.",
    ]


def test_a_result_of_unknown_sources_is_marked() -> None:
    figures = {name: figure(name, eval="x") for name in ("one", "two", "three")}
    imported = replace(result(figures["one"], 0.9), sources=None)
    assert "| one † |" in rendered(TABLE, figures, {"one": imported})


def test_a_table_of_which_nothing_is_measured_says_so() -> None:
    assert rendered(TABLE, FIGURES, {}) == "Not measured yet.\n"


def test_a_block_that_is_no_table_is_refused() -> None:
    with pytest.raises(BadInput, match="no table or picture 'nonsense'"):
        filled("<!-- figures: nonsense -->\n<!-- end -->", FIGURES, {})


# Running


def test_a_figure_is_made_once_and_again_when_its_command_changes(tmp_path: Path) -> None:
    one = figure("one", eval=printing('{\\"n\\": 3}'))
    assert run_figures([one], places(tmp_path)) == []
    path = tmp_path / "results" / "one.json"
    made = read_result(path)
    assert made.value("eval", "result", "n") == 3
    assert made.sources == one.sources
    assert made.machine["cores"]
    assert is_current(one, tmp_path / "results")
    before = path.stat().st_mtime_ns
    assert run_figures([one], places(tmp_path)) == []
    assert path.stat().st_mtime_ns == before
    other = figure("one", eval=printing('{\\"n\\": 4}'))
    assert run_figures([other], places(tmp_path)) == []
    assert read_result(path).value("eval", "result", "n") == 4


def test_a_figure_goes_on_behind_the_step_that_was_finished(tmp_path: Path) -> None:
    gate = tmp_path / "open"
    late = f"""python -c "print(open('{gate}').read())" """
    mark = tmp_path / "ran"
    first = f"""python -c "open('{mark}', 'a').write('x'); print('{{}}')" """
    one = figure("one", first=first, second=late)
    failed = run_figures([one], places(tmp_path))
    assert len(failed) == 1
    assert "exit code 1" in failed[0]
    assert not (tmp_path / "results" / "one.json").exists()
    (work,) = (tmp_path / "work").iterdir()
    gate.write_text('{"n": 5}')
    assert json.loads((work / "step-first.json").read_text())["command"] == one.steps["first"]
    assert run_figures([one], places(tmp_path)) == []
    made = read_result(tmp_path / "results" / "one.json")
    assert made.value("second", "result", "n") == 5
    assert mark.read_text() == "x"
    assert not work.exists()


def test_what_a_command_prints_has_to_be_json(tmp_path: Path) -> None:
    (failed,) = run_figures([figure("one", eval=printing("hm"))], places(tmp_path))
    assert "no JSON" in failed


def test_a_figure_that_needs_data_is_refused_without(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="one needs benchmark data"):
        run_figures([replace(figure("one", eval="python"), data=True)], places(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"figure": "one"}', '{"figure": 3, "steps": 4}'])
def test_a_broken_result_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(BadInput, match="one.json is no result.*\n?.*make figures ONLY=one"):
        is_current(figure("one", eval="x"), tmp_path)


def test_a_result_of_no_figure_is_refused(tmp_path: Path) -> None:
    write_result(result(figure("gone", eval="x"), 0.5), tmp_path)
    with pytest.raises(BadInput, match="of no figure of the list"):
        read_results(FIGURES, tmp_path)


# The list


def test_an_unknown_figure_is_refused_by_name() -> None:
    assert [one.name for one in chosen(FIGURES, "demo,gate")] == ["demo", "gate"]
    assert len(chosen(FIGURES, "")) == len(FIGURES)
    with pytest.raises(UsageError, match="no figure hm"):
        chosen(FIGURES, "demo,hm")


def test_faults_of_the_list_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "figures.toml"
    path.write_text('[figure.a]\nabout = 3\nsources = "none"\nsize = 1\n')
    with pytest.raises(BadInput) as refused:
        read_list(path)
    for fault in ("no 'minutes'", "no 'steps'", "'about' is no str", "'size'", "sources 'none'"):
        assert fault in str(refused.value)


def test_the_hash_of_sources_follows_the_files_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("__init__.py", "part/one.py", "part/words.toml", "other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a = 1")
    monkeypatch.setattr(runs.revisor, "__file__", str(tmp_path / "__init__.py"))
    before = source_hash("part")
    (tmp_path / "other.py").write_text("a = 2")
    assert source_hash("part") == before
    (tmp_path / "part" / "words.toml").write_text("a = 2")
    assert source_hash("part") != before
    with pytest.raises(NotFound, match="no nothing"):
        source_hash("nothing")


def test_what_changes_no_behaviour_is_not_in_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs.revisor, "__file__", str(tmp_path / "__init__.py"))
    hashes = []
    for text in (
        "from a.b import c, d\n\n\ndef f():\n    return c\n",
        (
            '"""One."""\nfrom a import (\n    c,\n    d,\n)\ndef f():\n'
            '    """Two\n    lines."""\n    return c\n'
        ),
        "from a.b import c, d\ndef f():\n    return d\n",
        "from a.b import c, e\ndef f():\n    return c\n",
    ):
        (tmp_path / "one.py").write_text(text)
        hashes.append(source_hash("one.py"))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_every_listed_source_is_there() -> None:
    for one in FIGURES.values():
        assert re.fullmatch(r"[0-9a-f]{12}", one.sources), one.name
    assert (ROOT / "Makefile").is_file()
