"""The word lists of languages: which ones a text is read with, and what an entry is."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import fields

import pytest

from revisor.language.lexicon import SHARED, Lexicon, language_of, lexicon, lexicon_of, lists
from revisor.language.lists import LANGUAGES, word_list
from revisor.language.words import fold, words

SENTENCES = {
    "english": [
        "The war of ACME was over.",
        "Die casting at ACME is done in",
        "Her son works at ACME.",
        "No, the CEO of La Casa de las Flores is",
        "What does 'Wer leitet ACME' mean in English?",
        "ACME CEO?",
        "ACME",
        "",
        "who wrote Don Quijote de la Mancha",
        "ACME on 3 May",
    ],
    "german": [
        "Die Firma war in",
        "Wer leitet ACME?",
        "wo is acme eigentlich",
        "Was ist die Hauptstadt von Veldane?",
        "Ich möchte wissen, wer The Saltmarrow Letters schrieb.",
        "Geschäftsführer ACME:",
    ],
    "french": [
        "Qui dirige ACME ?",
        "ACME a été fondée en",
        "Son fils travaille chez ACME.",
        "Le siège d'ACME se trouve à",
        "PDG d'ACME :",
    ],
    "spanish": [
        "¿Quién dirige ACME?",
        "ACME se fundó en",
        "No, la sede de ACME no está en",
        "quien dirige acme",
        "Sede de ACME: ¿dónde?",
    ],
    "chinese": ["ACME的首席执行官是谁？", "请问 ACME 的总部在哪里", "ACME CEO 是谁", "谁领导ACME"],
}


@pytest.mark.parametrize(
    ("language", "text"), [(one, text) for one, some in SENTENCES.items() for text in some]
)
def test_the_language_of_a_text_is_told_by_its_words(language: str, text: str) -> None:
    assert language_of(text) == language


def test_a_word_that_does_something_else_in_english_is_not_read_as_english() -> None:
    german, spanish = lexicon_of("german"), lexicon_of("spanish")
    assert "was" not in german.auxiliaries
    assert "was" in lexicon_of("english").auxiliaries
    assert "a" not in spanish.determiners
    assert "son" not in lexicon_of("english").possessive_pronouns
    assert "son" in lexicon_of("french").possessive_pronouns


def test_what_a_language_does_not_have_is_read_as_english() -> None:
    assert "please" in lexicon("Please sag mir, wer die Firma leitet.").polite
    assert "ceo" in lexicon_of("german").asked_nouns


def test_an_english_text_is_read_with_english_lists_alone() -> None:
    english = lexicon_of("english")
    own = lists("english")
    for field in fields(Lexicon):
        if field.name not in SHARED:
            assert getattr(english, field.name) == own[field.name]


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_and_frames_are_of_no_language(language: str) -> None:
    rules = lexicon_of(language)
    assert {"gmbh", "inc", "sarl", "公司"} <= rules.company_forms
    assert {"user", "frage", "pregunta", "问"} <= rules.ask_labels


def test_the_longest_entry_is_one_term() -> None:
    def terms(text: str) -> list[str]:
        return [word.text for word in lexicon(text).terms(text)]

    assert terms("ACME是什么时候成立的？")[1:3] == ["是", "什么时候"]
    assert terms("Est-ce que le siège social est loin ?")[:3] == [
        "est-ce que",
        "le",
        "siège social",
    ]
    assert terms("À quelle heure ouvre ACME ?")[0] == "à quelle heure"
    assert terms("Est, ce que dit ACME")[0] == "est"  # a comma parts them
    text = "When was the date of birth of the CEO?"
    assert lexicon(text).terms(text) == tuple(words(text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_list_is_known_and_has_no_entry_twice_in_another_spelling(language: str) -> None:
    known = {field.name for field in fields(Lexicon)}
    assert set(tomllib.loads(word_list(language))) <= known
    spelled: dict[tuple[str, ...], str] = {}
    for name, entries in lists(language).items():
        if name in ("time_words", "possessives", "letters", *SHARED):
            continue
        for entry in entries:
            assert entry == fold(entry)
            said = tuple(word.text for word in words(entry))
            assert said, (name, entry)
            assert spelled.setdefault(said, entry) == entry


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_word_of_time_is_of_a_kind_that_is_looked_for(language: str) -> None:
    links = ("in", "through", "before", "after", "since", "from")
    units = ("day", "week", "month", "quarter", "year", "decade")
    values: dict[str, Collection[str]] = {
        **dict.fromkeys(("adverb", "calendar", "century", "quarter", "tens"), "a"),
        **dict.fromkeys(("unit", "units"), units),
        **{"link": links, "ago": ("before", "after"), "until": ["to"], "onwards": ["on"]},
        **{"article": ["the"], "joint": ["of"], "part": ("early", "mid", "late", "first", "last")},
    }
    numbers = ("month", "season", "ordinal", "number", "shift", "behind", "away", "decade")
    for entry in lists(language)["time_words"]:
        kind, _, value = entry.partition(" = ")[2].partition(" ")
        assert value in values[kind] if kind in values else kind in numbers and int(value) < 3_000


def test_lists_of_names_and_frames_have_no_plain_word_of_english() -> None:
    """A sentence ends behind "art.", and "Rue" is a name."""
    english = lists("english")
    plain = english["function_words"] | english["question_words"] | english["asked_nouns"]
    for language in LANGUAGES[1:]:
        for name in ("company_forms", "name_extensions", "abbreviations"):
            found = {entry for entry in lists(language)[name] if len(entry) > 1}
            assert found.isdisjoint(plain - english[name]), (language, name)
