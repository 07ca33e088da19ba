"""Runs of words that may be a name which is written otherwise than in the facts, word by word.

A *path* may begin the plain text of a name (spelling.py). It grows by a word, as it stands or with
a letter put right. Where it is whole, near.py compares names with what stands in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple, Protocol

from revisor.language.spelling import (
    LEAST_TYPED,
    REACH,
    WHOLE,
    initials_text,
    is_function_word,
    is_known,
    is_name_join,
    is_ordinary,
    other_number,
    plain_forms,
)
from revisor.language.words import APOSTROPHES, HYPHENS, Word

# What parts words, unless the name itself has it; spaces, hyphens, quotes and markup do not.
PARTING = re.compile(rf"[^\s\w*`\"\u201c\u201d\u00b7&/.{APOSTROPHES}{re.escape(HYPHENS)}]")
_ENDINGS = frozenset(("s", "t", "d", "m", "re", "ve", "ll", "n"))  # behind an apostrophe
BETWEEN = 8  # characters between two words of a name
OVERTAKEN = 4  # words of the language in small letters with which a name may begin
SHORT = 3  # letters of an abbreviation within a name ("St. John")


class Names(Protocol):
    """What names are looked up in."""

    @property
    def longest(self) -> int: ...

    def reach(self, word: str) -> int: ...

    def find(self, words: Sequence[str]) -> Sequence[int]: ...

    def spellings(self, handle: int) -> Sequence[str]: ...

    def owner(self, handle: int) -> tuple[str, str, str]:
        """The subject of a fact, its namespace and its qualifier."""
        ...

    def beginning(self, text: str) -> int:
        """What `beginnings` tells of a text for any name, or more; 0 where no name begins so."""
        ...

    def near(self, text: str) -> Collection[int]:
        """The facts with a name of this plain text, and maybe others."""
        ...

    def corrections(self, word: str) -> Sequence[str]:
        """The words of names (`corrected_words`) that differ from one in one letter, and maybe
        those of names that are gone."""
        ...


class Path(NamedTuple):
    """Words of a text that may begin a name.

    Attributes:
        places: of the words; those that join others are passed over.
        pieces: the words' plain forms, one of them put right.
        text: the pieces run together; of initials what they are looked up by.
        joins: where in `text` a word or a sign joins ("and", "&").
        left: how many words may follow.
        whole: there may be a name of just this text.
        typed: which of the pieces is put right; -1 if none is.
        signs: what stands between the words that a name has to have there.
        is_plain: every word is one of the language.
        is_capital: the first word is written with a capital, and so are those of the others that
            are not small ones ("of").
    """

    places: tuple[int, ...]
    pieces: tuple[str, ...]
    text: str
    joins: tuple[int, ...]
    left: int
    whole: bool
    typed: int
    signs: str
    is_plain: bool
    is_capital: bool

    @property
    def may_be(self) -> bool:
        """Whether it may be a name, and not only words of the language in small letters; such are
        looked at again (`OVERTAKEN`) where a word follows that is none."""
        return self.is_capital or not self.is_plain


class Kind(NamedTuple):
    """What a word is.

    Attributes:
        forms: its plain forms.
        is_ordinary, is_rare: of the first of them.
    """

    forms: tuple[str, ...]
    is_ordinary: bool
    is_rare: bool


class Link(NamedTuple):
    """What stands between two words of a name.

    Attributes:
        joins: "&" or "+".
        signs: what a name has to have there.
    """

    joins: bool
    signs: str


_SPACE = Link(False, "")


@lru_cache(maxsize=1 << 15)
def kind_of(word: str) -> Kind:
    """What a folded word is."""
    forms = plain_forms(word)
    return Kind(forms, is_ordinary(forms[0]), not is_known(forms[0]))


def paths_at(
    under_way: Sequence[Path], text: str, read: Sequence[Word], at: int, names: Names
) -> Sequence[Path]:
    """The paths that end with a word, or may go on behind it.

    Args:
        under_way: those of the word before.
    """
    word = read[at]
    is_small = text[word.start].islower() and kind_of(word.text).is_ordinary
    if is_small and not under_way and not (at and kind_of(read[at - 1].text).is_rare):
        return ()  # most words of most texts
    return _Word(text, read, at, names).paths(under_way)


class _Word:
    """One word of a text, by which paths grow; see `paths_at`."""

    def __init__(self, text: str, read: Sequence[Word], at: int, names: Names) -> None:
        self._text, self._read, self._at, self._names = text, read, at, names
        self._kind = kind_of(read[at].text)

    def paths(self, under_way: Sequence[Path]) -> list[Path]:
        """The paths that end with it."""
        text, read, at = self._text, self._read, self._at
        rare = not self._kind.is_ordinary
        capital = not text[read[at].start].islower()
        link = link_of(text, read[at - 1], read[at]) if at else None
        found: list[Path] = []
        if link is not None:
            for path in under_way:
                found += self._longer(path, link)
            if rare:
                for path in self._overtaken():
                    found += self._longer(path, link)
            if not any(path.places == (at - 1, at) and path.typed < 0 for path in found):
                found += self._begun_apart(link)
        found = [path for path in found if path.may_be]
        if (rare or capital) and not follows_apostrophe(text, read, at):
            found += self._begun()
        if at and len(read[at - 1].text) == 1 and len(self._kind.forms[0]) >= LEAST_TYPED:
            found += _initials(text, read, at)
        return found

    def _begun(self) -> Iterator[Path]:
        """The paths that begin with it."""
        names, kind = self._names, self._kind
        for form in kind.forms:
            begins = names.beginning(form)
            if begins:
                yield self._first(form, begins)
        if kind.is_rare and _is_typed(kind.forms[0]):
            for right in names.corrections(kind.forms[0]):
                begins = names.beginning(right)
                if begins & REACH:
                    yield self._first(right, begins, typed=0)

    def _first(self, piece: str, begins: int = 0, typed: int = -1) -> Path:
        at = self._at
        return Path(
            places=(at,),
            pieces=(piece,),
            text=piece,
            joins=(),
            left=begins & REACH,
            whole=begins >= WHOLE,
            typed=typed,
            signs="",
            is_plain=self._kind.is_ordinary,
            is_capital=not self._text[self._read[at].start].islower(),
        )

    def _begun_apart(self, link: Link) -> Iterator[Path]:
        """The paths that begin with the word before it, if both are one that is written apart."""
        text, read, at, names = self._text, self._read, self._at, self._names
        if link.joins or not may_be_apart(text, read[at - 1], read[at]):
            return
        forms = product(kind_of(read[at - 1].text).forms, self._kind.forms)
        known = [(one, form) for one, form in forms if names.beginning(one + form)]
        if known and not follows_apostrophe(text, read, at - 1) and not is_name_join(read[at].text):
            ahead = _Word(text, read, at - 1, names)
            for one, form in known:
                yield self._grown(ahead._first(one), link, form)

    def _overtaken(self) -> Iterator[Path]:
        """The paths of words of the language in small letters that end before it: of "bank of" in
        "the bank of Norvale"."""
        text, read, at = self._text, self._read, self._at
        for first in range(at - 1, max(at - 1 - OVERTAKEN, -1), -1):
            ahead = _Word(text, read, first, self._names)
            if not ahead._kind.is_ordinary:
                return
            link = link_of(text, read[first], read[first + 1])
            if link is None:
                return
            if follows_apostrophe(text, read, first):
                continue
            paths = [path for path in ahead._begun() if path.left]
            for place in range(first + 1, at):
                if not paths:
                    break
                word = _Word(text, read, place, self._names)
                link = link_of(text, read[place - 1], read[place])
                paths = (
                    []
                    if link is None
                    else [longer for path in paths for longer in word._longer(path, link)]
                )
            yield from (path for path in paths if not path.may_be)

    def _longer(self, path: Path, link: Link) -> Iterator[Path]:
        """What becomes of a path by it."""
        kind = self._kind
        if is_name_join(self._read[self._at].text):
            yield path._replace(joins=_joined(path), whole=False, signs=path.signs + link.signs)
            return
        if path.left < 1:
            return
        for form in kind.forms:
            longer = self._grown(path, link, form)
            if longer.left or longer.whole:
                yield longer
        if path.typed >= 0 or not _is_typed(kind.forms[0]):
            return
        if kind.is_rare:
            rights: Iterable[str] = self._names.corrections(kind.forms[0])
        elif not path.is_plain:
            rights = other_number(kind.forms[0])
        else:
            return
        for right in rights:
            longer = self._grown(path, link, right)
            if longer.whole or (kind.is_rare and longer.left):
                yield longer._replace(typed=len(path.pieces))

    def _grown(self, path: Path, link: Link, piece: str) -> Path:
        """A path with one more piece."""
        joins = path.joins
        if path.text.endswith("+") and not path.text.endswith("++"):
            cut = path.pieces[-1][:-1]
            path = path._replace(text=path.text[:-1], pieces=(*path.pieces[:-1], cut))
            joins = _joined(path)
        elif link.joins:
            joins = _joined(path)
        whole = path.text + piece
        begins = self._names.beginning(whole)
        word = self._read[self._at]
        small = self._text[word.start].islower() and not is_function_word(word.text)
        return Path(
            places=(*path.places, self._at),
            pieces=(*path.pieces, piece),
            text=whole,
            joins=joins,
            left=left_after(path.left, len(path.pieces) + 1, begins & REACH, self._kind),
            whole=begins >= WHOLE,
            typed=path.typed,
            signs=path.signs + link.signs,
            is_plain=path.is_plain and self._kind.is_ordinary,
            is_capital=path.is_capital and not small,
        )


def left_after(left: int, count: int, reach: int, kind: Kind) -> int:
    """How many words may follow the words of a path.

    Args:
        left: behind all but the last of them.
        count: how many they are.
        reach: of the names that are known to begin so, by up to two of their own words.
        kind: of the last; if it is rare it may be the first part of a second one that is parted.
    """
    if reach:
        return reach
    return int(kind.is_rare) if count == 2 else left - 1


def _joined(path: Path) -> tuple[int, ...]:
    end = len(path.text)
    return path.joins if path.joins[-1:] == (end,) else (*path.joins, end)


def _is_typed(form: str) -> bool:
    """Whether a letter of a word may be wrong: not in a number, nor in a short word."""
    return len(form) >= LEAST_TYPED and form.isalpha()


def link_of(text: str, ahead: Word, behind: Word) -> Link | None:
    """What stands between two words; None if no name goes over it."""
    between = text[ahead.end : behind.start]
    if between == " ":
        return _SPACE
    if len(between) > BETWEEN or "\n\n" in between:
        return None
    signs = "".join(PARTING.findall(between.replace("+", "")))
    if "." in between and between.strip() != between and len(ahead.text) > SHORT:
        signs += "."
    return Link("&" in between or "+" in between, signs)


def may_be_apart(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words may be one that is written apart: by a hyphen, or because what it leaves is
    not two words of the language ("Nor vale")."""
    if is_hyphen(text, ahead, behind):
        return True
    return kind_of(ahead.text).is_rare or kind_of(behind.text).is_rare


