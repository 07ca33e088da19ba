"""Names, options and recipes of the methods."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from revisor.bench.methods.registry import METHODS, default_options, make_editor, read_options
from revisor.bench.protocol import Editor
from revisor.errors import BadInput, NotFound, UsageError
from revisor.models.load import LoadedModel, wrap_model
from tests import tiny

NAMES = (
    *("revisor", "neuraldb", "memit", "memit-seq", "rect", "alphaedit", "rome"),
    *("ft", "retrain", "lora", "grace", "ultraedit", "icl", "rag"),
)
# A tiny random model tells nobody where an answer is due, and has one layer that is as good.
PROBED: dict[str, dict[str, Any]] = {"revisor": {"probe": "off"}, "neuraldb": {"layer": 1}}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.model(), tiny.byte_level())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path_factory.getbasetemp() / "registry-cache"))


def test_the_methods_are_those_of_the_comparison() -> None:
    assert tuple(METHODS.own) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_method_makes_an_editor_of_its_name(name: str, loaded: LoadedModel) -> None:
    editor = make_editor(name, loaded, PROBED.get(name))
    assert isinstance(editor, Editor)
    assert editor.name == name
    assert editor.stored_bytes == 0
    with editor.attached():
        pass


@pytest.mark.parametrize("name", NAMES)
def test_the_hyperparameters_of_every_method_are_frozen_and_have_defaults(name: str) -> None:
    method = METHODS.own[name]
    kind = getattr(import_module(method.editor.partition(":")[0]), method.options)
    settings: Any = kind(**default_options(name))
    with pytest.raises(AttributeError):
        setattr(settings, fields(kind)[0].name, 1)


def test_memit_takes_all_facts_at_once_and_its_sequential_form_a_hundred() -> None:
    assert default_options("memit")["batch"] is None
    assert default_options("memit-seq")["batch"] == 100
    assert default_options("neuraldb") == {"gamma": 0.65, "layer": None}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("memmit", {}, "Did you mean 'memit'?"),
        ("AlphaEdit", {}, "Did you mean 'alphaedit'?"),
        ("zzz", {}, "Known: alphaedit, "),
        ("rect", {"kep": 0.2}, "Did you mean 'keep'?"),
        ("rect", {"keep": "much"}, "cannot be 'much'"),
        ("rect", {"keep": 0.0}, "cannot keep"),
        ("memit", {"batch": True}, "cannot be True"),
        ("memit", {"batch": 0}, "batch of 0"),
        ("memit", {"layers": [1, 1]}, "each once"),
        ("memit", {"layers": [7]}, "no layer 7"),
        ("grace", {"layer": -1}, "no layer -1"),
        ("rag", {"retriever": "bm52"}, "Choose bm25, or sentence-transformers:FOLDER"),
        ("rag", {"top": 0}, "1 or more"),
        ("icl", {"template": "{prompt}"}, "lacks"),
        ("neuraldb", {"layer": 7}, "no layer 7"),
        ("revisor", {"probe": "on"}, "Choose one of: auto, off"),
        ("revisor", {"scope": 0.5}, "has no option 'scope'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_way_out(
    name: str, options: dict[str, Any], message: str, loaded: LoadedModel
) -> None:
    with pytest.raises(UsageError) as caught:
        make_editor(name, loaded, options)
    assert message in str(caught.value)
    assert caught.value.hint


def test_lists_and_whole_numbers_of_a_recipe_are_taken(loaded: LoadedModel) -> None:
    editor: Any = make_editor("memit", loaded, {"layers": [1, 0], "weight": 7})
    assert editor.layers == (0, 1)
    assert editor.options.weight == 7


def test_a_recipe_gives_the_options_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[smollm2.memit]\nweight = 5\nlayers = [3, 4]\n[other.rect]\nkeep = 0.1\n")
    assert read_options(path, "smollm2") == {"memit": {"weight": 5, "layers": (3, 4)}}
    assert read_options(path, "unknown") == {}


def test_a_recipe_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(NotFound):
        read_options(path, "smollm2")
    path.write_text("[smollm2")
    with pytest.raises(BadInput):
        read_options(path, "smollm2")
    path.write_text("[smollm2.memitt]\n")
    with pytest.raises(UsageError, match="memitt"):
        read_options(path, "smollm2")


def test_the_recipes_of_the_repository_can_be_read() -> None:
    path = Path(__file__).parents[3] / "recipes" / "baselines.toml"
    assert set(read_options(path, "smollm2")) <= set(NAMES)


def test_nothing_is_imported_before_a_method_is_asked_for() -> None:
    code = (
        "import sys, revisor.bench.methods.registry\n"
        "assert not {'peft', 'bm25s', 'revisor.bench.methods.locate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
