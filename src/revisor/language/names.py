"""Names as they are looked up, and where a text mentions them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.words import Word, words

HYPHENS = "-\u2010\u2011"
APOSTROPHES = "'\u2019\u02bc\u2018"
_JOINTS = re.compile(rf"[\s*_`\"\u201c\u201d{APOSTROPHES}&/\u00b7.{re.escape(HYPHENS)}]*")
_PARTING = re.compile(r"[,;:()!?\u2013\u2014]")
_CAMEL = re.compile(r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_SHORT = 3  # letters of an abbreviation within a name ("St. John")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text.

    Attributes:
        start, end: where it stands.
        facts: handles of the facts about what it names.
        within: it is told to be part of a longer name, by what stands beside it: the rule's name.
    """

    start: int
    end: int
    facts: tuple[int, ...]
    within: str | None = None


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
    return _resolve(text, read, 0, lambda at: _longest(text, read, at, names))


class NameReader:
    """Finds names in a text that grows: the same as `mentions`, word by word.

    Args:
        names: what they are looked up in.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._words: list[Word] = []
        self._starts: list[int] = []
        self._hits: dict[int, list[tuple[int, Sequence[int]]]] = {}

    def read(self, text: str) -> None:
        """Read on: what was read so far must be the beginning of `text`."""
        # The last word may have grown, and what was found to end with it may be none.
        cut = self._words[-1].start if self._words else 0
        if self._words:
            self._words.pop()
            self._starts.pop()
            self._drop(len(self._words))
        for word in words(text, cut):
            self._words.append(word)
            self._starts.append(word.start)
            self._ending(text, len(self._words) - 1)

    def _ending(self, text: str, last: int) -> None:
        """Remember the names that end with a word."""
        names, read = self._names, self._words
        for first in range(last, max(-1, last - names.longest), -1):
            if first < last and not _may_join(text, read[first], read[first + 1]):
                return
            handles = _name(text, read, first, last - first + 1, names)
            if handles:
                self._hits.setdefault(first, []).append((last - first + 1, handles))

    def crop(self, length: int) -> None:
        """Forget what stands behind the first so many characters."""
        while self._words and self._words[-1].start >= length:
            self._words.pop()
            self._starts.pop()
        self._drop(len(self._words))

    def fork(self) -> NameReader:
        """Another reader that has read the same."""
        other = NameReader(self._names)
        other._words, other._starts = self._words.copy(), self._starts.copy()
        other._hits = {first: hits.copy() for first, hits in self._hits.items()}
        return other

    def _drop(self, count: int) -> None:
        """Forget the names that do not end within the first so many words."""
        for first in [at for at in self._hits if at + self._hits[at][-1][0] > count]:
            kept = [hit for hit in self._hits[first] if first + hit[0] <= count]
            if kept:
                self._hits[first] = kept
            else:
                del self._hits[first]

    @property
    def any(self) -> bool:
        """Whether any name was found."""
        return bool(self._hits)

    def mentions(self, text: str, start: int = 0) -> list[Mention]:
        """The names found from a place on, which lies between two words."""
        if not self._hits:
            return []
        hits = self._hits
        return _resolve(
            text,
            self._words,
            bisect_left(self._starts, start),
            lambda at: hits[at][-1] if at in hits else None,
        )


def _resolve(
    text: str,
    read: Sequence[Word],
    at: int,
    longest: Callable[[int], tuple[int, Sequence[int]] | None],
) -> list[Mention]:
    """Of names that overlap the first, and of those that begin together the longest."""
    rules = lexicon()
    found: list[Mention] = []
    begin = at
    while at < len(read):
        hit = longest(at)
        if hit is None:
            at += 1
            continue
        count, handles = hit
        first, last = read[at], read[at + count - 1]
        end = last.end
        following = read[at + count] if at + count < len(read) else None
        if following and following.text in rules.company_forms and _adjoins(text, end, following):
            end = following.end
            count += 1
            following = read[at + count] if at + count < len(read) else None
        preceding = read[at - 1] if at > begin else None
        within = _within_longer(text, first, end, preceding, following, rules)
        found.append(Mention(first.start, end, tuple(handles), within))
        at += count
    return found


def _longest(
    text: str, read: Sequence[Word], at: int, names: Names
) -> tuple[int, Sequence[int]] | None:
    """How many words the longest name at a place has, and its facts."""
    found = None
    for count in range(1, min(names.longest, len(read) - at) + 1):
        if count > 1 and not _may_join(text, read[at + count - 2], read[at + count - 1]):
            break
        handles = _name(text, read, at, count, names)
        if handles:
            found = (count, handles)
    return found


def _name(text: str, read: Sequence[Word], at: int, count: int, names: Names) -> Sequence[int]:
    """The facts about the name that some words make, empty if they make none."""
    first = read[at]
    handles: Sequence[int] = ()
    if names.reach(first.text) >= count and not _after_apostrophe(text, read, at):
        some = read[at : at + count]
        handles = names.find([word.text for word in some])
        if handles and count > 1 and not _is_joined(text, some, names, handles):
            handles = ()
    if not handles and count == 1:
        parts = _split(text[first.start : first.end])
        if len(parts) > 1 and names.reach(parts[0]) >= len(parts):
            handles = names.find(parts)
    return handles


def _may_join(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words may be of one name, by what stands between them."""
    between = text[ahead.end : behind.start]
    return "\n\n" not in between and bool(_JOINTS.fullmatch(between) or _PARTING.search(between))


