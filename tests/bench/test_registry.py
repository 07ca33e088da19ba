"""Methods and suites that another package brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from revisor.bench.methods.prompting import InContextEditor
from revisor.bench.methods.registry import METHODS, default_options, make_editor
from revisor.bench.runner import Job, check_methods, evaluate
from revisor.bench.suites import SUITES, make_suite
from revisor.bench.suites.base import Sizes
from revisor.errors import NotFound, NotSupported, UsageError
from revisor.models.load import LoadedModel, wrap_model
from tests import tiny

RIVAL = """
    from dataclasses import dataclass

    from revisor.bench.cases import Plan, Probe
    from revisor.bench.methods.prompting import InContextEditor, InContextOptions
    from revisor.bench.methods.registry import Method
    from revisor.bench.suites.base import Suite
    from revisor.facts.fact import Fact

    FACT = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")

    @dataclass(frozen=True, kw_only=True)
    class Options(InContextOptions):
        again: int = 1

    class Editor(InContextEditor):
        def reword(self, prompt, fact=None):
            return super().reword(prompt, fact).replace("ACME", "ACME" * self.again)

        def __init__(self, binding, options, *, name):
            super().__init__(binding, options, name=name)
            self.again = options.again

    class Greetings(Suite):
        name = "greetings"

        def plan(self, source, sizes, tokenizer):
            probe = Probe(id="p", case="c", score="greeted", prompt=FACT.text, fact=FACT,
                          wanted=(FACT.object,))
            return Plan(facts=(FACT,), probes=(probe,), n=1)

    METHOD = Method(editor="rival:Editor", options="Options", preset={"again": 2})
"""
POINTS = """
    [revisor.methods]
    rival = rival:METHOD
    icl = rival:METHOD
    gone = rival:NOTHING
    wrong = rival:FACT

    [revisor.suites]
    greetings = rival:Greetings
    wrong = rival:Fact.of
    bare = rival:Options
"""


@pytest.fixture
def loaded() -> LoadedModel:
    return wrap_model("tiny", tiny.model(), tiny.byte_level())


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip installs it."""
    about = tmp_path / "rival-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(dedent(POINTS))
    (tmp_path / "rival.py").write_text(dedent(RIVAL))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_rival_is_measured_by_its_name_beside_the_others(loaded: LoadedModel) -> None:
    assert {"rival", "rag"} <= set(METHODS.names)
    assert {"greetings", "chat"} <= set(SUITES.names)
    job = Job(suite="greetings", methods=("rival", "icl"), loaded=loaded, sizes=Sizes())
    result = evaluate(job)
    assert list(result["methods"]) == ["unedited", "rival", "icl"]
    assert all("greeted" in scores for scores in result["methods"].values())


def test_its_options_are_checked_as_those_of_any_other(loaded: LoadedModel) -> None:
    assert default_options("rival")["again"] == 2
    editor = make_editor("rival", loaded, {"again": 3})
    assert editor.reword("ACME is") == "ACMEACMEACME is"
    with pytest.raises(UsageError, match="Did you mean 'again'"):
        make_editor("rival", loaded, {"agian": 3})


def test_a_name_of_the_package_is_not_taken_over(loaded: LoadedModel) -> None:
    assert type(make_editor("icl", loaded)) is InContextEditor


@pytest.mark.parametrize(
    ("ask", "error", "told"),
    [
        (lambda: check_methods(["rivel"]), UsageError, "Did you mean 'rival'"),
        (lambda: make_suite("greeting"), NotFound, "Did you mean 'greetings'"),
        (lambda: default_options("gone"), NotSupported, "rival:NOTHING"),
        (lambda: default_options("wrong"), NotSupported, "not a Method"),
        (lambda: make_suite("wrong"), NotSupported, "rival:Fact.of"),
        (lambda: make_suite("bare"), NotSupported, "not a Suite"),
    ],
)
def test_what_cannot_be_used_is_told(
    ask: Callable[[], object], error: type[UsageError], told: str
) -> None:
    with pytest.raises(error, match=told):
        ask()
