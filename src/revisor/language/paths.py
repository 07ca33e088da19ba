"""Runs of words that may be a name which is written otherwise than in the facts, word by word.

A *path* may begin the plain text of a name (spelling.py). It grows by a word, as it stands or with
a letter put right. Where it is whole, near.py compares names with what stands in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
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
        """The words of names (`corrected_words`) one letter away, maybe with some that are gone."""
        ...


class Path(NamedTuple):
    """Words of a text that may begin a name.

    Attributes:
        places: of the words; those that join others are passed over.
        pieces: the words' plain forms, that at `typed` corrected; -1 if none is.
        text: the pieces run together; of initials what they are looked up by.
        joins: where in `text` a word or a sign joins ("and", "&").
        left: how many words may follow.
        whole: there may be a name of just this text.
        signs: what stands between the words that a name has to have there.
        is_plain: every word is one of the language.
        is_capital: all words but function words have a capital, and so has the first.
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
        """Whether it may be a name, and not only plain words; these are looked at again
        (`OVERTAKEN`)."""
        return self.is_capital or not self.is_plain


class Kind(NamedTuple):
    """What a word is: `is_ordinary` and `is_rare` are told of the first of its plain forms."""

    forms: tuple[str, ...]
    is_ordinary: bool
    is_rare: bool
    is_function: bool


class Link(NamedTuple):
    """What stands between two words of a name: "&" or "+" joins, `signs` are in the name, too."""

    joins: bool
    signs: str


_SPACE = Link(False, "")


@lru_cache(maxsize=1 << 15)
def kind_of(word: str) -> Kind:
    """What a folded word is."""
    forms = plain_forms(word)
    return Kind(forms, is_ordinary(forms[0]), not is_known(forms[0]), is_function_word(word))


def paths_at(
    under_way: Sequence[Path], text: str, read: Sequence[Word], at: int, names: Names
) -> Sequence[Path]:
    """The paths that end with a word or may go on behind it, from those of the word before."""
    kind = kind_of(read[at].text)
    begins = may_begin(text, read[at], kind)
    if not begins and not under_way and not (at and kind_of(read[at - 1].text).is_rare):
        return ()  # most words of most texts
    return _Word(text, read, at, names, kind).paths(under_way, begins)


