"""Where sentences begin and end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from revisor.language.lexicon import lexicon

_STOP = re.compile(
    r"""(?P<stop>[.!?\u2026]+["'\u201d\u2019)\]*_]*)(?=\s|$)|(?P<wide>[\u3002\uff01\uff1f]["\u201d\u300d]*)|(?P<line>\n)""",
    re.VERBOSE,
)
_WORD_BEFORE = re.compile(r"([^\W\d_]+)[.!?\u2026]*$")
_LIST_ITEM = re.compile(r"\s*(?:[-*\u2022#>|]|\d+[.)])")
_OPENERS = "\"'\u201c\u2018([*_ \t"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        start, end: where it stands, without spaces around it.
        stop: what ends it: ".", "?", a line break "\\n", or "" where the text ends within it.
    """

    start: int
    end: int
    stop: str

    @property
    def is_question(self) -> bool:
        """It ends with a question mark."""
        return "?" in self.stop or "\uff1f" in self.stop


def sentences(
    text: str, start: int = 0, end: int | None = None, *, whole: Sequence[tuple[int, int]] = ()
) -> list[Sentence]:
    """The sentences between two places of a text; the last may be unfinished or empty.

    Args:
        whole: spans within which no sentence ends, such as names ("St. John's Eve").

    Example:
        >>> text = "Dr. Roe left. Who leads ACME now?"
        >>> [text[one.start : one.end] for one in sentences(text)]
        ['Dr. Roe left.', 'Who leads ACME now?', '']
    """
    end = len(text) if end is None else end
    found: list[Sentence] = []
    begin = start
    for match in _STOP.finditer(text, start, end):
        if match.start() < begin or any(a < match.end() and match.start() < b for a, b in whole):
            continue
        if match.lastgroup == "line":
            if not _breaks(text, begin, match.start(), match.end(), end):
                continue
        elif match.lastgroup == "stop" and not _stops(text, begin, match, end):
            continue
        stop = match.group()[:1]
        _add(found, text, begin, match.end(), stop)
        begin = match.end()
    _add(found, text, begin, end, "", last=True)
    return found


def _add(
    found: list[Sentence], text: str, start: int, end: int, stop: str, *, last: bool = False
) -> None:
    part = text[start:end]
    stripped = part.strip()
    if not stripped and not last:
        return
    begin = start + len(part) - len(part.lstrip()) if stripped else end
    found.append(Sentence(begin, begin + len(stripped), stop))


def _stops(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    """Whether a full stop ends a sentence, or an abbreviation or a number of a list."""
    if match.group()[0] != ".":
        return True
    before = text[begin : match.start()]
    word = _WORD_BEFORE.search(before)
    if word and word.group(1).casefold() in lexicon().abbreviations:
        following = text[match.end() : end].lstrip()
        # "in the U.S. The" ends one all the same; "Dr. Roe" and "J. Roe" do not.
        return len(word.group(1)) == 1 and _is_initialism(before) and following[:1].isupper()
    return not before.strip(_OPENERS).isdigit()


def _is_initialism(before: str) -> bool:
    return bool(re.search(r"\b[^\W\d_]\.[^\W\d_]$", before))


def _breaks(text: str, begin: int, at: int, after: int, end: int) -> bool:
    """Whether a line break ends a sentence: not where a line is only wrapped."""
    before, behind = text[begin:at].rstrip(), text[after:end]
    if not before:
        return True
    if not behind.strip() or behind[:1] in "\n\r" or _LIST_ITEM.match(behind):
        return True
    if _LIST_ITEM.match(text[begin:at]) or before[-1] in ":;|":
        return True
    return not (behind.lstrip()[:1].islower() or before[-1] in ",-")
