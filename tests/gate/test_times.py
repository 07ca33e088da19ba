"""A question that carries a time is answered with what held then, any other with what holds now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.gate.choice import Candidate, Decision, needed
from revisor.gate.decide import decide
from revisor.gate.explained import explained
from revisor.gate.reference import next_action
from revisor.gate.row import Row
from revisor.gate.scope import NORMAL
from revisor.gate.tokens import Tokens
from revisor.index.base import IndexedFact
from revisor.language.lexicon import lexicon
from revisor.language.names import mentions
from revisor.language.words import words
from tests import tiny
from tests.gate.dictionary import Dictionary, fact

LED = ("The CEO of {} is", "{} is led by", "Who leads {}?", "Wer leitet {}?")
FACTS = (
    fact("ACME", "Ann Moe", *LED, valid=("2010-01-01", "2018-01-01")),
    fact("ACME", "Bob Lin", *LED, valid=("2018-01-01", "2020-06-01")),
    fact("ACME", "Cyd Fox", *LED, valid=("2020-06-01", None)),
    fact("ACME", "Lisbon", "{} is based in", "Where is {} based?"),
    fact("ACME", "Eve Roth", "{} was founded by", "Who founded {}?"),
    fact("Norvale", "Petra Lind", *LED, "{} chose as its new boss", valid=("2024-09-09", None)),
    fact("Sella", "Max Orr", *LED, valid=("2027-01-01", None)),
    fact("Tarn", "Old Oslo", "The seat of {} is", valid=(None, "2015-01-01")),
    fact("Orlan Cup", "Brix FC", "The winner of {} in 2022 is", "Who won {}?"),
    fact("Mirel", "9 million", "The 2024 budget of {} is"),
    fact("Quill", "Ida Roe", *LED),
    fact("Velm", "Jo Ash", *LED, valid=("2001-01-01", "2005-02-01")),
    fact("Velm", "Kim Poe", *LED, valid=("2005-02-01", "2005-03-01")),
    fact("Velm", "Jo Ash", "Who leads {}?", valid=("2005-03-01", "2009-01-01")),
)
TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


class Plain:
    """An encoder to which a question asks for what has just its words, those of grammar left out:
    one that a date is in asks for nothing else."""

    name = "plain"

    def __init__(self) -> None:
        self._seen: dict[frozenset[str], int] = {}

    def encode(self, texts: Sequence[str]) -> list[int]:
        return [self._number(text) for text in texts]

    def scope(self, question: int, template: int) -> float:
        return 0.9 * (question == template)

    def _number(self, text: str) -> int:
        left_out = lexicon(text).function_words | lexicon(text).question_words
        said = frozenset(word.text.replace("leads", "led") for word in words(text)) - left_out
        return self._seen.setdefault(said, len(self._seen))


PLAIN = Plain()


def asked(text: str, facts: Sequence[IndexedFact] = FACTS, **moment: datetime) -> Decision | None:
    view = Dictionary(facts, **moment)
    return decide(text, mentions(text, view), view, PLAIN)


def said(text: str, facts: Sequence[IndexedFact] = FACTS, **moment: datetime) -> str | None:
    found = asked(text, facts, **moment)
    return found.fact.object if found else None


def told(text: str, facts: Sequence[IndexedFact] = FACTS) -> dict[str, Candidate]:
    """The candidates by their objects."""
    view = Dictionary(facts)
    found = explained(text, mentions(text, view), view, PLAIN)
    return {one.object: one for one in found}


SENTENCES = [
    # Now: what holds now, however the present is told.
    ("The CEO of ACME is", "Cyd Fox"),
    ("Who leads ACME today? ", "Cyd Fox"),
    ("Since March 2025 ACME has been led by", "Cyd Fox"),
    ("Since 2011 ACME has been led by", "Cyd Fox"),
    ("This year ACME is led by", "Cyd Fox"),
    ("In 2026, ACME is led by", "Cyd Fox"),
    ("This month the CEO of ACME is", "Cyd Fox"),
    ("ACME is based in", "Lisbon"),
    ("This year ACME is based in", "Lisbon"),
    ("Sella is led by", None),
    ("The seat of Tarn is", None),
    # A time that one fact holds through.
    ("In 2012 the CEO of ACME was", "Ann Moe"),
    ("In 2012, ACME was led by", "Ann Moe"),
    ("In 2012 ACME was led by", "Ann Moe"),
    ("Who led ACME in March 2019? ", "Bob Lin"),
    ("Who, in 2019, leads ACME? ", "Bob Lin"),
    ("As of 2021-05-01, ACME is led by", "Cyd Fox"),
    ("As of 2018-01-01, ACME is led by", "Bob Lin"),
    ("As of 2017-12-31, ACME is led by", "Ann Moe"),
    ("back in 2015 ACME was led by", "Ann Moe"),
    ("During 2019 ACME was led by", "Bob Lin"),
    ("From 2012 to 2016 ACME was led by", "Ann Moe"),
    ("From 2018 to 2020 ACME was led by", "Bob Lin"),
    ("Last year, the CEO of ACME was", "Cyd Fox"),
    ("Nine years ago ACME was led by", "Ann Moe"),
    ("Until 2018 ACME was led by", "Ann Moe"),
    ("Before 2018, ACME was led by", "Ann Moe"),
    ("After 2022 ACME was led by", "Cyd Fox"),
    ("Next year the CEO of ACME is", "Cyd Fox"),
    ("In 2030 Sella is led by", "Max Orr"),
    ("In 1995 the seat of Tarn was", "Old Oslo"),
    ("Wer leitet ACME im Jahr 2012? ", "Ann Moe"),
    ("Wer leitet ACME seit 2022? ", "Cyd Fox"),
    ("The CEO of ACME in 2012", None),  # what is asked is not said yet
    # A time that is read past: beside the name, or ahead of what everybody knows.
    ("ACME, in 2012, was led by", "Ann Moe"),
    ("Quill, in 2012, was led by", None),
    ("Last year, as everyone knows, Quill was led by", None),
    ("Quill, which was sold in 2012, is led by", "Ida Roe"),
    ("Quill was sold in 2010, and it is led by", "Ida Roe"),
    ("We like Quill. In 2012 it was led by", None),
    ("We like ACME. In 2012 it was led by", "Ann Moe"),
    # A time that nothing is known of, or in which one holds after the other.
    ("In 2005 the CEO of ACME was", None),
    ("In the 1990s ACME was led by", None),
    ("In 2020 ACME was led by", None),
    ("From 2015 to 2019 ACME was led by", None),
    ("In the 2010s the CEO of ACME was", None),
    ("In 2005 Velm was led by", "Jo Ash"),
    ("In February 2005 Velm was led by", "Kim Poe"),
    ("From 2002 to 2007 Velm was led by", None),
    # A fact that begins within the time and holds at its end.
    ("In September 2024 Norvale is led by", "Petra Lind"),
    ("In 2024 Norvale chose as its new boss", "Petra Lind"),
    ("In 2024, Norvale was led by", "Petra Lind"),
    ("In August 2024 Norvale was led by", None),
    ("In 2019 Norvale was led by", None),
    ("Throughout 2024 Norvale was led by", None),
    ("Before 2024 Norvale was led by", None),
    # A fact without validity tells of now, and of an event whenever it was.
    ("In 2019 Quill was led by", None),
    ("Last year, Quill was led by", None),
    ("In 2030 Quill is led by", None),
    ("In 2026 Quill is led by", "Ida Roe"),
    ("In 2019 ACME was based in", None),
    ("In 1987 ACME was founded by", "Eve Roth"),
    # A time that a wording has itself, and one that is of something else.
    ("The winner of Orlan Cup in 2022 is", "Brix FC"),
    ("Who won Orlan Cup in 2022? ", "Brix FC"),
    ("Who won Orlan Cup in 2021? ", None),
    ("The 2024 budget of Mirel is", "9 million"),
    ("Is it known? The 2024 budget of Mirel is", "9 million"),
    # The time of a question goes on in its answer, and ends with a sentence.
    ("Who led ACME in 2012? ACME was led by", "Ann Moe"),
    ("Who led Quill in 2012? Quill was led by", None),
    ("In 2012 it rained. ACME is led by", "Cyd Fox"),
    ("Who led Quill in 2012? Nobody knows. Quill is led by", "Ida Roe"),
    ("Who led ACME in 2012? Today ACME is led by", "Cyd Fox"),
    # A day that ends it is its last, unless another began on it.
    ("On 1 January 2015 the seat of Tarn was", "Old Oslo"),
    ("On 2 January 2015 the seat of Tarn was", None),
    ("On 1 January 2018 the CEO of ACME was", "Bob Lin"),
    # In a dialogue.
    (TURN.format("Who leads ACME in 2012?"), "Ann Moe"),
    (TURN.format("Who leads ACME?"), "Cyd Fox"),
    (TURN.format("Who leads Quill in 2012?"), None),
    (TURN.format("Who led ACME in 2012?") + "The CEO of ACME was", "Ann Moe"),
    (TURN.format("Who led Quill in 2012?") + "The CEO of Quill was", None),
    (TURN.format("Who leads ACME?") + "In 2012, the CEO of ACME was", "Ann Moe"),
    (TURN.format("I joined in 2012. Who leads ACME?"), "Cyd Fox"),
    ("Q: Who leads ACME in 2012?\nA:", "Ann Moe"),
]


@pytest.mark.parametrize(("text", "obj"), SENTENCES)
def test_a_question_is_answered_with_what_held_at_its_time(text: str, obj: str | None) -> None:
    assert said(text) == obj


@given(
    st.sampled_from(SENTENCES),
    st.sampled_from(["The market opened late. ", "It rained all day.\n\n", "We met a friend! "]),
)
def test_a_sentence_ahead_that_has_no_year_changes_nothing(
    case: tuple[str, str | None], ahead: str
) -> None:
    text, obj = case
    assert said(ahead + text if not text.startswith("<|") else text) == obj


@pytest.mark.parametrize(
    ("text", "obj", "reason"),
    [
        ("In 2019 ACME was based in", "Lisbon", "about another time"),
        ("In 2019 Quill was led by", "Ida Roe", "about another time"),
        ("In 2012 ACME was led by", "Cyd Fox", "about another time"),
        ("ACME is led by", "Bob Lin", "does not hold now"),
        ("Sella is led by", "Max Orr", "does not hold now"),
        ("In 2019 the colour of Quill was", "Ida Roe", "asks for something else"),
    ],
)
def test_what_does_not_hold_then_says_so(text: str, obj: str, reason: str) -> None:
    assert told(text)[obj].silenced == reason


@pytest.mark.parametrize(
    ("text", "moment", "obj"),
    [
        ("Last year ACME was led by", datetime(2013, 5, 1, tzinfo=UTC), "Ann Moe"),
        ("ACME is led by", datetime(2019, 5, 1, tzinfo=UTC), "Bob Lin"),
        ("Next year ACME is led by", datetime(2018, 5, 1, tzinfo=UTC), "Bob Lin"),
        ("In 2013 Quill was led by", datetime(2013, 5, 1, tzinfo=UTC), "Ida Roe"),
        ("In 2026 Quill is led by", datetime(2013, 5, 1, tzinfo=UTC), None),
    ],
)
def test_now_is_the_moment_of_the_view(text: str, moment: datetime, obj: str | None) -> None:
    assert said(text, moment=moment) == obj


def test_only_facts_that_hold_then_count_as_rivals() -> None:
    for text, obj, count in (
        ("In 2012 ACME was led by", "Ann Moe", 2),  # whoever founded it is an event's
        ("ACME is led by", "Cyd Fox", 3),
        ("Norvale is led by", "Petra Lind", 1),
    ):
        one = told(text)[obj]
        assert one.rivals == count, text
        assert needed(one, 0.5) == pytest.approx(0.5 if count == 1 else 2 / 3)


def test_the_object_of_a_fact_that_is_over_answers_no_question() -> None:
    assert said("ACME, once led by Bob Lin, is led by") == "Cyd Fox"
    assert said("ACME thanked Bob Lin. ACME is led by") == "Cyd Fox"
    assert said("ACME is led by Cyd Fox") is None


def test_a_wording_with_a_time_of_its_own_asks_at_that_time() -> None:
    past = fact("Rhone", "Al", "In 2012 the CEO of {} was", valid=("2010-01-01", "2013-01-01"))
    assert said("In 2012 the CEO of Rhone was", [past]) == "Al"
    assert said("The CEO of Rhone was", [past]) is None
    late = fact("Rhone", "Bo", "In 2012 the CEO of {} was", valid=("2014-01-01", "2015-01-01"))
    assert said("In 2012 the CEO of Rhone was", [late]) is None


@pytest.mark.parametrize("order", [1, -1])
def test_of_namespaces_that_answer_differently_one_is_chosen_and_the_other_told(order: int) -> None:
    facts = [
        fact("ACME", "Ann Moe", "The CEO of {} is", namespace="north"),
        fact("ACME", "Bob Lin", "The CEO of {} is", namespace="south"),
    ][::order]
    found = asked("The CEO of ACME is", facts)
    assert found is not None
    assert (found.fact.object, found.fact.namespace) == ("Ann Moe", "north")
    assert found.runner_up is not None
    assert (found.runner_up.object, found.runner_up.namespace) == ("Bob Lin", "south")
    assert told("The CEO of ACME is", facts)["Bob Lin"].silenced == (
        "the namespace 'north' answers, too"
    )


@given(
    st.sampled_from([text for text, _ in SENTENCES]),
    st.sampled_from(["", "It rained. ", "Who led ACME in 2012? "]),
    st.booleans(),
)
@settings(max_examples=60)
def test_a_text_read_token_by_token_is_answered_as_if_read_at_once(
    text: str, ahead: str, due: bool
) -> None:
    tokenizer, view = tiny.byte_level(), Dictionary(FACTS)
    tokens = Tokens.of(tokenizer)
    ids = tokenizer(ahead + text, add_special_tokens=False)["input_ids"]
    row = Row(tokens, view, PLAIN, NORMAL)
    for place, token in enumerate(ids):
        row.read([token])
        action = row.action(due=due)
        if place >= len(ids) - 3:
            anew = next_action(ids[: place + 1], due=due, tokens=tokens, facts=view, encoder=PLAIN)
            told = None if action is None else (action.token, action.decision.fact.id)
            assert told == (None if anew is None else (anew.token, anew.fact))
