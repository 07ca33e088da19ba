"""Whether words of a text are a name that is written otherwise than in the facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from revisor.language.paths import (
    OVERTAKEN,
    Kind,
    Names,
    Path,
    is_hyphen,
    kind_of,
    left_after,
    may_be_apart,
    may_begin,
)
from revisor.language.spelling import (
    LEAST,
    LEAST_WORD,
    REACH,
    Spelling,
    Variant,
    beginnings,
    initials_of,
    is_function_word,
    is_known,
    is_ordinary,
    name_words,
    other_number,
    plain_forms,
    spelling,
    without_accents,
)
from revisor.language.words import Word

_CASED = 3  # letters up to which capitals are to be those of the name ("HP")
_LEAST_MERGED = 5  # letters of a name whose words may be written together
_CODE = 5  # letters of a word in capitals that may be an abbreviation
_ROMAN = re.compile(r"(?=.)m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})")
_DIGITS = re.compile(r"\d+")


class Near(NamedTuple):
    """A fact whose name the text writes in another way.

    `form`: the legal form that the text leaves out. `is_plain`: what is written are words of the
    language. `is_typed`: one letter is wrong.
    """

    handle: int
    form: str
    is_plain: bool
    is_typed: bool


def facts_near(path: Path, text: str, read: Sequence[Word], names: Names) -> list[Near]:
    """The facts about the names that a path makes, as it is written."""
    if not path.whole:
        return []
    known: dict[str, Near | None] = {}
    found = []
    for handle in names.near(path.text):
        ways = []
        for name in names.spellings(handle):
            if name not in known:
                known[name] = _way(path, text, read, name)
            way = known[name]
            if way is not None:
                ways.append(way)
        if ways:
            best = min(ways, key=lambda one: (one.is_typed, one.is_plain, one.form))
            found.append(best._replace(handle=handle))
    return found


def _way(path: Path, text: str, read: Sequence[Word], name: str) -> Near | None:
    """How a name is written; None if the words are another name, or lack one of its signs."""
    shown = [text[read[place].start : read[place].end] for place in path.places]
    spelled = spelling(name)
    if not path.joins and tuple(read[place].text for place in path.places) == name_words(name):
        return None
    if len(path.pieces) == 1 and not spelled.form and is_ordinary(path.text):
        return None  # "Police" is not "The Police"
    if path.text == initials_of(spelled):
        return Near(0, "", False, False) if _are_initials(path.pieces, spelled) else None
    if any(sign not in name for sign in path.signs):
        return None
    for variant in spelled.variants:
        if variant.text != path.text or variant.joins != path.joins:
            continue
        if path.typed >= 0:
            folded = plain_forms(read[path.places[path.typed]].text)[0]
            is_so = _is_mistyped(path, folded, shown, spelled, variant)
        else:
            is_so = _is_spaced(path, text, read, shown, spelled, variant)
        if is_so and _is_reached(path, text, read, spelled):
            return Near(0, spelled.form, path.is_plain, path.typed >= 0)
    return None


def _are_initials(pieces: Sequence[str], spelled: Spelling) -> bool:
    own = spelled.variants[0].pieces
    return len(own) == len(pieces) and all(
        piece == word or piece == word[0] for piece, word in zip(pieces, own, strict=True)
    )


def _is_mistyped(
    path: Path, folded: str, shown: Sequence[str], spelled: Spelling, variant: Variant
) -> bool:
    """Whether one letter of one word (`folded`) is wrong, and what is written is no other word.

    "Norvale Instrumnets" is "Norvale Instruments"; "Louis XVII" is not "Louis XVIII", "Tarn Pilot"
    not "Tarn Pivot".
    """
    at = path.typed
    if path.pieces != variant.pieces or len(path.text) < LEAST:
        return False
    right, typed = path.pieces[at], shown[at]
    if len(right) < LEAST_WORD or not right.isalpha():
        return False
    if any(one.isupper() and len(one) <= _CODE for one in (typed, spelled.shown[at])):
        return False
    if _ROMAN.fullmatch(folded) or _ROMAN.fullmatch(right):
        return False
    others = [piece for place, piece in enumerate(path.pieces) if place != at]
    if is_known(folded):
        return right in other_number(folded) and not all(map(is_known, others))
    if others:
        return True
    # "Marburg" is not "Warburg", and "Beatle" is one of "Beatles".
    return right != f"{folded}s" and (right[0] == folded[0] or right[1::-1] == folded[:2])


def _is_spaced(
    path: Path,
    text: str,
    read: Sequence[Word],
    shown: Sequence[str],
    spelled: Spelling,
    variant: Variant,
) -> bool:
    """Whether a name is written without spaces ("Norvaleinstruments"), with one at a capital ("You
    Tube") or with one elsewhere ("Norva le"); numbers stay whole."""
    here, there = _ends(path.pieces), _ends(variant.pieces)
    added, merged = here - there, there - here
    apart = added - spelled.humps
    whole = len(path.text)
    if _numbers(path.pieces) != _numbers(variant.pieces):
        return False
    cased = whole <= _CASED or (added and whole < LEAST)
    if cased and without_accents("".join(shown)) != without_accents("".join(spelled.shown)):
        return False
    if len(path.pieces) == 1 and is_function_word(path.pieces[0]):
        return False
    if (added or merged) and whole < _LEAST_MERGED:
        return False
    if apart and (len(apart) > 1 or merged or whole < LEAST):
        return False
    if apart and not _may_part(path, text, read, apart.pop()):
        return False
    return not any(
        is_known(piece) and any(end - len(piece) < at < end for at in merged)
        for piece, end in _with_ends(path.pieces)
    )


def _may_part(path: Path, text: str, read: Sequence[Word], at: int) -> bool:
    """Whether a word may be parted where it is."""
    place = next(count for count, (_, end) in enumerate(_with_ends(path.pieces)) if end == at)
    ahead, behind = (read[path.places[place + one]] for one in (0, 1))
    alone = text[ahead.end : behind.start].isspace() or is_hyphen(text, ahead, behind)
    return alone and may_be_apart(text, ahead, behind)


def _ends(pieces: Sequence[str]) -> set[int]:
    """Where pieces that are run together meet."""
    return {end for _, end in _with_ends(pieces[:-1])}


def _with_ends(pieces: Sequence[str]) -> Iterator[tuple[str, int]]:
    end = 0
    for piece in pieces:
        end += len(piece)
        yield piece, end


def _numbers(pieces: Sequence[str]) -> list[str]:
    return [number for piece in pieces for number in _DIGITS.findall(piece)]


def _is_reached(path: Path, text: str, read: Sequence[Word], spelled: Spelling) -> bool:
    """Whether a path comes so far by this name alone, whatever others are known."""
    known, pieces = beginnings(spelled), path.pieces
    kinds = [kind_of(read[place].text) for place in path.places]
    left, whole = known.get(pieces[0], 0) & REACH, pieces[0]
    for count, piece in enumerate(pieces[1:], 2):
        if left < 1:
            first, second = (read[place] for place in path.places[:2])
            if count > 2 or not may_be_apart(text, first, second):
                return False
        whole += piece
        left = left_after(left, count, known.get(whole, 0) & REACH, kinds[count - 1])
    return _is_begun(path, text, read, kinds)


def _is_begun(path: Path, text: str, read: Sequence[Word], kinds: Sequence[Kind]) -> bool:
    """Whether a path would begin here: with a capital, or ahead of a word not of the language."""
    first = path.places[0]
    rare = [at for at, kind in zip(path.places, kinds, strict=True) if not kind.is_ordinary]
    if rare and rare[0] <= first + OVERTAKEN:
        return True
    second = read[path.places[-1] if len(kinds) == 1 else first + 1]
    begins = any(may_begin(text, word, kind_of(word.text)) for word in (read[first], second))
    return path.is_capital and begins
