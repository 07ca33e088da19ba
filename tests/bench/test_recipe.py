"""Recipes: read with all their faults told, run along curves, stopped where a method collapsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import revisor
from revisor.bench import asking, cost, runner
from revisor.bench.datasets import Source
from revisor.bench.methods import neuraldb
from revisor.bench.recipe import read_recipe, run_recipe
from revisor.bench.report import write_report
from revisor.errors import BadInput, NotFound, UsageError
from revisor.models.load import LoadedModel, wrap_model
from revisor.neuraldb.editing.rows import build_rows
from tests import tiny
from tests.bench import tables
from tests.bench.test_runner import Muttering

pytestmark = pytest.mark.slow

SHIPPED = Path(revisor.__file__).parents[2] / "recipes" / "paper.toml"
RECIPE = """
[laptop]
model = "tiny"
stop_below = 0.5
n = { counterfact = 2 }

[[curve]]
name = "edits"
suites = ["counterfact", "perplexity"]
methods = ["rag", "icl"]
fresh = ["icl"]
edits = { laptop = [2, 4, 6] }
"""


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free text and timed decoding are cut short: here only their being measured matters."""
    monkeypatch.setattr(cost, "DECODED", 2)
    monkeypatch.setattr(asking, "OPEN", 4)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.model(), tiny.byte_level())


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(folder=tables.folder_of(tmp_path / "data"))


@pytest.fixture
def editors(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Muttering, Any]]:
    """The editors that a recipe makes, with the options that each was given."""
    made: list[tuple[str, Muttering, Any]] = []

    def make(name: str, *rest: Any) -> Muttering:
        editor = Muttering()
        editor.name = name
        made.append((name, editor, rest[1]))
        return editor

    monkeypatch.setattr(runner, "make_editor", make)
    return made


def recipe_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("size", ["laptop", "full"])
def test_the_shipped_recipe_reads(size: str) -> None:
    recipe = read_recipe(SHIPPED, size)
    assert [curve.name for curve in recipe.curves] == ["edits", "gamma", "layers"]
    assert 10_000 in recipe.curves[0].edits


