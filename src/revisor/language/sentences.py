"""Where sentences begin and end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from revisor.language.lexicon import lexicon
from revisor.language.words import fold

_STOP = re.compile(
    r"""
    (?P<stop>[.!?\u2026]+(?:["'\u201d\u2019\u201c)\]*_]|[ \u00a0\u202f]?[\u00bb\u203a])*)
      (?=\s|$|[\u00bf\u00a1\u4e00-\u9fff])
  | (?P<wide>[\u3002\uff01\uff1f]+["\u201d\u2019\u300d\u300f\u300b\uff09]*)
  | (?P<line>\n)
    """,
    re.VERBOSE,
)
_MARK = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\n]")
_WORD_BEFORE = re.compile(r"([^\W\d_]+)[.!?\u2026]*$")
_WORD_BEHIND = re.compile(r"[\s\"'\u201c\u2018\u201e\u00ab(*_]*(\w+)")
_NUMBERED = frozenset(("no", "nr", "vol", "fig", "op", "pp"))  # abbreviations before a number
_LIST_ITEM = re.compile(r"\s*(?:[-*\u2022#>|]|\d+[.)])")
_SPACES = re.compile(r"\s*")
_WORD = 40  # characters before a stop among which the word before it is looked for
_CLOSERS = "\"'\u201d\u2019\u201c\u00bb\u203a)]"
_GOES_ON = re.compile(r"[ \t]+[a-z\u00df-\u00ff]")
_OPENERS = "\"'\u201c\u2018\u201e\u00ab([*_ \t"
_ORDINAL = re.compile(r"(?<!\d)\d{1,2}$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence without spaces around it; `stop` is ".", "?", a line break, or "" if it is
    unfinished."""

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

    No sentence ends within the spans `whole`, in order, such as names ("St. John's Eve").

    Example:
        >>> text = "Dr. Roe left. Who leads ACME now?"
        >>> [text[one.start : one.end] for one in sentences(text)]
        ['Dr. Roe left.', 'Who leads ACME now?', '']
    """
    end = len(text) if end is None else end
    found: list[Sentence] = []
    begin = read = start
    names = iter(whole)
    name = next(names, None)
    for mark in _MARK.finditer(text, start, end):
        match = _STOP.match(text, mark.start(), end) if mark.start() >= read else None
        if match is None:
            continue
        at, after = match.span()
        read = after
        while name is not None and name[1] <= at:
            name = next(names, None)
        if at < begin or (name is not None and name[0] < after):
            continue
        if match.lastgroup == "line":
            if not _breaks(text, begin, at, after, end):
                continue
        elif match.lastgroup == "stop" and not _stops(text, begin, match, end):
            continue
        stop = "?" if "?" in match.group() else text[at]
        _add(found, text, begin, after, stop)
        begin = after
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
    """Whether a stop ends a sentence, and not only a quotation, an abbreviation or a list's number.

    "Dr. Roe" and "J. Roe" go on, "in the U.S. The" and "ACME Inc. Its" do not; "No. 5" goes on,
    "No. Jane" does not; "'Who leads it?' asked Tom", "so... who leads it" and "am 3. Mai" go on.
    """
    if _GOES_ON.match(text, match.end(), end):
        said = match.group()
        if said[-1] in _CLOSERS or said == "\u2026" or (len(said) > 1 and set(said) == {"."}):
            return False
    if match.group()[0] != ".":
        return True
    before = text[max(begin, match.start() - _WORD) : match.start()]
    word = _WORD_BEFORE.search(before)
    following = _WORD_BEHIND.match(text, match.end(), end)
    behind = following.group(1) if following else ""
    if word is None:
        rules = lexicon(f"{text[begin : match.start()]} {behind}")
        ordinal = _ORDINAL.search(before) and fold(behind) in rules.after_ordinals
        return not (ordinal or before.strip(_OPENERS).isdigit())
    folded = fold(word.group(1))
    if folded not in lexicon(before).abbreviations:
        return True
    if folded in _NUMBERED:
        return not behind[:1].isdigit()
    rules = lexicon(text[match.end() : min(match.end() + _WORD, end)])
    return behind[:1].isupper() and fold(behind) in rules.function_words


def _breaks(text: str, begin: int, at: int, after: int, end: int) -> bool:
    """Whether a line break ends a sentence: not where a line is only wrapped."""
    before = text[begin:at].rstrip()
    if not before:
        return True
    behind = _SPACES.match(text, after, end)
    shown = behind.end() if behind else after
    if shown == end or text[after] in "\n\r" or _LIST_ITEM.match(text, after, end):
        return True
    if _LIST_ITEM.match(text, begin, at) or before[-1] in ":;|":
        return True
    return not (text[shown].islower() or before[-1] in ",-")
