"""Questions that name somebody by a fact: where the CEO of ACME was born takes two facts."""

from __future__ import annotations

import pytest

from revisor.gate.choice import Decision
from revisor.gate.decide import decide
from revisor.gate.hops import HOPS, MOST, Described, described, reached
from revisor.index.base import IndexedFact
from revisor.language.names import mentions
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import Dictionary, fact

CEO = fact("ACME", "Jane Roe", "The CEO of {} is")
FACTS = (
    CEO,
    fact("ACME", "Lisbon", "The headquarters of {} are in"),
    fact("Jane Roe", "Lagos", "{} was born in"),
    fact("Jane Roe", "Tom Hale", "{} is married to"),
    fact("Tom Hale", "chess", "{} is known for"),
    fact("Lisbon", "505,000", "The population of {} is"),
    fact("Bolt", "Petra Quist", "The CEO of {} is"),
)


def asked(text: str, facts: tuple[IndexedFact, ...] = FACTS) -> Decision | None:
    view = Dictionary(facts)
    return decide(text, mentions(text, view), view, default_encoder())


def chat(said: str, answer: str = "") -> str:
    return f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n{answer}"


@pytest.mark.parametrize(
    ("text", "obj", "steps"),
    [
        ("Where was the CEO of ACME born?", "Lagos", 1),
        ("The CEO of ACME was born in", "Lagos", 1),
        (chat("In which city was ACME's CEO born?"), "Lagos", 1),
        (chat("Who is the boss of ACME married to?"), "Tom Hale", 1),
        (chat("What is the population of the city where ACME is based?"), "505,000", 1),
        (chat("What is the husband of the CEO of ACME known for?"), "chess", 2),
        (chat("Tell me about ACME.", "ACME is a firm. Its CEO was born in"), "Lagos", 1),
        (chat("Where was the CEO of ACME born?", "The CEO of ACME was born in"), "Lagos", 1),
    ],
)
def test_a_description_stands_for_a_name(text: str, obj: str, steps: int) -> None:
    found = asked(text)
    assert found is not None
    assert found.fact.object == obj
    assert len(found.fact.via) == steps
    assert found.fact.via[0].startswith("ACME")


@pytest.mark.parametrize(
    "text",
    [
        "The former CEO of ACME was born in",
        "Where was the founder of ACME born?",
        "Where was the CEO of Bolt born?",
        "The CEO of ACME lives in",
        "Who is not the CEO of ACME?",
        "The mayor of ACME was born in",
    ],
)
def test_what_no_fact_describes_or_tells_is_left_alone(text: str) -> None:
    assert asked(text) is None


def test_a_fact_about_the_name_itself_goes_first() -> None:
    found = asked("The CEO of ACME is")
    assert found is not None
    assert (found.fact.object, found.fact.via) == ("Jane Roe", ())
    own = fact("ACME", "at home", "The CEO of {} was born in")
    found = asked("The CEO of ACME was born in", (own, *FACTS))
    assert found is not None
    assert found.fact.object == "at home"


def test_an_object_that_is_more_than_a_name_describes_nobody() -> None:
    for obj in ("Jane Roe of Lagos", "Jane Roe " * 40):
        facts = (fact("ACME", obj, "The CEO of {} is"), *FACTS[1:])
        assert asked("The CEO of ACME was born in", facts) is None


def test_no_circle_has_no_end() -> None:
    circle = (fact("A b", "C d", "The friend of {} is"), fact("C d", "A b", "The friend of {} is"))
    assert asked("The friend of the friend of the friend of A b is", circle) is not None
    assert asked("Where was the friend of A b born?", circle) is None


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Where was the CEO of {} born?", ("the CEO of {}", "Where was {} born?")),
        ("Where was {}'s CEO?", None),
        ("Who leads {}?", None),
        ("The CEO of {} is", None),
        (
            "The population of the city where {} lies is",
            ("the city where {} lies", "The population of {} is"),
        ),
        ("How big is the town where {} lies?", ("the town where {} lies", "How big is {}?")),
        ("Wo wurde der Chef von {} geboren?", ("der Chef von {}", "Wo wurde {} geboren?")),
        ("O\u00f9 est n\u00e9 le PDG de {} ?", ("le PDG de {}", "O\u00f9 est n\u00e9 {} ?")),
    ],
)
def test_descriptions_of_a_question(question: str, found: tuple[str, str] | None) -> None:
    read = next(described(question), None)
    assert read == (None if found is None else Described(*found))


def test_only_so_many_facts_are_reached() -> None:
    assert reached([0], lambda one: [one + 1]) == set(range(HOPS + 1))
    assert len(reached([0], lambda one: range(1000 * one + 1, 1000 * one + 900))) == MOST + 1
