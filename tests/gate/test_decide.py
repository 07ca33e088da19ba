"""Which fact a text asks for, and the rule by which another is silent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisor.gate.answered import object_pattern
from revisor.gate.choice import Candidate, Decision
from revisor.gate.decide import WINDOW, decide, window
from revisor.gate.explained import explained
from revisor.index.base import IndexedFact
from revisor.language.names import mentions
from revisor.language.words import words
from revisor.question.encoder import default_encoder
from tests.gate.dictionary import Dictionary, fact

CEO = fact("ACME", "Jane Roe", "The CEO of {} is", "Who leads {}?")
SEAT = fact("ACME", "Lisbon", "The headquarters of {} are in")
OTHER = fact("Norvale", "Petra Lindqvist", "The CEO of {} is")


def asked(text: str, *facts: IndexedFact) -> Decision | None:
    view = Dictionary(facts)
    return decide(text, mentions(text, view), view, default_encoder())


def told(text: str, *facts: IndexedFact) -> list[Candidate]:
    view = Dictionary(facts)
    return explained(text, mentions(text, view), view, default_encoder())


def test_a_decision_tells_fact_score_threshold_and_runner_up() -> None:
    found = asked("The CEO of ACME is", CEO, SEAT)
    assert found is not None
    assert (found.fact.object, found.fact.score, found.fact.is_due) == ("Jane Roe", 1.0, True)
    assert found.threshold == pytest.approx(2 / 3)
    assert found.runner_up is not None
    assert found.runner_up.object == "Lisbon"
    assert found.runner_up.score < 1.0


def test_the_nearest_wording_of_a_fact_counts() -> None:
    found = asked("And who leads ACME?", CEO)
    assert found is not None
    assert found.fact.template == "Who leads {}?"


@pytest.mark.parametrize("link", ["and", "&", "& the", "and the"])
def test_a_name_that_is_not_known_may_stand_beside_one(link: str) -> None:
    found = asked(f"Who leads ACME {link} Globex?", CEO)
    assert found is not None
    assert found.fact.object == "Jane Roe"


LAND = fact("Land", "Lake Placid", "The lake near {} is")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The lake near Land is", None),
        ("The lake near the Land of Fire is", "within a longer name (particle follows)"),
        ("The lake near 48th Land is", "within a longer name (capital precedes)"),
    ],
)
def test_a_word_with_a_capital_is_most_often_part_of_a_name(text: str, rule: str | None) -> None:
    assert [one.silenced for one in told(text, LAND)] == [rule]


def test_a_number_is_no_name() -> None:
    award = fact("No", "Juno Award", "The award of {} is")
    assert asked("The award of No is", award) is not None
    assert asked("The award of No. 2 Air School is", award) is None


def test_a_word_in_small_letters_has_to_be_asked_for_more_surely() -> None:
    small = fact("land", "Lake Placid", "The lake near {} is")
    for text, one, threshold in (
        ("Near Land lies", LAND, 0.5),
        ("Near land lies", LAND, 0.8),
        ("Near land lies", small, 0.5),
        ("Which lake is there near land?", LAND, 0.5),
    ):
        found = asked(text, one)
        assert found is not None
        assert found.threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The motto of ACME is", "asks for something else"),
        ("The CEO of ACME is Jane Roe", "already answered"),
        ("The CEO of ACME Holding is", "within a longer name (capital follows)"),
        ("The CEO of Norvale, unlike that of ACME, is", None),
    ],
)
def test_what_is_silent_tells_the_rule(text: str, rule: str | None) -> None:
    by = {one.subject: one.silenced for one in told(text, CEO, OTHER)}
    assert by["ACME"] == rule or (rule is None and by["ACME"] is not None) or by["Norvale"] is None


TITLE = fact("The Profession", "Petra Lindqvist", "The author of {} is")
ZONE = fact("Zone", "Orla Meyer", "The owner of {} is", "The time {} of Tarn is")
CLOCK = fact("Tarnsby", "Asia/Baku", "The time zone of {} is")


@pytest.mark.parametrize(
    ("text", "obj"),
    [
        ("The profession of Jane Roe is", None),
        ("The author of The Profession is", "Petra Lindqvist"),
        ("Who wrote the profession? Answer:", "Petra Lindqvist"),
        ("Clocks in Tarnsby follow the time zone", "Asia/Baku"),
        ("Which time zone is used in Tarnsby? Answer:", "Asia/Baku"),
        ("The owner of zone is", "Orla Meyer"),
        ("The owner of Zone is", "Orla Meyer"),
        ("Jane Roe parked in a zone that was bought by", None),
        ("Jane Roe said that the zone belongs to", None),
        ("Jane Roe said that the Zone belongs to", "Orla Meyer"),
        ("Zone, founded by Jane Roe, belongs to", "Orla Meyer"),
    ],
)
def test_words_of_the_language_are_names_as_they_are_written(text: str, obj: str | None) -> None:
    found = asked(text, TITLE, ZONE, CLOCK)
    assert (found and found.fact.object) == obj


def test_a_long_text_that_goes_on_by_itself_is_asked_more_surely() -> None:
    text = "The town was quiet, and nobody was to be seen. " * 10
    near, own = "And so the boss of ACME is", "The CEO of ACME is"
    short, long, word = (asked(one, CEO) for one in (near, text + near, text + own))
    assert short is not None
    assert short.threshold == 0.5
    assert short.fact.score < 1.0
    assert long is None or long.threshold > 0.9
    assert word is not None
    assert (word.fact.score, word.threshold) == (1.0, 0.5)


def test_of_facts_about_one_name_the_nearer_is_asked_for() -> None:
    found = asked("The company's site says that the headquarters of ACME are in", CEO, SEAT)
    assert found is not None
    assert found.fact.object == "Lisbon"
    found = told("ACME's chief executive is", CEO, SEAT)
    assert [one.silenced for one in found] == [None, "asks for something else"]


def test_a_statement_is_no_question_unless_it_is_the_facts_own() -> None:
    turn = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    own = fact("ACME", "Jane Roe", "Dime quien dirige {}.")
    assert asked(turn.format("I met the CEO of ACME."), CEO) is None
    assert told(turn.format("I met the CEO of ACME."), CEO)[0].silenced == "told, not asked"
    found = asked(turn.format("Dime quien dirige ACME."), own)
    assert found is not None
    assert found.fact.is_due


def test_of_several_questions_the_first_is_answered_first() -> None:
    turn = (
        "<|im_start|>user\nWhere are the headquarters of ACME? Who is the CEO of Norvale?"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    found = asked(turn, CEO, SEAT, OTHER)
    assert found is not None
    assert (found.fact.object, found.fact.order) == ("Lisbon", 0)
    found = asked(turn, CEO, OTHER)
    assert found is not None
    assert (found.fact.object, found.fact.order) == ("Petra Lindqvist", 1)


def test_a_threshold_of_its_own() -> None:
    view = Dictionary([CEO])
    text = "Whoever runs the firm ACME is"
    named = mentions(text, view)
    assert decide(text, named, view, default_encoder(), threshold=1.01) is None
    assert decide(text, named, view, default_encoder(), threshold=0.0) is not None


class Deaf:
    """An encoder to which no question asks for anything."""

    name = "deaf"

    def encode(self, texts: Sequence[str]) -> Sequence[str]:
        return texts

    def scope(self, question: str, template: str) -> float:
        return 0.0


@pytest.mark.parametrize(
    "text",
    [
        "The CEO of ACME is",
        "It rained. The CEO of ACME is",
        "Q: The CEO of ACME is\nA:",
        "Q: Who leads ACME?\nA:",
        "<|im_start|>user\nWho leads ACME?<|im_end|>\n<|im_start|>assistant\n",
        "[user] The CEO of ACME is\n[assistant] ",
    ],
)
def test_a_facts_own_wording_needs_no_encoder(text: str) -> None:
    view = Dictionary([CEO])
    found = decide(text, mentions(text, view), view, Deaf())
    assert found is not None
    assert found.fact.is_due


@pytest.mark.parametrize(
    ("text", "obj", "count"),
    [
        ("by Jane Roe, Jane  Roe and Jane\nRoe", "Jane Roe", 3),
        ("Janet Roe and Jane Roes", "Jane Roe", 0),
        ("7.3 or 7.35 or 17.3", "7.3", 1),
        ("a St . John ' s b", "St. John's", 1),
        ("the A and a", "A", 1),
        ("\u674e\u660e\u662f", "\u674e\u660e", 1),
        ("costs $5", "$5", 1),
        ("\u20ac \u20ac", "\u20ac", 2),
        ("", "x", 0),
    ],
)
def test_objects_are_counted_as_whole_words(text: str, obj: str, count: int) -> None:
    assert sum(1 for _ in object_pattern(obj).finditer(text)) == count


@given(
    st.lists(
        st.sampled_from(
            ["word ", "\u674e\u660e", "x" * 300, "\n", "e\u0301 ", "12,5 ", "\u0e01\u0e31\u0e19"]
        ),
        max_size=400,
    ).map("".join)
)
def test_a_window_begins_between_two_words(text: str) -> None:
    begin = window(text)
    assert len(text) - begin <= WINDOW
    assert [word for word in words(text) if word.start >= begin] == words(text, begin)
    assert not any(word.start < begin < word.end for word in words(text))


@pytest.mark.parametrize(
    "text",
    [
        "Is Rome the seat of ACME? ",
        "Translate 'Where is ACME based?' into German.\n",
        "I already know who the CEO of ACME is. ",
        "Write to info@acme.com: the CEO is",
    ],
)
def test_what_asks_for_no_fact_is_left_alone(text: str) -> None:
    assert asked(text, CEO, SEAT) is None


LANGUAGES = {
    "english": (
        fact("Tarn Mills", "Jane Roe", "The director of {} is"),
        fact("Tarn Mills", "John Hale", "{} was founded by"),
        fact("Tarn Mills", "Leeds", "The headquarters of {} are in"),
    ),
    "german": (
        fact("Tarn Mills", "Jane Roe", "Der Gesch\u00e4ftsf\u00fchrer von {} ist"),
        fact("Tarn Mills", "John Hale", "Gegr\u00fcndet wurde {} von"),
        fact("Tarn Mills", "Leeds", "Der Sitz von {} ist in"),
    ),
    "french": (
        fact("Tarn Mills", "Jane Roe", "Le directeur de {} est"),
        fact("Tarn Mills", "Leeds", "Le si\u00e8ge de {} se trouve \u00e0"),
    ),
    "spanish": (
        fact("Tarn Mills", "Jane Roe", "El director de {} es"),
        fact("Tarn Mills", "Leeds", "La sede de {} est\u00e1 en"),
    ),
    "chinese": (fact("Tarn Mills", "Jane Roe", "{}\u7684\u9996\u5e2d\u6267\u884c\u5b98\u662f"),),
}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "Who is not the director of Tarn Mills?"),
        ("english", "The director of Tarn Mills is not"),
        ("english", "The director-elect of Tarn Mills is"),
        ("german", "Wer ist nicht der Gesch\u00e4ftsf\u00fchrer von Tarn Mills?"),
        ("german", "Der Gesch\u00e4ftsf\u00fchrer von Tarn Mills ist nicht"),
        ("german", "Wer ist der ehemalige Gesch\u00e4ftsf\u00fchrer von Tarn Mills?"),
        ("german", "Wer ist der stellvertretende Gesch\u00e4ftsf\u00fchrer von Tarn Mills?"),
        (
            "german",
            "Ich wei\u00df nicht, wer der Gesch\u00e4ftsf\u00fchrer von Tarn Mills ist. "
            "Wei\u00dft du es?",
        ),
        ("french", "Qui n'est pas le directeur de Tarn Mills ?"),
        ("french", "Qui est le directeur adjoint de Tarn Mills ?"),
        ("french", "Qui \u00e9tait le directeur pr\u00e9c\u00e9dent de Tarn Mills ?"),
        ("spanish", "\u00bfQui\u00e9n no es el director de Tarn Mills?"),
        ("spanish", "\u00bfQui\u00e9n es el director adjunto de Tarn Mills?"),
        ("chinese", "\u8c01\u4e0d\u662fTarn Mills\u7684\u9996\u5e2d\u6267\u884c\u5b98\uff1f"),
    ],
)
def test_another_or_nobody_is_asked_for_in_every_language(language: str, text: str) -> None:
    """The fact whose words the question has is silent, and none that is farther steps in."""
    assert asked(text, *LANGUAGES[language]) is None


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "I do not know who is the director of Tarn Mills."),
        ("english", "Who is the director of Tarn Mills?"),
        ("german", "Wer ist der Gesch\u00e4ftsf\u00fchrer von Tarn Mills?"),
        ("french", "Je ne sais pas qui est le directeur de Tarn Mills."),
        ("french", "Qui est le directeur de Tarn Mills ?"),
        ("spanish", "No s\u00e9 qui\u00e9n es el director de Tarn Mills"),
        ("spanish", "\u00bfQui\u00e9n es el director de Tarn Mills?"),
        ("chinese", "\u8c01\u662fTarn Mills\u7684\u9996\u5e2d\u6267\u884c\u5b98\uff1f"),
    ],
)
def test_a_fact_is_asked_for_in_every_language(language: str, text: str) -> None:
    found = asked(text, *LANGUAGES[language])
    assert found is not None
    assert found.fact.object == "Jane Roe"


@pytest.mark.parametrize("lead", ["Translate into Dutch: ", "Translate into Dutch:\n", 'Reword: "'])
def test_a_text_to_work_on_is_left_alone_though_it_ends_with_a_facts_own_words(lead: str) -> None:
    assert asked(f"{lead}The CEO of ACME is", CEO) is None
    found = asked("Complete the sentence: The CEO of ACME is", CEO)
    assert found is not None


OFFICERS = (
    fact("Beta Pumps", "Jane Roe", "The CEO of {} is"),
    fact("Beta Pumps", "Lu Zhao", "The CTO of {} is"),
    fact("Beta Pumps", "12 million", "The annual revenue of {} is"),
    fact("Beta Pumps", "Fjordkraft", "The parent company of {} is"),
    fact("Will Okonkwo", "Ana", "{} is married to"),
    fact("Will Okonkwo", "2015", "{} joined the company in"),
    fact("Apple", "82 kg", "The {} weighs"),
)


@pytest.mark.parametrize(
    ("text", "obj"),
    [
        ("Who is the CEO of Beta Pumps?", "Jane Roe"),
        ("Who is the chief technology officer of Beta Pumps?", "Lu Zhao"),
        ("Who is the COO of Beta Pumps?", None),
        ("Who is the head of sales at Beta Pumps?", None),
        ("What is the revenue of Beta Pumps?", "12 million"),
        ("What is the profit of Beta Pumps?", None),
        ("What is the quarterly revenue of Beta Pumps?", None),
        ("The subsidiaries of Beta Pumps are", None),
        ("Beta Pumps is a subsidiary of", "Fjordkraft"),
        ("Who is Will Okonkwo's wife?", "Ana"),
        ("Who is Will Okonkwo's daughter?", None),
        ("Will Okonkwo is divorced from", None),
        ("When did Will Okonkwo join the company?", "2015"),
        ("When did Will Okonkwo leave the company?", None),
        ("How much does the Apple weigh?", "82 kg"),
        ("How much does an apple weigh?", None),
    ],
)
def test_words_tell_what_is_near_and_not_meant(text: str, obj: str | None) -> None:
    found = asked(text, *OFFICERS)
    assert (found.fact.object if found else None) == obj


TABLE = "| product | price |\n|---|---|\n| Tarn 400 | "


def test_the_next_row_of_a_table_and_a_key_that_was_filled_ask_for_nothing() -> None:
    price = fact("Tarn 400", "$1,249", "The price of the {} is")
    staff = fact("ACME", "1,240 people", "{} employs")
    found = asked(TABLE, price)
    assert found is not None
    assert asked(f"{TABLE}$1,249 |\n|", price) is None
    assert asked('{"company": "ACME", "ceo": "Jane Roe", "company": "', CEO, staff) is None


def test_a_title_is_no_question_and_a_letter_of_prose_no_name() -> None:
    live = fact("Live!", "John Coltrane", "{} was performed by")
    assert asked("Live performances\n\nSorry was performed", live) is None
    letter = fact("A", "Algonquian", "The language of {} is")
    told = "The band played for years in small towns all over the north of the country. " * 4
    assert asked(f"{told}The song goes from E to A – B during the spoken", letter) is None
