"""Questions as known words: contractions opened, slips of the pen corrected, endings taken off."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from revisor.facts.fact import PLACEHOLDER
from revisor.language.words import words

NAME, NUMBER, YEAR, UNKNOWN = range(4)  # ids of what is no word of the vocabulary
SPECIAL = 4  # the first word's id

_ENDINGS = frozenset(("s", "re", "m", "ve", "ll", "d"))  # behind an apostrophe
_NEGATED = MappingProxyType({"can": "can", "won": "will", "shan": "shall"})  # before "'t"
_RUN_ON = MappingProxyType({f"{word}s": word for word in ("what", "who", "where", "when", "how")})
_YEAR = re.compile(r"1\d{3}|20\d\d")
_SUFFIX = re.compile(r"(ing|ers|er|ors|or|ed|es|s|e|d|ment|ation|ion|al|ly)$")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SHORTEST = 5  # letters of a word that is looked for in other spellings
_KEY = (1 << 24) - 1  # keys are whole numbers that a float32 holds


class Token(NamedTuple):
    """A word of a question.

    Attributes:
        word: as it is spelled in the vocabulary, if it is in it.
        id: its place there, or one of the special ids.
        key: the same of words that differ in their endings.
    """

    word: str
    id: int
    key: int


def spoken(question: str) -> Iterator[str]:
    """The folded words of a question, `{}` for the name.

    Example:
        >>> list(spoken("What's {}'s CEO? Isn't it 5?"))
        ['what', '{}', 'ceo', 'is', 'not', 'it', '5']
    """
    for place, part in enumerate(question.split(PLACEHOLDER)):
        if place:
            yield PLACEHOLDER
        held = ""  # the last word, for as long as an apostrophe may change it
        for word in words(part):
            if word.start and part[word.start - 1] in "'\u2019":
                if word.text in _ENDINGS:
                    continue
                if word.text == "t" and held.endswith("n"):
                    yield _NEGATED.get(held, held[:-1])
                    held = "not"
                    continue
            if held:
                yield held
            held = _RUN_ON.get(word.text, word.text)
        if held:
            yield held


def stem(word: str) -> str:
    """A word without its ending, as far as three letters are left."""
    short = _SUFFIX.sub("", word) if len(word) > 4 else word
    return short if len(short) >= 3 else word


class Vocabulary:
    """The words that are known, the most frequent first.

    Args:
        known: words, folded; the id of each is its place behind the special ids.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known
        self._ids: Mapping[str, int] = {word: n for n, word in enumerate(known, SPECIAL)}
        self._token = lru_cache(maxsize=1 << 14)(self._read)

    def __len__(self) -> int:
        return len(self._known) + SPECIAL

    def tokens(self, question: str) -> list[Token]:
        """The words of a question, in order."""
        return [self._token(word) for word in spoken(question)]

    def _read(self, word: str) -> Token:
        if word == PLACEHOLDER:
            return Token(word, NAME, 0)
        found = self._ids.get(word)
        if found is None and any(map(str.isdigit, word)):
            return Token(word, YEAR if _YEAR.fullmatch(word) else NUMBER, _key(word))
        if found is None and len(word) >= _SHORTEST and word.isascii():
            found = self._correct(word)
        if found is None:
            return Token(word, UNKNOWN, _key(word))
        spelled = self._known[found - SPECIAL]
        return Token(spelled, found, _key(stem(spelled)))

    def _correct(self, word: str) -> int | None:
        """The most frequent word that is one slip away; the first letter is never wrong."""
        found = (self._ids[near] for near in set(_slips(word)) if near in self._ids)
        return min(found, default=None)


def _key(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % _KEY


def _slips(word: str) -> Iterator[str]:
    for n in range(1, len(word)):
        head, letter, tail = word[:n], word[n], word[n + 1 :]
        yield head + tail
        if tail:
            yield head + tail[0] + letter + tail[1:]
        for other in _LETTERS:
            yield head + other + tail
            yield head + other + letter + tail
    yield from (word + other for other in _LETTERS)
