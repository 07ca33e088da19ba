"""The word lists that rules look into, read from one folder a language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

from revisor.language.lists import LANGUAGES, word_list


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words by what they do, folded; several languages are one lexicon.

    Attributes:
        function_words: words that say nothing of what is asked.
        empty_words: those of them that alone ask for nothing ("{} is the").
        question_words: first words of a question, with or without its mark.
        asked_nouns: nouns of what is asked for: behind a name they are not of it ("ACME CEO").
        pronouns: what stands for a name ("it"); possessive_pronouns: for its possessive ("its").
        person_pronouns: those of either that stand for people only.
        generic_nouns: what stands for a name behind an article ("the company").
        articles: what stands before such a noun.
        titles: what stands before a name and is not of it ("President").
        name_extensions: what behind a name makes it another one, however written ("pro").
        company_forms: what follows a company's name ("Ltd").
        abbreviations: words whose full stop ends no sentence.
        ask_labels, answer_labels, other_labels: what stands before a colon where somebody asks,
            answers, or neither.
        asking_verbs: first words of a request that is a question ("name", "tell").
        wanting: words of a sentence that asks by saying what one wants ("know", "need").
        speakers: who says so ("I").
        polite: what may stand before the first word of a request ("please", "could you").
        courtesies: what is said beside a question and asks nothing ("thanks").
        lead_ins: what opens an answer without a word of it ("the answer is", "it is").
        ellipses: first words of a question that goes on with an earlier one ("and", "what about").
        joining: words behind which no answer begins ("and", "who").
        links: words behind which a name belongs to what stands before it ("the CEO of ACME").
        auxiliaries: first words of a question that is answered by yes or no.
        who_words, when_words, where_words, how_words, which_words: question words by what they
            ask for.
        time_nouns: what "which" asks for a time with ("year"); measures: what "how" asks for a
            number with ("many").
        times_told, numbers_told: words that tell a time or a number without a digit.
        handling_verbs: first words of a request that does something with a text ("translate").
        knowing: those of `wanting` that alone say what one has ("I know"), and not with one of
            wishing ("I'd like to know").
        relative_words: words behind a name with which something is said of another ("where");
            place_links: words by which a name is only a place in what is said ("in").
        unpriced: what no amount of money answers ("weight").
        addressed: second words of a question that is a request ("can you"); polite_fillers: words
            that may stand before its first ("please").
        times: words that put a clause into a time of its own ("before", "former").
    """

    function_words: frozenset[str]
    empty_words: frozenset[str]
    question_words: frozenset[str]
    asked_nouns: frozenset[str]
    pronouns: frozenset[str]
    possessive_pronouns: frozenset[str]
    person_pronouns: frozenset[str]
    generic_nouns: frozenset[str]
    articles: frozenset[str]
    titles: frozenset[str]
    name_extensions: frozenset[str]
    company_forms: frozenset[str]
    abbreviations: frozenset[str]
    ask_labels: frozenset[str]
    answer_labels: frozenset[str]
    other_labels: frozenset[str]
    asking_verbs: frozenset[str]
    wanting: frozenset[str]
    speakers: frozenset[str]
    polite: frozenset[str]
    courtesies: frozenset[str]
    lead_ins: frozenset[str]
    ellipses: frozenset[str]
    joining: frozenset[str]
    links: frozenset[str]
    auxiliaries: frozenset[str]
    who_words: frozenset[str]
    when_words: frozenset[str]
    where_words: frozenset[str]
    how_words: frozenset[str]
    which_words: frozenset[str]
    time_nouns: frozenset[str]
    measures: frozenset[str]
    times_told: frozenset[str]
    numbers_told: frozenset[str]
    handling_verbs: frozenset[str]
    knowing: frozenset[str]
    wishing: frozenset[str]
    relative_words: frozenset[str]
    place_links: frozenset[str]
    unpriced: frozenset[str]
    addressed: frozenset[str]
    polite_fillers: frozenset[str]
    times: frozenset[str]


@cache
def lexicon(languages: Sequence[str] = LANGUAGES) -> Lexicon:
    """The word lists of some languages, taken together."""
    lists: dict[str, set[str]] = {field.name: set() for field in fields(Lexicon)}
    for language in languages:
        for name, text in tomllib.loads(word_list(language)).items():
            lists[name].update(part for part in re.split(r"\s*[,\n]\s*", text) if part)
    return Lexicon(**{name: frozenset(found) for name, found in lists.items()})
