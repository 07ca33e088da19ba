"""Facts in a model without a store, through `revisor.attach`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revisor import Fact, RevisorError, Trace, attach
from revisor.errors import BadInput, Conflict, NotSupported, UsageError
from revisor.facts.lines import fact_line
from tests import tiny
from tests.engines.test_attached import says
from tests.running import fact_file

ACME = Fact(
    subject="ACME", prompt="The CEO of {} is", object="Jane Roe", reverse="{} is the CEO of"
)
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome", aliases=("Bâle",))
FACTS = (ACME, BASEL)
ANSWERS = {
    "The CEO of ACME is": "Jane Roe",
    "Jane Roe is the CEO of": "ACME",
    "Bâle stands in": "Rome",
    "Who is the CEO of ACME?\nA:": "Jane Roe",
}


def test_a_model_has_the_facts_within_the_block_alone(model: Any, tokenizer: Any) -> None:
    before = {prompt: says(model, tokenizer, prompt) for prompt in ANSWERS}
    kind, trace = type(model), Trace()
    with attach(model, tokenizer, FACTS, probe="off", trace=trace) as block:
        for prompt, answer in ANSWERS.items():
            assert says(model, tokenizer, prompt).startswith(f" {answer}"), prompt
        with block.disabled():
            assert {prompt: says(model, tokenizer, prompt) for prompt in ANSWERS} == before
    assert type(model) is kind
    assert {prompt: says(model, tokenizer, prompt) for prompt in ANSWERS} == before
    assert {one.object for one in trace.of(0)} == {"Jane Roe", "ACME", "Rome"}


def test_facts_come_from_a_file_as_well(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "facts.jsonl", list(map(fact_line, FACTS)))
    with attach(model, tokenizer, file, probe="off"):
        assert says(model, tokenizer, "The CEO of ACME is").startswith(" Jane Roe")


def test_no_facts_are_none(model: Any, tokenizer: Any) -> None:
    before = says(model, tokenizer, "The CEO of ACME is")
    with attach(model, tokenizer, (), probe="off"):
        assert says(model, tokenizer, "The CEO of ACME is") == before


def test_a_fact_holds_in_its_time_only(model: Any, tokenizer: Any) -> None:
    past = Fact(subject="ACME", prompt="The CEO of {} is", object="Ann Poe", valid_to="2001-01-01")
    with attach(model, tokenizer, [past], probe="off"):
        assert "Ann Poe" not in says(model, tokenizer, "The CEO of ACME is")
        asked = "In 1999, the CEO of ACME was"
        assert says(model, tokenizer, f"Q: {asked}?\nA:").startswith(" Ann Poe")


@pytest.mark.parametrize(
    ("facts", "options", "error", "told"),
    [
        ([Fact(subject="A", prompt="no name", object="x")], {}, BadInput, "cannot be kept"),
        (
            [ACME, Fact(subject="ACME", prompt="The CEO of {} is", object="Ann")],
            {},
            Conflict,
            "contra",
        ),
        (FACTS, {"strictness": "medium"}, UsageError, "low, normal, high"),
        (FACTS, {"probe": "maybe"}, UsageError, "auto, off"),
        (FACTS, {"probe": "auto"}, NotSupported, "probe='off'"),
    ],
)
def test_what_cannot_be_is_refused_and_the_model_is_as_it_was(
    model: Any,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: Any,
    options: dict[str, str],
    error: type[RevisorError],
    told: str,
) -> None:
    monkeypatch.setenv("REVISOR_CACHE", str(tmp_path))
    model.train()
    state, hooks = dict(vars(model)), tiny.wide_hooks(model)
    with (
        pytest.raises(error, match=told),
        attach(model, tokenizer, facts, **{"probe": "off"} | options),
    ):
        pass
    assert (vars(model), tiny.wide_hooks(model)) == (state, hooks)


@pytest.mark.parametrize("probe", ["auto", "off"])
def test_what_is_no_model_or_no_tokenizer_is_refused(
    model: Any, tokenizer: Any, probe: str
) -> None:
    for wrong in ((None, tokenizer), (model, None), (tokenizer, model)):
        with pytest.raises(UsageError), attach(*wrong, FACTS, probe=probe):
            pass


def test_a_file_with_faults_names_them_all(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    file = fact_file(tmp_path / "facts.jsonl", [{"subject": "A"}, "no json", fact_line(ACME)])
    with pytest.raises(BadInput) as found, attach(model, tokenizer, str(file), probe="off"):
        pass
    assert {fault.line for fault in found.value.faults} == {1, 2}
