"""Text as folded words with their places: what names are looked up by."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

# Scripts that put no spaces between words: each character is a word.
_UNSPACED = (
    "\u0e00-\u0e7f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
HYPHENS = "-\u2010\u2011"
APOSTROPHES = "'\u2019\u02bc\u2018"
_PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
UNSPACED = re.compile(f"[{_UNSPACED}{_PICTURES}]")
# Characters without a width, as texts that were copied have them within words: no part of a word.
_WIDTHLESS = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_DROPPED = dict.fromkeys(map(ord, _WIDTHLESS))


class Word(NamedTuple):
    """A word of a text, folded (`fold`), and where it stands."""

    text: str
    start: int
    end: int


_WORD = tuple.__new__  # as `Word` is made, but in a third of the time


@cache
def _pattern() -> re.Pattern[str]:
    letter = rf"[^\W_\u02bc{_UNSPACED}]"
    marks = f"[{_WIDTHLESS}{_marks()}]*"
    # "C++" and "C#" are not "C".
    return re.compile(rf"[{_UNSPACED}{_PICTURES}]{marks}|(?:{letter}{marks})+[+#]*")


@cache
def _marks() -> str:
    """Combining characters as ranges of a character class."""
    ranges: list[list[int]] = []
    for code in range(0x300, min(sys.maxunicode, 0x1FFFF)):
        if unicodedata.category(chr(code)) in ("Mn", "Mc"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def fold(text: str) -> str:
    """A word as all its spellings have it: NFKC, case folded, no zero-width characters."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text.translate(_DROPPED)).casefold()


@lru_cache(maxsize=1 << 14)
def is_unspaced(character: str) -> bool:
    """Whether a character is of a script without spaces between words, or a picture."""
    return len(words(character * 2)) == 2


def words(text: str, start: int = 0) -> list[Word]:
    """The words of a text from `start` on, in order: runs of letters and digits, of which an
    apostrophe, a hyphen or a full stop parts two; in scripts without spaces, each character.

    Example:
        >>> [word.text for word in words("Finch's C++ 2.0")]
        ['finch', 's', 'c++', '2', '0']
    """
    part = text[start:] if start else text
    if part.isascii():
        found = _pattern().finditer(part.lower())
        return [_WORD(Word, (one[0], start + one.start(), start + one.end())) for one in found]
    return [
        Word(fold(match.group()), match.start(), match.end())
        for match in _pattern().finditer(text, start)
    ]


def any_between(entries: Iterable[str]) -> str:
    """A pattern of any of some words between others, with spaces around it where a script has
    them."""
    some = sorted(entries, key=lambda entry: (-len(entry), entry))
    spaced = "|".join(re.escape(entry) for entry in some if not is_unspaced(entry[0]))
    others = "|".join(re.escape(entry) for entry in some if is_unspaced(entry[0]))
    ways = [rf"\s+(?:{spaced})\s+"] * bool(spaced) + [rf"\s*(?:{others})\s*"] * bool(others)
    return "|".join(ways) or "(?!)"
