"""Facts in the prompt: the right one given, or the likeliest retrieved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revisor.bench.methods.registry import make_editor
from revisor.facts.fact import Fact
from revisor.models.load import wrap_model
from tests import tiny
from tests.sentence_models import sentence_folder

ROE = Fact(subject="ACME", prompt="The chief executive of {} is", object="Jane Roe")
TOWER = Fact(subject="Eiffel Tower", prompt="The {} stands in", object="Rome")
RIVER = Fact(subject="Rhine", prompt="The river {} flows through", object="Vienna")
FACTS = (ROE, TOWER, RIVER)


def make(name: str, **options: Any) -> Any:
    loaded = wrap_model("tiny", tiny.model(), tiny.byte_level())
    return make_editor(name, loaded, options)


def test_in_context_puts_the_given_fact_before_the_prompt() -> None:
    editor = make("icl")
    editor.fit(FACTS)
    assert editor.reword("Who leads ACME?", ROE) == (
        "The chief executive of ACME is Jane Roe.\nWho leads ACME?"
    )
    assert editor.reword("Who leads ACME?") == "Who leads ACME?"


def test_in_context_knows_only_what_it_was_given_and_not_undone() -> None:
    editor = make("icl")
    editor.fit([TOWER])
    assert editor.reword("Who leads ACME?", ROE) == "Who leads ACME?"
    editor.fit([ROE])
    editor.undo([ROE.id])
    assert editor.reword("Who leads ACME?", ROE) == "Who leads ACME?"
    assert editor.stored_bytes == len("The Eiffel Tower stands in Rome.")


def test_a_fact_that_changed_is_told_as_it_is_now() -> None:
    editor = make("icl")
    editor.fit(FACTS)
    editor.fit([Fact(subject="ACME", prompt=ROE.prompt, object="John Doe")])
    assert "John Doe" in editor.reword("Who leads ACME?", ROE)


@pytest.mark.parametrize("dense", [False, True])
def test_retrieval_finds_the_fact_that_a_prompt_is_about(dense: bool, tmp_path: Path) -> None:
    retriever = f"sentence-transformers:{sentence_folder(tmp_path)}" if dense else "bm25"
    editor = make("rag", retriever=retriever, top=1)
    editor.fit(FACTS)
    for fact in FACTS:
        assert editor.retrieve(fact.text) == [fact]


def test_the_likeliest_fact_stands_next_to_the_question() -> None:
    editor = make("rag", top=2)
    editor.fit(FACTS)
    told = editor.reword("Which towns does the river Rhine pass, and does the tower?").split("\n")
    assert told[-2] == "The river Rhine flows through Vienna."
    assert len(told) == 3


def test_a_prompt_that_shares_no_word_with_any_fact_stays_as_it_is() -> None:
    editor = make("rag")
    editor.fit(FACTS)
    for prompt in ("Quantum chromodynamics", "", "the of is", "{facts}"):
        assert editor.reword(prompt) == prompt


def test_undo_and_a_second_fit_change_the_index() -> None:
    editor = make("rag", top=1)
    editor.fit([ROE])
    assert editor.retrieve("The river Rhine flows") == []
    editor.fit([RIVER])
    assert editor.retrieve("The river Rhine flows") == [RIVER]
    editor.undo([RIVER.id, "unknown"])
    assert editor.retrieve("The river Rhine flows") == []
    editor.undo([ROE.id])
    assert editor.reword("ACME") == "ACME"


def test_braces_in_facts_and_prompts_are_text() -> None:
    editor = make("icl")
    odd = Fact(subject="set", prompt="The empty {} is written", object="{prompt}")
    editor.fit([odd])
    assert editor.reword("{x}", odd) == "The empty set is written {prompt}.\n{x}"
