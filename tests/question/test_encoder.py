"""The shipped question encoder: what asks for a template's fact, and what only looks like it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest

from revisor.question.bag import ENTRIES, FILE, LENGTH, packed, unpacked
from revisor.question.encoder import QuestionEncoder, default_encoder
from revisor.question.structure import Role, direction, inverse, roles
from revisor.question.vocabulary import NUMBER, UNKNOWN, YEAR, Vocabulary, spoken, stem

CEO = "The CEO of {} is"
PRICE = "The price of {} is"
BORN = "{} was born in"


@pytest.fixture(scope="module")
def encoder() -> QuestionEncoder:
    return default_encoder()


def scope(encoder: QuestionEncoder, template: str, question: str) -> float:
    return encoder.scope(encoder.encode([question])[0], encoder.encode_templates([template])[0])


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (CEO, "Who is the chief executive of {}?"),
        (CEO, "whats the name of {}'s ceo"),
        (CEO, "Please tell me: the current CEO of the company {} is"),
        (PRICE, "How much does {} cost?"),
        (PRICE, "{} price?"),
        (BORN, "What is the birthplace of {}?"),
        ("The opening hours of {} are", "When is {} open?"),
        ("{} is developed by", "Which company developed {}?"),
        ("The mother tongue of {} is", "What is the native language of {}?"),
    ],
)
def test_other_words_for_what_a_template_asks(
    encoder: QuestionEncoder, template: str, question: str
) -> None:
    assert scope(encoder, template, question) >= 0.5


@pytest.mark.parametrize(
    ("template", "question"),
    [
        (CEO, "The former CEO of {} is"),
        (CEO, "The wife of the CEO of {} is"),
        (CEO, "The CEO of the competitor of {} is"),
        (CEO, "In 1995, the CEO of {} was"),
        (CEO, "The CEO of {} is not"),
        (CEO, "The salary of the CEO of {} is"),
        (PRICE, "The price of {} in 2019 was"),
        (BORN, "The brother of {} was born in"),
        (BORN, "{}'s brother was born in"),
        ("In 2019, the price of {} was", "The price of {} in 2020 was"),
        ("The former CEO of {} is", CEO),
    ],
)
def test_a_near_miss_is_out_of_scope(
    encoder: QuestionEncoder, template: str, question: str
) -> None:
    assert scope(encoder, template, question) < 0.5


@pytest.mark.parametrize(
    "question", ["", "{}", "{} was", "{}, who", "Tell me about {}.", "I like {} because"]
)
def test_a_text_that_asks_for_nothing_is_out_of_scope(
    encoder: QuestionEncoder, question: str
) -> None:
    assert all(scope(encoder, template, question) < 0.5 for template in (CEO, PRICE, BORN))


@pytest.mark.parametrize(
    ("template", "question"),
    [
        ("The capital of {} is", "{} is the capital of"),
        ("{} is the father of", "The father of {} is"),
        ("{} was bought by", "What was bought by {}?"),
        ("{} was founded in", "Who founded {}?"),
    ],
)
def test_the_same_words_may_look_the_other_way(
    encoder: QuestionEncoder, template: str, question: str
) -> None:
    assert scope(encoder, template, question) < 0.5


def test_other_relations_of_a_name_are_out_of_scope(encoder: QuestionEncoder) -> None:
    templates = [CEO, PRICE, BORN, "The capital of {} is", "The author of {} is"]
    questions_NW, entries_NEW = encoder.encode(templates), encoder.encode_templates(templates)
    level = [[encoder.scope(q_W, t_EW) for t_EW in entries_NEW] for q_W in questions_NW]
    assert (np.array(level) >= 0.5).tolist() == np.eye(len(templates), dtype=bool).tolist()


def test_a_template_asks_for_itself_whatever_its_words(encoder: QuestionEncoder) -> None:
    for template in (CEO, "Das Zorbelgewicht von {} beträgt", "{}:", "The 2nd gromf of {} is"):
        assert scope(encoder, template, template) > 0.8


def test_a_slip_of_the_pen_changes_nothing(encoder: QuestionEncoder) -> None:
    right, wrong = encoder.encode(
        ["What is the phone number of {}?", "What is the phone nubmer of {}?"]
    )
    assert np.array_equal(right, wrong)


def test_vectors_are_the_same_however_they_are_asked_for(encoder: QuestionEncoder) -> None:
    texts = [CEO, PRICE, BORN, "", "Who founded {}?"] * 8
    together = encoder.encode(texts)
    with ThreadPoolExecutor(4) as threads:
        alone = list(threads.map(lambda text: encoder.encode([text])[0], texts))
    assert together.dtype == np.float32
    assert np.array_equal(together, np.stack(alone))
    assert encoder.encode_templates(texts).shape == (len(texts), ENTRIES, together.shape[1])
    assert encoder.encode([]).shape == (0, together.shape[1])
    assert encoder.encode_templates([]).shape == (0, ENTRIES, together.shape[1])


def test_a_long_question_is_read_from_its_end(encoder: QuestionEncoder) -> None:
    words = ["now", "then", "here"] * 100 + ["the", "CEO", "of", "{}", "is"]
    whole, end = encoder.encode([" ".join(words), " ".join(words[-LENGTH:])])
    assert np.array_equal(whole, end)


def test_the_words_take_five_megabytes_at_most() -> None:
    assert len((files("revisor.data") / FILE).read_bytes()) <= 5_000_000


def test_contractions_are_opened_and_a_possessive_is_no_word() -> None:
    assert list(spoken("Isn't {}'s CEO who's “won’t”?")) == (
        ["is", "not", "{}", "ceo", "who", "will", "not"]
    )


def test_words_that_are_not_known() -> None:
    known = Vocabulary(["price", "prince", "founded"])
    read = {token.word: token.id for token in known.tokens("price fouded 1995 12 ab zzzzzz")}
    assert read == {"price": 4, "founded": 6, "1995": YEAR, "12": NUMBER, "ab": UNKNOWN} | {
        "zzzzzz": UNKNOWN
    }
    one, other = known.tokens("1995 1996")
    assert one.key != other.key


def test_words_of_one_stem_are_equal() -> None:
    assert (
        len({stem(word) for word in ("employ", "employed", "employer", "employers", "employing")})
        == 1
    )
    assert stem("bed") == "bed"


def test_the_roles_of_words() -> None:
    words = list(spoken("The wife of the boss of {} is called"))
    found = dict(zip(words, roles(words), strict=True))
    assert (found["wife"], found["boss"], found["called"]) == (Role.OUTER, Role.INNER, Role.AFTER)
    words = list(spoken("In which large city was {} born?"))
    found = dict(zip(words, roles(words), strict=True))
    assert (found["large"], found["city"], found["born"]) == (Role.ASKED, Role.ASKED, Role.BEHIND)


def test_two_questions_look_in_opposite_directions() -> None:
    def way(text: str):  # type: ignore[no-untyped-def]
        return direction(list(spoken(text)))

    assert inverse(way("The capital of {} is"), way("Of what is {} the capital of?"))
    assert inverse(way("What was made by {}?"), way("{} was made by"))
    assert not inverse(way("The capital of {} is"), way("{}'s capital is"))
    assert not inverse(way("Who made {}?"), way("{} was made by"))


def test_pairs_of_small_numbers_are_packed_and_unpacked() -> None:
    numbers = np.arange(-8, 8).reshape(4, 4)
    assert packed(numbers).shape == (4, 2)
    assert np.array_equal(unpacked(packed(numbers)), numbers)
