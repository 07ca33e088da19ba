"""The page: every score with its interval, pictures inside, nothing from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from revisor.bench import report
from revisor.bench.cases import Case
from revisor.bench.plots import Dot, Line
from revisor.bench.report import write_report
from revisor.bench.runs import open_run
from revisor.bench.suites import make_suite
from revisor.bench.suites.general import BY_NAME
from revisor.bench.summary import summarise
from revisor.errors import BadInput, NotFound

MACHINE = {"cpu": "A <fast> CPU", "threads": 2, "accelerator": None, "torch": "2"}
THREE = ("efficacy", "generalization", "specificity")


def write_run(
    folder: Path,
    suite: str,
    edits: int,
    varied: dict[str, Any] | None = None,
    methods: Sequence[str] = ("unedited", "revisor", "alphaedit"),
) -> Path:
    """A finished run, 20 cases a method."""
    made = {
        "settings": {
            "suite": suite,
            "edits": edits,
            "seed": 0,
            "options": {"ft": {"layer": 7}},
            "varied": varied or {},
        },
        "model": {"name": "tiny", "fingerprint": "0123", "dtype": "float32"},
        "data": {},
        "code": "revisor 1 (aa)",
        "machine": MACHINE,
    }
    run = open_run(folder, made)
    names = THREE if suite == "counterfact" else tuple(BY_NAME)
    results = {}
    for place, method in enumerate(methods):
        cases = []
        for case in range(20):
            right = float(case < 20 - 4 * place - edits // 500)
            values = dict.fromkeys(names, right) | {f"{name}_strict": 0.0 for name in names}
            values["specificity_kept_strict"] = 0.25
            cases.append(Case(method=method, probe=f"p{case}", case=f"c{case}", values=values))
        run.add(cases)
        results[method] = summarise(make_suite(suite), cases, {}, seed=0)
        results[method] |= {"seconds_per_fact": 0.1 * place, "stored_bytes_per_fact": 4096}
    run.finish(
        {"suite": suite, "n": 20, "edits": edits, "model": "tiny", "layer": 1, "seed": 0,
         "dropped": {"neighbors whose subject is edited": 3}, "methods": results}
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    for edits in (100, 1000, 3000):
        write_run(runs / f"c{edits}", "counterfact", edits)
        write_run(runs / f"g{edits}", "general", edits)
    for gamma in (0.5, 0.65, 0.9):
        write_run(runs / f"gamma{gamma}", "counterfact", 1000, {"gamma": gamma})
    for layer in (3, 5):
        write_run(runs / f"layer{layer}", "counterfact", 300, {"layer": layer})
    return write_report([runs], tmp_path_factory.mktemp("out"))


def test_the_pictures_of_the_paper_are_drawn(written: list[Path]) -> None:
    names = {path.name for path in written}
    assert names >= {
        "report.html", "edits-counterfact-tiny.png", "edits-general-tiny.png",
        "gamma-counterfact-revisor-1000-tiny.png", "layer-counterfact-revisor-300-tiny.png",
        "cost-counterfact-tiny.png",
    }  # fmt: skip
    for path in written[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 5_000


def test_the_page_stands_by_itself(written: list[Path]) -> None:
    page = written[0].read_text()
    assert page.count("data:image/png;base64,") == len(written) - 1
    assert not re.search(r"""(src|href)=["']?(https?:|//|[a-z]+/)""", page)
    assert "<script" not in page


def test_the_page_says_scores_intervals_and_what_made_them(written: list[Path]) -> None:
    page = written[0].read_text()
    assert "1.000 <small>1.000–1.000</small>" in page
    assert "A &lt;fast&gt; CPU, 2 thread(s)" in page
    assert "Left out: 3 neighbors whose subject is edited." in page
    assert "counterfact: 20 measured, 1,000 facts in the model, gamma 0.65" in page


def test_costs_are_drawn_where_most_methods_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dots: list[tuple[str, list[str]]] = []

    def draw_costs(drawn: Sequence[Dot], *, title: str, **_: Any) -> bytes:
        dots.append((title, [dot.name for dot in drawn]))
        return b""

    monkeypatch.setattr(report, "draw_costs", draw_costs)
    write_run(tmp_path / "runs" / "a", "counterfact", 100)
    write_run(tmp_path / "runs" / "b", "counterfact", 1000, methods=("unedited", "revisor"))
    write_report([tmp_path / "runs"], tmp_path / "out")
    ((title, names),) = dots
    assert "100 edits" in title
    assert names == ["revisor", "alphaedit"]


def test_the_strict_form_of_specificity_is_what_was_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[tuple[str, bool], float] = {}

    def draw_lines(lines: Sequence[Line], **_: Any) -> bytes:
        for line in lines:
            drawn.setdefault((line.name, line.dashed), line.points[0][1].mean)
        return b""

    monkeypatch.setattr(report, "draw_lines", draw_lines)
    for gamma in (0.5, 0.9):
        write_run(tmp_path / "runs" / str(gamma), "counterfact", 100, {"gamma": gamma})
    write_report([tmp_path / "runs"], tmp_path / "out")
    assert drawn["specificity", False] == 0.8
    assert drawn["specificity", True] == 0.25
    assert drawn["efficacy", True] == 0.0


def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "counterfact", 100)
    first, second = (write_report([run], tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_run_is_drawn_without_its_cases(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "counterfact", 100)
    (run / "cases.jsonl").unlink()
    pictures = {path.name for path in write_report([run], tmp_path / "out")}
    assert pictures == {"report.html", "cost-counterfact-tiny.png"}


def test_an_average_is_of_whole_cases() -> None:
    parts = make_suite("counterfact").averages["average"]
    cases = [
        Case(method="m", probe=f"{case}/{name}", case=case, values={name: value})
        for case, value in (("a", 1.0), ("b", 0.0))
        for name in parts
    ]
    found = summarise(make_suite("counterfact"), cases, {}, seed=0)
    assert found["average"] == 0.5
    # A case is right in all three or in none: its draws are as wide as those of one score.
    assert found["intervals"]["average"] == found["intervals"]["efficacy"]
    assert "average_strict" not in found


def test_a_folder_without_a_finished_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        write_report([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(NotFound, match="no finished run"):
        write_report([tmp_path], tmp_path / "out")
    run = write_run(tmp_path / "run", "counterfact", 100)
    (run / "result.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        write_report([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert json.loads((run / "run.json").read_text())["settings"]["edits"] == 100
