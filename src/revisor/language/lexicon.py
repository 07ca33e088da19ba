"""The word lists that rules look into, read from one folder a language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

LANGUAGES = ("english", "german")


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words by what they do, folded; several languages are one lexicon.

    Attributes:
        function_words: words that say nothing of what is asked.
        question_words: words that open a question.
        pronouns: what stands for a name ("it"); possessive_pronouns: for its possessive ("its").
        generic_nouns: what stands for a name behind an article ("the company").
        company_forms: what follows a company's name ("Ltd").
        abbreviations: words whose full stop ends no sentence.
        ask_labels, answer_labels, other_labels: what stands before a colon where somebody asks,
            answers, or neither.
        asking_verbs: first words of a request that is a question ("name", "tell").
        lead_ins: what opens an answer without a word of it ("the answer is", "it is").
        ellipses: first words of a question that goes on with an earlier one ("and", "what about").
    """

    function_words: frozenset[str]
    question_words: frozenset[str]
    pronouns: frozenset[str]
    possessive_pronouns: frozenset[str]
    generic_nouns: frozenset[str]
    company_forms: frozenset[str]
    abbreviations: frozenset[str]
    ask_labels: frozenset[str]
    answer_labels: frozenset[str]
    other_labels: frozenset[str]
    asking_verbs: frozenset[str]
    lead_ins: frozenset[str]
    ellipses: frozenset[str]


@cache
def lexicon(languages: Sequence[str] = LANGUAGES) -> Lexicon:
    """The word lists of some languages, taken together."""
    lists: dict[str, set[str]] = {field.name: set() for field in fields(Lexicon)}
    for language in languages:
        source = files(__package__) / language / "words.toml"
        for name, text in tomllib.loads(source.read_text(encoding="utf-8")).items():
            lists[name].update(part for part in re.split(r"\s*[,\n]\s*", text) if part)
    return Lexicon(**{name: frozenset(found) for name, found in lists.items()})
