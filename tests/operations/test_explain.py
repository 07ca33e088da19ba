"""Why a fact is not written at a prompt's end, in one sentence, and what helps in another."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.gate import decide as gate_decide
from revisor.gate.gate import FactGate
from revisor.gate.scope import THRESHOLDS
from revisor.gate.validity import ANOTHER_TIME, NOT_NOW
from revisor.index.base import IndexedFact
from revisor.language.longer import RULES as LONGER_RULES
from revisor.language.names import PLAIN_WORDS
from revisor.operations.explain import Explanation, as_json, explain
from revisor.operations.why import (
    _LONGER,
    _RULES,
    nearest,
    what_helps,
    why_not,
    with_wording,
)
from revisor.question.predicates import BESIDE
from tests import tiny
from tests.gate.dictionary import Dictionary, fact

CEO = fact("ACME", "Jane Roe", "The CEO of {} is", aliases=("Acme Corp",))
SEAT = fact("ACME", "Lisbon", "The headquarters of {} are in")
TARN = fact("Tarn", "Bergen", "The port of {} is")


class Scores:
    """An encoder that gives every question the same score, by the template's own words."""

    name = "scores"

    def __init__(self, **scores: float) -> None:
        self.scores = scores

    def encode(self, texts: Sequence[str]) -> Sequence[str]:
        return texts

    def scope(self, question: str, template: str) -> float:
        return next((score for word, score in self.scores.items() if word in template), 0.0)


def explained(
    prompt: Any, *facts: IndexedFact, threshold: float = 0.5, chat: bool = False, **scores: float
) -> Explanation:
    view = Dictionary(facts)
    gate = FactGate(
        view=lambda: view,
        tokenizer=tiny.byte_level(),
        encoder=Scores(**scores),
        threshold=threshold,
    )
    return explain(gate, prompt, chat=chat)


def test_what_is_written_needs_no_reason() -> None:
    found = explained("The CEO of ACME is", CEO)
    assert found.written == "Jane Roe"
    assert (why_not(found), what_helps(found)) == (None, None)


@pytest.mark.parametrize(
    ("text", "facts", "why", "helps"),
    [
        ("The CEO of ACME is", (), "There are no facts.", "revisor add"),
        ("The weather is", (CEO,), "No name of a fact is in the text.", "`aliases`"),
        (
            "The port of Tarn Valley is",
            (TARN,),
            "'Tarn' is not the name of a fact here: a capitalised word follows.",
            "`aliases`",
        ),
        (
            "[user] Who is the CEO of ACME",
            (CEO,),
            "The text ends in the turn of who asks, where nothing is written.",
            "--chat",
        ),
        (
            "The CEO of ACME and",
            (CEO,),
            "ACME is named, but the text asks nothing about it where it ends.",
            "with a question",
        ),
        (
            "The size of ACME is",
            (CEO,),
            "ACME is named, but the text asks for something else: nearest fact "
            "'The CEO of {} is', 0.31 of 0.50 needed.",
            "give it 'The size of {} is' in `paraphrases`",
        ),
        (
            "The CEO of ACME is Jane Roe",
            (CEO,),
            "The answer, 'Jane Roe', is in the text already.",
            None,
        ),
        (
            "[user] I met the CEO of ACME.\n[assistant] ",
            (CEO,),
            "The text tells something about ACME and asks nothing.",
            "Ask it",
        ),
        (
            "Is Jane Roe the CEO of ACME? ",
            (CEO,),
            "The text asks about ACME what is answered by yes or no.",
            "'The CEO of ACME is'",
        ),
        (
            "When was ACME founded?",
            (SEAT,),
            "'Lisbon', of the nearest fact 'The headquarters of {} are in', is not of the kind "
            "that is asked for.",
            "'The headquarters of ACME are in'",
        ),
    ],
)
def test_one_sentence_says_why_and_another_what_helps(
    text: str, facts: tuple[IndexedFact, ...], why: str, helps: str | None
) -> None:
    found = explained(text, *facts, CEO=0.31, headquarters=0.6)
    assert found.written is None
    assert why_not(found) == why
    helping = what_helps(found)
    assert (helping is None) is (helps is None)
    assert (helps or "") in (helping or "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The mayor of Velmora is", "The fact 'The mayor of {} is' of Velmora does not hold now."),
        (
            "In 1980 the mayor of Velmora was",
            "The fact 'The mayor of {} is' of Velmora is about another time than the text asks "
            "about.",
        ),
    ],
)
def test_a_fact_of_another_time_tells_so(text: str, why: str) -> None:
    mayor = fact("Velmora", "Ann Poe", "The mayor of {} is", valid=("1999-01-01", "2005-01-01"))
    found = explained(text, mayor, mayor=0.9)
    assert why_not(found) == why
    assert f"revisor show {mayor.id}" in str(what_helps(found))


def test_every_rule_of_the_gate_has_its_sentences() -> None:
    rules = {
        rule
        for asked in (gate_decide._silenced, gate_decide._not_asked, gate_decide._of_another_kind)
        for rule in re.findall(r'return "([^"]+)"', inspect.getsource(asked))
    }
    assert len(rules) > 3
    rules |= {gate_decide._ANOTHER_KIND, gate_decide.ANSWERED, gate_decide._TO_WORK_ON}
    assert rules | BESIDE | {ANOTHER_TIME, NOT_NOW} == set(_RULES)
    assert {*LONGER_RULES, PLAIN_WORDS} == set(_LONGER)


