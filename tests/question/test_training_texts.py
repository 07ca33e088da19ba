"""The texts that the encoder is trained on: every file is read, and says what it should."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "tools"))  # where its scripts find one another
question_attributes = import_module("question_attributes")
question_lexicon = import_module("question_lexicon")
ENGLISH, OTHERS = question_lexicon.ENGLISH, question_lexicon.OTHERS

RELATIONS = {part: question_lexicon.read(part) for part in (*ENGLISH, *OTHERS)}


def test_every_file_is_read() -> None:
    parts = {*RELATIONS, *(f"prose_{part}" for part in question_lexicon.PROSE)}
    others = {path.stem for path in question_lexicon.FOLDER.glob("*.txt")} - parts
    assert others == {f"attributes_{part}" for part in question_attributes.PARTS}
    assert len(question_lexicon.prose()) > 4_000
    assert len(question_attributes.attributes()) > 3_000


@pytest.mark.parametrize("part", RELATIONS)
def test_a_relation_has_wordings_and_near_misses_that_are_none(part: str) -> None:
    for relation in RELATIONS[part]:
        assert len(relation.wordings) >= 8, relation.name
        assert len(relation.near) >= 4, relation.name
        same = {_plain(text) for text in relation.wordings}
        assert same.isdisjoint(map(_plain, relation.near)), relation.name


def test_a_relation_of_another_language_has_the_name_of_an_english_one() -> None:
    english = {relation.name for part in ENGLISH for relation in RELATIONS[part]}
    for language in OTHERS:
        names = [relation.name for relation in RELATIONS[language]]
        assert len(names) == len(set(names)), language
        assert set(names) <= english, language


def _plain(text: str) -> str:
    return text.casefold().strip(" .?!:")