def test_every_fault_of_a_recipe_is_told(tmp_path: Path) -> None:
    text = RECIPE.replace("stop_below", "stop_belwo").replace("methods =", "method =")
    with pytest.raises(BadInput) as caught:
        read_recipe(recipe_file(tmp_path, text), "laptop")
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == 3
    assert "did you mean 'stop_below'" in told[0].lower()
    assert "'methods' is missing" in told[2]


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (('"rag"', '"rga"'), UsageError, "There is no method 'rga'"),
        (('"perplexity"', '"perplex"'), NotFound, "There is no suite 'perplex'"),
        (("[laptop]", "[desktop]"), NotFound, "no size 'laptop'"),
        (("laptop = [2", "big = [2"), BadInput, "has no edits for the size"),
        (("[[curve]]", "[curve"), BadInput, "is not TOML"),
    ],
)
def test_wrong_names_are_told(
    tmp_path: Path, change: tuple[str, str], error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as caught:
        read_recipe(recipe_file(tmp_path, RECIPE.replace(*change)), "laptop")
    assert told in str(caught.value) or told in str(getattr(caught.value, "faults", ""))


def test_a_method_grows_along_a_curve_or_is_fitted_afresh(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    recipe = read_recipe(recipe_file(tmp_path, RECIPE.replace("0.5", "0.0")), "laptop")
    out = tmp_path / "out"
    results = run_recipe(recipe, loaded, source, out)
    assert [(name, editor.fits) for name, editor, _ in editors] == [
        ("rag", [2, 2, 2]), ("icl", [2]), ("icl", [4]), ("icl", [6]),
    ]  # fmt: skip
    assert [(one["folder"], one["edits"]) for one in results if one["suite"] == "counterfact"] == [
        (f"edits/counterfact-{count}", count) for count in (2, 4, 6)
    ]
    assert list(results[0]["methods"]) == ["unedited", "rag", "icl"]

    editors.clear()
    assert run_recipe(recipe, loaded, source, out) == results
    assert editors == []

    written = write_report([out], tmp_path / "report")
    assert {path.name for path in written} == {
        "report.html", "edits-counterfact-tiny.png", "edits-counterfact-said-tiny.png",
        "cost-counterfact-tiny.png",
    } - ({"cost-counterfact-tiny.png"} if not results[-1]["methods"]["rag"]["seconds_per_fact"]
         else set())  # fmt: skip


def test_what_the_unedited_model_said_is_taken_from_a_run_of_the_same_probes_or_asked_again(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    """Points of a curve share some probes, asked in other batches; a later curve has them all."""
    again = """
[[curve]]
name = "again"
suites = ["counterfact"]
methods = ["rag"]
edits = { laptop = [2, 6] }
"""
    text = RECIPE.replace("0.5", "0.0").replace('"counterfact", "perplexity"', '"counterfact"')
    recipe = read_recipe(recipe_file(tmp_path, text + again), "laptop")
    out = tmp_path / "out"
    run_recipe(recipe, loaded, source, out)

    def unedited(folder: str) -> list[dict[str, Any]]:
        lines = (out / folder / "cases.jsonl").read_text().splitlines()
        return [case for case in map(json.loads, lines) if case["method"] == "unedited"]

    for count in (2, 6):
        first, second = (unedited(f"{name}/counterfact-{count}") for name in ("edits", "again"))
        assert first == second
        assert len({case["probe"] for case in first}) == len(first)


def test_a_resumed_curve_takes_the_same_steps(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    text = RECIPE.replace("0.5", "0.0").replace(', "perplexity"', "")
    short = read_recipe(recipe_file(tmp_path, text.replace("[2, 4, 6]", "[2, 4]")), "laptop")
    run_recipe(short, loaded, source, tmp_path / "out")
    editors.clear()
    long = read_recipe(recipe_file(tmp_path, text), "laptop")
    run_recipe(long, loaded, source, tmp_path / "out")
    assert [(name, editor.fits) for name, editor, _ in editors] == [
        ("rag", [2, 2, 2]), ("icl", [6]),
    ]  # fmt: skip


def test_a_method_that_says_nothing_of_its_facts_is_stopped(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    recipe = read_recipe(recipe_file(tmp_path, RECIPE), "laptop")
    out = tmp_path / "out"
    results = run_recipe(recipe, loaded, source, out)
    assert {one["edits"] for one in results} == {2}
    assert set(json.loads((out / "stopped.json").read_text())) == {"edits/rag", "edits/icl"}


@pytest.mark.parametrize(("stop_below", "ends"), [("0.0", 6), ("0.5", 2)])
def test_a_suite_of_the_end_is_measured_where_a_curve_ends_or_a_method_is_stopped(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any],
    stop_below: str, ends: int,
) -> None:  # fmt: skip
    text = RECIPE.replace("0.5", stop_below).replace(', "perplexity"]', ']\nlast = ["perplexity"]')
    recipe = read_recipe(recipe_file(tmp_path, text), "laptop")
    results = run_recipe(recipe, loaded, source, tmp_path / "out")
    assert [one["edits"] for one in results if one["suite"] == "perplexity"] == [ends]
    assert [(name, sum(editor.fits[-1:])) for name, editor, _ in editors][-1] == ("icl", ends)


def test_an_option_varies_along_a_curve(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    text = RECIPE.replace('"counterfact", "perplexity"', '"counterfact"').replace(
        "[2, 4, 6] }", '[2] }\noption = "gamma"\nvalues = [0.5, 0.9]'
    )
    recipe = read_recipe(recipe_file(tmp_path, text), "laptop")
    out = tmp_path / "out"
    results = run_recipe(recipe, loaded, source, out)
    assert [one["folder"] for one in results] == [
        f"edits/counterfact-gamma-{value}" for value in (0.5, 0.9)
    ]
    assert [options["gamma"] for name, _, options in editors if name == "icl"] == [0.5, 0.9]
    names = {path.name for path in write_report([out], tmp_path / "report")}
    assert "gamma-counterfact-rag-2-tiny.png" in names


def test_rows_are_made_once_for_all_gammas(
    tmp_path: Path, loaded: LoadedModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of two sizes, and for a curve of edits that has taken the same steps before."""
    text = """
    [laptop]
    model = "tiny"
    n = { counterfact = 2 }
    set = { neuraldb = { layer = 1 } }

    [[curve]]
    name = "edits"
    suites = ["counterfact"]
    methods = ["neuraldb"]
    edits = { laptop = [2, 4] }

    [[curve]]
    name = "gamma"
    suites = ["counterfact"]
    methods = ["neuraldb"]
    option = "gamma"
    values = [0.5, 0.9]
    edits = { laptop = [2, 4] }
    """
    built: list[int] = []
    real = build_rows

    def counted(loaded: Any, spec: Any, facts: Any, settings: Any) -> Any:
        built.append(len(facts))
        return real(loaded, spec, facts, settings)

    monkeypatch.setattr(neuraldb, "build_rows", counted)
    recipe = read_recipe(recipe_file(tmp_path, text), "laptop")
    results = run_recipe(recipe, loaded, source, tmp_path / "out")
    assert built == [2, 2]
    assert [one["folder"] for one in results[2:]] == [
        f"gamma/counterfact-gamma-{gamma}-{size}" for size in (2, 4) for gamma in (0.5, 0.9)
    ]
    costs = [one["methods"]["neuraldb"]["seconds_per_fact"] for one in results]
    assert min(costs) > 0.1 * max(costs)  # what is borrowed counts as made


def test_a_recipe_sets_options_over_those_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text("[tiny.rag]\ntop = 2\ntemplate = '{facts} {prompt}'\n")
    text = RECIPE.replace(
        "n = {",
        'options = "options.toml"\n'
        'set = { rag = { top = 5 }, icl = { template = "{prompt}" } }\nn = {',
    )
    recipe = read_recipe(recipe_file(tmp_path, text), "laptop")
    assert recipe.options == {
        "rag": {"top": 5, "template": "{facts} {prompt}"},
        "icl": {"template": "{prompt}"},
    }
    with pytest.raises(UsageError) as caught:
        read_recipe(recipe_file(tmp_path, text.replace("top = 5", "tpo = 5")), "laptop")
    assert "'top'" in caught.value.hint


def test_all_methods_are_measured_at_a_point_before_the_next(
    tmp_path: Path, loaded: LoadedModel, source: Source, editors: list[Any]
) -> None:
    text = RECIPE.replace("0.5", "0.0").replace('"counterfact", "perplexity"', '"counterfact"')
    recipe = read_recipe(recipe_file(tmp_path, text), "laptop")
    out = tmp_path / "out"
    run_recipe(recipe, loaded, source, out)
    at = [(out / f"edits/counterfact-{size}/methods.json").stat().st_mtime_ns for size in (2, 4, 6)]
    assert at == sorted(at)
