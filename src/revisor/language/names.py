"""Names as they are looked up, and where a text mentions them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from revisor.language.longer import Spot, company_form, longer_name
from revisor.language.words import Word, words

HYPHENS = "-\u2010\u2011"
APOSTROPHES = "'\u2019\u02bc\u2018"
# What parts words, unless the name itself has it; spaces, hyphens, quotes and markup do not.
_PARTING = re.compile(rf"[^\s\w*`\"\u201c\u201d\u00b7&/.{APOSTROPHES}{re.escape(HYPHENS)}]")
_TRAILING = re.compile(r"[^\w\s]+$")
_BETWEEN = 8  # characters between two words of a name
_CAMEL = re.compile(r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_ENDINGS = frozenset(("s", "t", "d", "m", "re", "ve", "ll", "n"))  # behind an apostrophe
_SHORT = 3  # letters of an abbreviation within a name ("St. John")
_SPELLINGS = 8  # facts of which the spellings are compared with what a text has


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text.

    Attributes:
        start, end: where it stands.
        facts: handles of the facts about what it names.
        within: it is told to be part of a longer name, by what stands beside it: the rule's name.
        inner: start, end and facts of other names that overlap it.
    """

    start: int
    end: int
    facts: tuple[int, ...]
    within: str | None = None
    inner: tuple[tuple[int, int, tuple[int, ...]], ...] = ()


Hit = tuple[int, Sequence[int]]  # how many words a name has, and its facts


class Names(Protocol):
    """What names are looked up in."""

    @property
    def longest(self) -> int: ...

    def reach(self, word: str) -> int: ...

    def find(self, words: Sequence[str]) -> Sequence[int]: ...

    def spellings(self, handle: int) -> Sequence[str]: ...


def name_words(name: str) -> tuple[str, ...]:
    """The folded words by which a name is looked up.

    Example:
        >>> name_words("St. John\u2019s  Eve")
        ('st', 'john', 's', 'eve')
    """
    return tuple(word.text for word in words(name))


def mentions(text: str, names: Names) -> list[Mention]:
    """Where a text mentions names, in order; of names that overlap the one that begins first, and
    of those the longest."""
    if not names.longest:
        return []
    read = words(text)
    return resolve(text, read, range(len(read)), lambda at: _names_at(text, read, at, names), names)


def resolve(
    text: str,
    read: Sequence[Word],
    places: Iterable[int],
    names_at: Callable[[int], Sequence[Hit]],
    names: Names,
    begin: int = 0,
    start: int = 0,
) -> list[Mention]:
    """Of names that overlap the first, and of those that begin together the longest; but one that
    a name goes on behind which is part of a longer one ("of June" in "of June Carroll") is none.

    Args:
        text: in which they are.
        read: its words; none before `begin` counts.
        places: of the words with which names may begin, in order.
        names_at: how many words each name has that begins with one, and its facts; shorter first.
        names: what they are looked up in.
        start: what stands ahead of it does not count; places are counted from it.
    """
    found: list[Mention] = []
    done, count = 0, len(read)
    for at in places:
        hits = names_at(at)
        if not hits:
            continue
        inner = [
            (read[at].start - start, read[at + size - 1].end - start, tuple(handles))
            for size, handles in hits
        ]
        size, handles = hits[-1]
        if at < done:
            last = found[-1]
            if last.within is None or at + size <= done:
                found[-1] = replace(last, inner=(*last.inner, *inner))
                continue
            inner = [*found.pop().inner, *inner]
        end = read[at + size - 1].end
        following = read[at + size] if at + size < count else None
        if following is not None and company_form(text, end, following):
            end, size = following.end, size + 1
            following = read[at + size] if at + size < count else None
        end += _sign(text, end, names, handles)
        preceding = read[at - 1] if at > begin else None
        spot = Spot(text, start, read[at], end, size, preceding, following)
        shown = (read[at].start - start, end - start, tuple(handles))
        found.append(Mention(*shown, longer_name(spot), tuple(inner[:-1])))
        done = at + size
    return found


def _sign(text: str, end: int, names: Names, handles: Sequence[int]) -> int:
    """Characters behind a name's last word that are the name's own: the "!" of "Yahoo!"."""
    if text[end : end + 1].isspace() or end == len(text):
        return 0
    for handle in handles[:_SPELLINGS]:
        for spelling in names.spellings(handle):
            signs = _TRAILING.search(spelling)
            # A single full stop may be the sentence's.
            if signs and signs.group() != "." and text.startswith(signs.group(), end):
                return len(signs.group())
    return 0


def _names_at(text: str, read: Sequence[Word], at: int, names: Names) -> list[Hit]:
    """The names that begin with a word, shorter ones first."""
    found = []
    reach = names.reach(read[at].text)
    for count in range(1, min(max(reach, 1), len(read) - at) + 1):
        if count > 1 and not may_join(text, read[at + count - 2], read[at + count - 1]):
            break
        handles = named(text, read, at, count, names, reach)
        if handles:
            found.append((count, handles))
    return found


def named(
    text: str, read: Sequence[Word], at: int, count: int, names: Names, reach: int
) -> Sequence[int]:
    """The facts about the name that some words make, empty if they make none.

    Args:
        reach: of the last of the words, where there is one only.
    """
    first = read[at]
    handles: Sequence[int] = ()
    if (count > 1 or reach) and not _after_apostrophe(text, read, at):
        some = read[at : at + count]
        handles = names.find([word.text for word in some])
        if handles and count > 1 and not _is_joined(text, some, names, handles):
            handles = ()
    if not handles and count == 1:
        parts = _split(text[first.start : first.end])
        if len(parts) > 1 and names.reach(parts[0]) >= len(parts):
            handles = names.find(parts)
    return handles


def may_join(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words may be of one name, by what stands between them."""
    between = text[ahead.end : behind.start]
    return between == " " or (len(between) <= _BETWEEN and "\n\n" not in between)


def _split(word: str) -> list[str]:
    """A word written together, taken apart at its capitals and digits: "NorvaleInstruments"."""
    if word.islower() and word.isalpha():
        return []
    return [part.text for piece in _CAMEL.split(word) for part in words(piece)]


def _after_apostrophe(text: str, read: Sequence[Word], at: int) -> bool:
    """The word is the "s" of "Finch's"; that of "l'ACME" is one of its own."""
    word = read[at]
    if at == 0 or word.text not in _ENDINGS or read[at - 1].end != word.start - 1:
        return False
    return text[word.start - 1] in APOSTROPHES


def _is_joined(text: str, read: Sequence[Word], names: Names, handles: Sequence[int]) -> bool:
    """What stands between the words of a name may stand there: spaces, hyphens, and signs that the
    name itself has. "at t" is not "AT&T"."""
    signs = set()
    for ahead, behind in zip(read, read[1:], strict=False):
        between = text[ahead.end : behind.start]
        if "." in between and between.strip() != between and len(ahead.text) > _SHORT:
            signs.add(".")
        signs.update(_PARTING.findall(between))
    whole = text[read[0].start : read[-1].end]
    spaced = len(whole) <= 2 * len(read) and "&" not in whole
    if not signs and not spaced:
        return True
    return any(
        all(sign in spelling for sign in signs) and not (spaced and "&" in spelling)
        for handle in handles[:_SPELLINGS]
        for spelling in names.spellings(handle)
    )