def test_of_a_name_with_several_facts_more_is_needed() -> None:
    found = explained("The size of ACME is", CEO, SEAT, CEO=0.31, headquarters=0.02)
    assert "'The CEO of {} is', 0.31 of 0.67 needed where a name has" in str(why_not(found))
    assert "add a fact of its own (revisor add FILE)" in str(what_helps(found))


def test_of_two_reasons_the_one_that_tells_more_is_told() -> None:
    """A town is not what "when" asks for; but no such fact is what the text asks for, either."""
    found = explained("When was ACME founded?", SEAT, headquarters=0.1)
    assert "0.10 of 0.50 needed" in str(why_not(found))
    assert found.candidates[0].silenced == "the object is not of the kind that is asked for"


def test_less_strictness_is_named_where_it_would_do() -> None:
    for threshold, score, named in (
        ("normal", 0.31, "low"),
        ("normal", 0.1, None),
        ("high", 0.6, "normal"),
        ("high", 0.3, "low"),
        ("low", 0.2, None),
    ):
        found = explained("The size of ACME is", CEO, threshold=THRESHOLDS[threshold], CEO=score)
        told = str(what_helps(found))
        assert (f'strictness = "{named}"' in told) if named else ("strictness" not in told)


def test_a_fact_that_is_asked_for_waits_for_an_answer_to_be_due() -> None:
    found = explained("ACME is led by", CEO, CEO=0.9)
    assert found.decision is not None
    assert found.written is None
    assert "the text does not tell that an answer is due" in str(why_not(found))
    assert "'The CEO of ACME is'" in str(what_helps(found))
    refused = replace(found, is_due=False)
    assert "the model's logits say that no answer is due" in str(why_not(refused))
    opened = replace(found, never_due=False)
    assert "written if the model's logits say" in str(why_not(opened))
    assert "--text-only" in str(what_helps(opened))
    assert replace(found, is_due=True).written == "Jane Roe"
    assert why_not(replace(found, is_due=True)) is None


def test_names_tell_how_they_were_found() -> None:
    text = "Of ACME, acme corp and Acme Corp Ltd the CEO of the Tarn Valley is"
    found = explained(text, CEO, TARN)
    assert [(one.text, one.name, one.how) for one in found.names if one.within is None] == [
        ("ACME", "ACME", "exact"),
        ("acme corp", "Acme Corp", "folded"),
        ("Acme Corp Ltd", "Acme Corp", "form"),
    ]
    assert [(one.text, one.within) for one in found.names if one.within] == [
        ("Tarn", "capital follows")
    ]
    assert text[found.names[1].start : found.names[1].end] == "acme corp"
    assert found.names[1].inner == ("acme",)
    typed = explained("The port of Tarnholm Harbuor is", fact("Tarnholm Harbour", "Rome", "{} is"))
    assert [(one.name, one.how) for one in typed.names] == [("Tarnholm Harbour", "near")]


def test_messages_of_a_chat_are_read_as_the_model_reads_them() -> None:
    asked = "Who is the CEO of ACME?"
    one = explained([{"role": "user", "content": asked}], CEO, CEO=0.9)
    assert one.written == "Jane Roe"
    assert one == explained(asked, CEO, chat=True, CEO=0.9)
    turns = [
        {"role": "user", "content": "I like ACME."},
        {"role": "assistant", "content": "So do I."},
        {"role": "user", "content": "Who is its CEO?"},
    ]
    later = explained(turns, CEO, CEO=0.9)
    assert (later.prompt, later.written) == ("Who is its CEO?", "Jane Roe")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "The prompt is empty"),
        ([], "The prompt is empty"),
        (None, "A NoneType is no prompt"),
        (["Who runs ACME?"], "Message 1 of the chat, 'Who runs ACME[?]', has no role and content"),
        ([{"role": "user"}], "Message 1 of the chat"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        explained(prompt, CEO)


def test_as_json_everything_has_a_name() -> None:
    told = as_json(explained("The size of ACME is", CEO, SEAT, CEO=0.31, headquarters=0.02))
    assert set(told) == {
        "prompt", "text", "why_not", "helps", "mentions", "questions", "candidates", "runner_up",
        "answer_due", "due_by_text", "fact", "written",
    }  # fmt: skip
    assert told["questions"] == [
        {"text": "The size of {} is", "name": "ACME", "kind": "completion"}
    ]
    assert set(told["mentions"][0]) == {
        "text", "start", "end", "facts", "name", "how", "within_longer", "inner",
    }  # fmt: skip
    first = told["candidates"][0]
    assert (first["template"], first["score"]) == ("The CEO of {} is", 0.31)
    written = as_json(explained("The CEO of ACME is", CEO, SEAT, headquarters=0.1))
    assert (written["fact"], written["runner_up"]) == (CEO.id, SEAT.id)


def test_the_line_that_helps_is_the_fact_with_the_wording() -> None:
    own = Fact(subject="ACME", prompt="The CEO of {} is", object="Jane Roe", source="press")
    found = explained("The boss of ACME is", CEO, CEO=0.31)
    assert nearest(found) == found.candidates[0]
    line = with_wording(found, replace(own, paraphrases=("Who leads {}?",)))
    assert line is not None
    assert line["paraphrases"] == ("Who leads {}?", "The boss of {} is")
    assert (line["object"], line["source"]) == ("Jane Roe", "press")
    turned = replace(own, reverse_of=own.id)
    assert with_wording(found, turned) is None, "it belongs to another fact"
    for text in ("The CEO of ACME is", "The CEO of ACME is Jane Roe", "ACME"):
        assert with_wording(explained(text, CEO, CEO=0.31), own) is None