class _Word:
    """One word of a text, by which paths grow; see `paths_at`."""

    __slots__ = ("_at", "_is_small", "_kind", "_names", "_read", "_text")

    def __init__(
        self, text: str, read: Sequence[Word], at: int, names: Names, kind: Kind | None = None
    ) -> None:
        self._text, self._read, self._at, self._names = text, read, at, names
        self._kind = kind or kind_of(read[at].text)
        self._is_small = text[read[at].start].islower()

    def paths(self, under_way: Sequence[Path], begins: bool) -> list[Path]:
        """The paths that end with it; `begins`: one may begin with it."""
        text, read, at, kind = self._text, self._read, self._at, self._kind
        found: list[Path] = []
        overtakes = at and (not kind.is_ordinary or (begins and self._follows_function_word()))
        if under_way or overtakes or (at and may_be_apart(text, read[at - 1], read[at])):
            link = link_of(text, read[at - 1], read[at])
            if link is not None:
                found += self._going_on(under_way, link, bool(overtakes))
        if begins and not follows_apostrophe(text, read, at):
            found += self._begun()
        if at and len(read[at - 1].text) == 1 and len(kind.forms[0]) >= LEAST_TYPED:
            found += _initials(text, read, at)
        return found

    def _going_on(self, under_way: Sequence[Path], link: Link, overtakes: bool) -> Iterator[Path]:
        found = []
        for path in under_way:
            found += self._longer(path, link)
        if overtakes:
            for path in self._overtaken():
                found += self._longer(path, link)
        found = [path for path in found if path.may_be]
        yield from found
        if may_be_apart(self._text, *self._read[self._at - 1 : self._at + 1]):
            yield from self._begun_apart(link, found)

    def _begun(self) -> list[Path]:
        names, kind = self._names, self._kind
        found = []
        for form in kind.forms:
            begins = names.beginning(form)
            if form.endswith("+"):
                begins = begins & WHOLE | names.beginning(form[:-1]) & REACH
            if begins:
                found.append(self._first(form, begins))
        if kind.is_rare and _is_typed(kind.forms[0]):
            for right in names.corrections(kind.forms[0]):
                begins = names.beginning(right)
                if begins & REACH:
                    found.append(self._first(right, begins, typed=0))
        return found

    def _first(self, piece: str, begins: int, typed: int = -1) -> Path:
        return Path(
            places=(self._at,),
            pieces=(piece,),
            text=piece,
            joins=(),
            left=begins & REACH,
            whole=begins >= WHOLE,
            typed=typed,
            signs="",
            is_plain=self._kind.is_ordinary,
            is_capital=not self._is_small,
        )

    def _begun_apart(self, link: Link, others: Sequence[Path]) -> Iterator[Path]:
        """The paths that begin with the word before it, the two being one word written apart."""
        text, read, at, names = self._text, self._read, self._at, self._names
        if link.joins or is_name_join(read[at].text) or follows_apostrophe(text, read, at - 1):
            return
        for one, form in product(kind_of(read[at - 1].text).forms, self._kind.forms):
            begins = names.beginning(one + form)
            if begins and not any(path.pieces == (one, form) for path in others):
                first = _Word(text, read, at - 1, names)._first(one, 0)
                longer = self._grown(first, link, form)
                if longer is not None and longer.may_be:
                    yield longer

    def _follows_function_word(self) -> bool:
        """Whether it stands behind a function word with a capital, as in "You Tube"."""
        ahead = self._read[self._at - 1]
        return kind_of(ahead.text).is_function and not self._text[ahead.start].islower()

    def _overtaken(self) -> Iterator[Path]:
        """The paths not begun at a plain word before: "bank of" in "the bank of Norvale"."""
        text, read, at, names = self._text, self._read, self._at, self._names
        for first in range(at - 1, max(at - 1 - OVERTAKEN, -1), -1):
            link, kind = link_of(text, read[first], read[first + 1]), kind_of(read[first].text)
            if link is None or not kind.is_ordinary:
                return
            if follows_apostrophe(text, read, first) or not self._goes_on(first, kind):
                continue
            paths = _Word(text, read, first, names, kind)._begun()
            was_begun = may_begin(text, read[first], kind)
            for place in range(first + 1, at):
                if not paths:
                    break
                word = _Word(text, read, place, names)
                link = link_of(text, read[place - 1], read[place])
                paths = [longer for path in paths for longer in word._longer(path, link)]
            yield from (path for path in paths if not (was_begun and path.may_be))

    def _goes_on(self, first: int, kind: Kind) -> bool:
        """Whether a name may begin with an ordinary word before it and go on with the next."""
        following, names = kind_of(self._read[first + 1].text), self._names
        if first + 1 == self._at or is_name_join(self._read[first + 1].text):
            return True
        return any(
            names.beginning(one + form) & REACH for one in kind.forms for form in following.forms
        )

    def _longer(self, path: Path, link: Link | None) -> list[Path]:
        """What becomes of a path by it."""
        if link is None:
            return []
        kind = self._kind
        if kind.is_ordinary and is_name_join(self._read[self._at].text):
            joins = _joined(path)
            return [path._replace(joins=joins, whole=False, signs=path.signs + link.signs)]
        if path.left < 1:
            return []
        found = [self._grown(path, link, form) for form in kind.forms]
        if path.typed < 0 and not path.is_plain or kind.is_rare:
            found += self._put_right(path, link)
        return [longer for longer in found if longer is not None]

    def _put_right(self, path: Path, link: Link) -> Iterator[Path | None]:
        """What becomes of a path by a word with a wrong letter, or in its other number."""
        kind, form = self._kind, self._kind.forms[0]
        if path.typed >= 0 or not _is_typed(form):
            return
        rights = self._names.corrections(form) if kind.is_rare else other_number(form)
        for right in rights:
            longer = self._grown(path, link, right)
            if longer is not None and (longer.whole or kind.is_rare):
                yield longer._replace(typed=len(path.pieces))

    def _grown(self, path: Path, link: Link, piece: str) -> Path | None:
        """A path with one more piece; None if no name is so, nor goes on."""
        joins = path.joins
        if path.text.endswith("+") and not path.text.endswith("++"):
            cut = path.pieces[-1][:-1]
            path = path._replace(text=path.text[:-1], pieces=(*path.pieces[:-1], cut))
            joins = _joined(path)
        elif link.joins:
            joins = _joined(path)
        whole = path.text + piece
        begins, kind = self._names.beginning(whole), self._kind
        left = left_after(path.left, len(path.pieces) + 1, begins & REACH, kind)
        if left < 1 and begins < WHOLE:
            return None
        return Path(
            places=(*path.places, self._at),
            pieces=(*path.pieces, piece),
            text=whole,
            joins=joins,
            left=left,
            whole=begins >= WHOLE,
            typed=path.typed,
            signs=path.signs + link.signs,
            is_plain=path.is_plain and kind.is_ordinary,
            is_capital=path.is_capital and (kind.is_function or not self._is_small),
        )


def left_after(left: int, count: int, reach: int, kind: Kind) -> int:
    """How many words may follow a path of `count` words, the last of them of this kind.

    `left` is what might follow all but the last, `reach` what follows names known to begin so.
    Behind two words a rare one may be the first part of a second word that is written apart.
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


def may_begin(text: str, word: Word, kind: Kind) -> bool:
    """Whether a name may begin with a word as it is written: it is not of the language, or has a
    capital, or is a function word all in capitals ("AT")."""
    if not kind.is_ordinary or text[word.start].islower():
        return not kind.is_ordinary
    shown = text[word.start : word.end]
    return not kind.is_function or (len(shown) > 1 and shown.isupper())


def may_be_apart(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words may be one written apart: one of them is rare ("Nor vale"), or a hyphen
    shows it ("Face-Book")."""
    kind = kind_of(behind.text)
    if kind.is_rare or kind_of(ahead.text).is_rare:
        return True
    return is_hyphen(text, ahead, behind) and may_begin(text, behind, kind)


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
    """As "C. I. Merino" and "Carla I. Merino", by which "Carla Ines Merino" may be meant."""
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