def _split(word: str) -> list[str]:
    """A word written together, taken apart at its capitals and digits: "NorvaleInstruments"."""
    return [part.text for piece in _CAMEL.split(word) for part in words(piece)]


def _after_apostrophe(text: str, read: Sequence[Word], at: int) -> bool:
    """The word is the "s" of "Finch's"; that of "l'ACME" is one of its own."""
    before = text[read[at].start - 1 : read[at].start]
    if not before or before not in APOSTROPHES or at == 0:
        return False
    ahead = read[at - 1]
    return ahead.end == read[at].start - 1 and (len(ahead.text) > 2 or len(read[at].text) == 1)


def _is_joined(text: str, read: Sequence[Word], names: Names, handles: Sequence[int]) -> bool:
    """What stands between the words of a name may stand there: spaces, hyphens, and signs that the
    name itself has."""
    signs = set()
    for ahead, behind in zip(read, read[1:], strict=False):
        between = text[ahead.end : behind.start]
        if "." in between and between.strip() != between and len(ahead.text) > _SHORT:
            signs.add(".")
        signs.update(_PARTING.findall(between))
    if not signs:
        return True
    return any(
        all(sign in spelling for sign in signs)
        for handle in handles[:8]
        for spelling in names.spellings(handle)
    )


def _adjoins(text: str, end: int, following: Word) -> bool:
    return text[end : following.start].strip(" \u00a0,") == "" and following.start - end <= 2


def _within_longer(
    text: str,
    first: Word,
    end: int,
    preceding: Word | None,
    following: Word | None,
    rules: Lexicon,
) -> str | None:
    """The rule by which a name is part of a longer name or number, None if it is not."""
    before, behind = text[: first.start][-2:], text[end : end + 2]
    if text[end - 1].isdigit() and behind[:1] in (".", ",", ":") and behind[1:].isdigit():
        return "number goes on"
    if first.text[0].isdigit() and before[-1:] in (".", ",") and before[:1].isdigit():
        return "number goes on"
    if behind[:1] in HYPHENS and behind[1:].isalnum():
        return "hyphen"
    if len(before) == 2 and before[-1] in HYPHENS and before[0].isalnum():
        return "hyphen"
    if following is not None and text[end : following.start] in (" ", "\u00a0"):
        shown = text[following.start : following.end]
        if shown[0].isdigit() and not _YEAR.fullmatch(shown):
            return "number follows"
        if _is_capitalised(shown, following.text, rules) and not _in_capitals(
            text, first.start, following.end
        ):
            return "capital follows"
    return None


def _is_capitalised(shown: str, folded: str, rules: Lexicon) -> bool:
    """Whether a word behind a name looks like a further part of it."""
    return (
        shown[0].isupper()
        and folded not in rules.function_words
        and folded not in rules.question_words
    )


def _in_capitals(text: str, start: int, end: int) -> bool:
    """Whether the words before a place, too, are all in capitals, so that one tells nothing."""
    here = text[max(0, start - 40) : end]
    return here.upper() == here