def is_hyphen(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words are parted by a hyphen alone."""
    return ahead.end == behind.start - 1 and text[ahead.end] in HYPHENS


def follows_apostrophe(text: str, read: Sequence[Word], at: int) -> bool:
    """Whether a word is the "s" of "Finch's"; that of "l'ACME" is one of its own."""
    word = read[at]
    if at == 0 or word.text not in _ENDINGS or read[at - 1].end != word.start - 1:
        return False
    return text[word.start - 1] in APOSTROPHES


def _initials(text: str, read: Sequence[Word], at: int) -> Iterator[Path]:
    """ "C. I. Merino" and "Carla I. Merino", by which "Carla Ines Merino" may be meant."""
    first = at
    while first and _is_initial(text, read, first - 1):
        first -= 1
    if first == at:
        return
    begins = [first] if at - first > 1 else []
    if first and len(read[first - 1].text) > 1 and text[read[first - 1].start].isupper():
        begins.append(first - 1)
    for begin in begins:
        span = read[begin : at + 1]
        if all(link_of(text, one, other) for one, other in pairwise(span)):
            pieces = tuple(plain_forms(word.text)[0] for word in span)
            yield Path(
                places=tuple(range(begin, at + 1)),
                pieces=pieces,
                text=initials_text([piece[0] for piece in pieces[:-1]], pieces[-1]),
                joins=(),
                left=0,
                whole=True,
                typed=-1,
                signs="",
                is_plain=False,
                is_capital=True,
            )


def _is_initial(text: str, read: Sequence[Word], at: int) -> bool:
    start, end = read[at].start, read[at].end
    if len(read[at].text) > 1 or not text[start].isalpha():
        return False
    dotted = text[end : end + 1] == "."
    return (text[start].isupper() or dotted) and not follows_apostrophe(text, read, at)
