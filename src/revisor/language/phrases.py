"""Lists whose entries are "phrase = value", as they are found in the words of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from revisor.language.words import words


class Found(NamedTuple):
    """A phrase of a list: at which of the words it begins, behind which it ends, and its values."""

    begin: int
    end: int
    values: tuple[str, ...]


def found(said: Sequence[str], entries: frozenset[str]) -> Iterator[Found]:
    """The entries in some words, from left to right; of those that begin alike the longest:
    "opening hours" ahead of "opening"."""
    known = _by_first(entries)
    at = 0
    while at < len(said):
        some = known.get(said[at], ())
        entry = next((one for one in some if tuple(said[at : at + len(one[0])]) == one[0]), None)
        begin, at = at, at + (len(entry[0]) if entry else 1)
        if entry:
            yield Found(begin, at, entry[1])


_Entry = tuple[tuple[str, ...], tuple[str, ...]]


@lru_cache(maxsize=64)
def _by_first(entries: frozenset[str]) -> dict[str, list[_Entry]]:
    """Phrases and their values by the first word, the longest first; a phrase may stand in several
    entries."""
    values: dict[tuple[str, ...], list[str]] = {}
    for entry in sorted(entries):
        phrase, _, value = entry.partition("=")
        values.setdefault(tuple(word.text for word in words(phrase)), []).append(value.strip())
    by_first: dict[str, list[_Entry]] = {}
    for said, some in sorted(values.items(), key=lambda one: (-len(one[0]), one)):
        by_first.setdefault(said[0], []).append((said, tuple(some)))
    return by_first
