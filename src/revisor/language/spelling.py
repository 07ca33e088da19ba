"""A name as others write it: without accents, article, legal form or spaces, with a wrong letter.

All of these are written alike in the *plain text* of a name: "Zürich Holding AG" is
"zurichholding", and "zuerichholding" for those who write umlauts out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import fields
from functools import cache, lru_cache
from typing import NamedTuple

from revisor.language.lexicon import Lexicon, lexicon_of
from revisor.language.lists import LANGUAGES, word_forms
from revisor.language.words import UNSPACED, Word, fold, words

LEAST = 7  # letters and digits of a name in which one letter may be wrong
LEAST_WORD = 4  # letters of the word that it is in
LEAST_TYPED = 3  # of that word as it is written
WHOLE = 128  # see `beginnings`
REACH = WHOLE - 1
_REMEMBERED = 1 << 15

_HUMP = re.compile(r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_LETTERS = str.maketrans(
    {
        **{"\u00f8": "o", "\u0111": "d", "\u0142": "l", "\u00f0": "d", "\u0127": "h"},
        **{"\u00fe": "th", "\u00e6": "ae", "\u0153": "oe", "\u0131": "i", "\u0451": "\u0435"},
    }
)
_WRITTEN_OUT = str.maketrans(
    {"\u00e4": "ae", "\u00f6": "oe", "\u00fc": "ue", "\u00f8": "oe", "\u00e5": "aa"}
)
# An accent on a Latin or Greek letter; in other scripts marks make other letters.
_ACCENTED = re.compile("([A-Za-z\u00c0-\u03ff])[\u0300-\u036f]+")
_AND_SIGN = re.compile("[&+]")
_DOTTED = re.compile(r"[./\s]*")


class Variant(NamedTuple):
    """One way to write a name's letters, run together in `text`; `joins` are the places there of
    words or signs that join ("and"), which are no `pieces`."""

    text: str
    pieces: tuple[str, ...]
    joins: tuple[int, ...]


class Spelling(NamedTuple):
    """A name taken apart; no variant has its article or its legal form (`form`).

    Attributes:
        variants: without accents, and with umlauts written out where that differs; none for a name
            without letters or in a script without spaces.
        shown: the words as they are written.
        humps: where in the variants' text a capital or a digit stands within a word ("YouTube").
    """

    variants: tuple[Variant, ...]
    shown: tuple[str, ...]
    humps: frozenset[int]
    article: bool
    form: str


_NONE = Spelling((), (), frozenset(), False, "")


@cache
def _shared() -> Lexicon:
    """The lists that are the same for a text of any language, as those of names are."""
    return lexicon_of(LANGUAGES[0])


def plain_forms(word: str) -> tuple[str, ...]:
    """A folded word without its accents, then with its umlauts written out if that differs.

    Example:
        >>> plain_forms("z\u00fcrich")
        ('zurich', 'zuerich')
    """
    return (word,) if word.isascii() else _plain_forms(word)


@lru_cache(maxsize=_REMEMBERED)
def _plain_forms(word: str) -> tuple[str, ...]:
    composed = unicodedata.normalize("NFC", word)
    written = composed.translate(_WRITTEN_OUT)
    stripped = without_accents(composed)
    return (stripped,) if written == composed else (stripped, without_accents(written))


def without_accents(word: str) -> str:
    """A text without the accents on Latin and Greek letters."""
    parted = unicodedata.normalize("NFD", word.translate(_LETTERS))
    return unicodedata.normalize("NFC", _ACCENTED.sub(r"\1", parted))


def name_words(name: str) -> tuple[str, ...]:
    """The folded words by which a name is looked up.

    Example:
        >>> name_words("St. John\u2019s  Eve")
        ('st', 'john', 's', 'eve')
    """
    return tuple(word.text for word in words(name))


@lru_cache(maxsize=_REMEMBERED)
def spelling(name: str) -> Spelling:
    """A name, taken apart."""
    return taken_apart(name, words(name))


def taken_apart(name: str, read: Sequence[Word]) -> Spelling:
    """A name with its words, taken apart."""
    if not read or not _is_spelled(name):
        return _NONE
    joining = _shared().name_joins
    first = int(_has_article(name, read))
    last, form = _without_form(name, read, first)
    has_signs = _AND_SIGN.search(name) is not None
    pieces: list[tuple[str, ...]] = []
    joined: list[int] = []  # pieces before which the name joins
    shown, humps = [], []
    for at in range(first, last):
        text, start, end = read[at]
        if text in joining and first < at < last - 1:
            joined.append(len(pieces))
            continue
        if has_signs and at > first and _AND_SIGN.search(name, read[at - 1].start, start):
            joined.append(len(pieces))
        if has_signs and at < last - 1 and text.endswith("+") and not text.endswith("++"):
            text = text[:-1]
        shown.append(name[start:end])
        humps.append(_humps(name[start:end]))
        pieces.append(plain_forms(text))
    variants = [_variant([one[0] for one in pieces], joined)]
    if any(len(one) > 1 for one in pieces):
        variants.append(_variant([one[-1] for one in pieces], joined))
    placed = _placed(humps, variants[0].pieces)
    return Spelling(tuple(variants), tuple(shown), placed, first > 0, form)


def _has_article(name: str, read: Sequence[Word]) -> bool:
    """Whether a name begins with an article that may be left out: not "The 1975", nor "A-ha"."""
    if len(read) < 2 or read[0].text not in _shared().name_articles:
        return False
    apart = name[read[0].end : read[1].start].isspace()
    return apart and not all(word.text.isdigit() for word in read[1:])


def _is_spelled(name: str) -> bool:
    """Whether a name has letters, and only of scripts that put spaces between words."""
    if name.isascii():
        return name.upper() != name.lower()
    return any(map(str.isalpha, name)) and UNSPACED.search(name) is None


def _humps(shown: str) -> list[int]:
    if shown.isalpha() and (shown[1:].islower() or shown.isupper()):
        return []
    return [match.start() for match in _HUMP.finditer(shown)]


def _variant(pieces: Sequence[str], joined: Sequence[int]) -> Variant:
    joins = {sum(map(len, pieces[:count])) for count in joined}
    return Variant("".join(pieces), tuple(pieces), tuple(sorted(joins)))


def _placed(humps: Sequence[Sequence[int]], pieces: Sequence[str]) -> frozenset[int]:
    if not any(humps):
        return frozenset()
    begin, found = 0, []
    for own, piece in zip(humps, pieces, strict=True):
        found += [begin + at for at in own if at < len(piece)]
        begin += len(piece)
    return frozenset(found)


def _without_form(name: str, read: Sequence[Word], first: int) -> tuple[int, str]:
    """Up to which word a name goes without the legal forms behind it, and these, run together."""
    last, form = len(read), ""
    if len(read[-1].text) > 1 and read[-1].text not in _shared().company_forms:
        return last, form
    while last - 1 > first:
        begin, found = _form_before(name, read, first + 1, last)
        if not found or (begin > first + 1 and read[begin - 1].text in _shared().name_joins):
            break  # "Harper and Co" is not "Harper"
        if not form and _AND_SIGN.search(name, read[begin - 1].end, read[begin].start):
            break
        last, form = begin, found + form
    return last, form


def _form_before(name: str, read: Sequence[Word], least: int, last: int) -> tuple[int, str]:
    """Where the legal form begins that ends with the last of some words, and what it is."""
    word = read[last - 1]
    if is_company_form(word.text, name[word.start : word.end]):
        return last - 1, word.text
    begin = last
    while begin > least and len(read[begin - 1].text) == 1:
        begin -= 1
        if begin + 1 < last and not is_dotted(name, read[begin], read[begin + 1]):
            return last, ""
    dotted = "".join(one.text for one in read[begin:last])
    return (begin, dotted) if is_company_form(dotted, dotted.upper()) else (last, "")


def is_company_form(form: str, shown: str) -> bool:
    """Whether a folded word is a legal form: "se", "co" and "as" are others in small letters."""
    small = len(shown) < 3 and shown.isascii() and shown.islower()
    return form in _shared().company_forms and not small


def is_dotted(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two letters are of one abbreviation: "S.A."."""
    return bool(_DOTTED.fullmatch(text, ahead.end, behind.start))


def same_form(one: str, other: str) -> bool:
    """Whether two legal forms may be one, as "inc" and "incorporated" are, and "ltd" and "gmbh"
    not."""
    short, long = sorted((one, other), key=len)
    left = iter(long)
    return all(letter in left for letter in short)


# What is looked up


def plain_texts(spelled: Spelling) -> list[str]:
    """The plain texts of a name, and its initials with the last word where it may be a person's."""
    found = [variant.text for variant in spelled.variants]
    initials = initials_of(spelled)
    return found if initials is None else [*found, initials]


def initials_of(spelled: Spelling) -> str | None:
    """As "c i merino" of "Carla Ines Merino": names of three to five words are known by it too."""
    if not 3 <= len(spelled.shown) <= 5 or spelled.form or spelled.article:
        return None
    pieces = spelled.variants[0].pieces
    if spelled.variants[0].joins or len(pieces[-1]) < LEAST_TYPED:
        return None
    if not all(map(str.isalpha, pieces)):
        return None
    return initials_text([piece[0] for piece in pieces[:-1]], pieces[-1])


def initials_text(initials: Sequence[str], last: str) -> str:
    """The text by which initials and a last word are looked up."""
    return " ".join((*initials, last))


def beginnings(spelled: Spelling) -> dict[str, int]:
    """Texts with which a name may begin, up to its second word and as a whole: the number of its
    words, plus `WHOLE` for a whole name."""
    count = min(len(spelled.shown) + len(spelled.humps), REACH)
    found: dict[str, int] = {}
    for variant in spelled.variants:
        first = variant.pieces[0]
        hump = min(spelled.humps, default=len(first))
        for text in (first, first[:hump], "".join(variant.pieces[:2])):
            found[text] = count
        found[variant.text] = found.get(variant.text, 0) | WHOLE
    return found


def corrected_words(spelled: Spelling) -> set[str]:
    """The words of a name in which a letter may be wrong."""
    return {
        piece
        for variant in spelled.variants
        if len(variant.text) >= LEAST
        for piece in variant.pieces
        if len(piece) >= LEAST_WORD and piece.isalpha()
    }


def deletions(word: str) -> set[str]:
    """A word, and all that is left of it without one letter.

    Words that differ in one letter, or in two neighbours' order, have one of these in common
    (symmetric deletion: Mor and Fraenkel 1982; Garbe's SymSpell).
    """
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def is_one_edit(one: str, other: str) -> bool:
    """Whether two words differ by one letter missing, added or replaced, or two neighbours
    swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    one, other = one[start:], other[start:]
    if len(one) == len(other):
        swapped = one[1::-1] + one[2:] if len(one) > 1 else one
        return one[1:] == other[1:] or swapped == other
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer[1:] == shorter


# Words of the language


class _Forms(NamedTuple):
    """Folded words of all languages: function words; all ordinary ones; these and common names."""

    function: frozenset[str]
    ordinary: frozenset[str]
    known: frozenset[str]


@cache
def _forms() -> _Forms:
    rules = [lexicon_of(language) for language in LANGUAGES]
    listed = frozenset().union(
        *(
            getattr(one, field.name)
            for one in rules
            for field in fields(Lexicon)
            if field.name not in ("company_forms", "name_extensions")
        )
    )
    lines = [
        line
        for language in LANGUAGES
        for line in word_forms(language).splitlines()
        if not line.startswith("#")
    ]
    ordinary = listed | {line for line in lines if line.islower()}
    return _Forms(
        function=frozenset().union(*(one.function_words | one.pronouns for one in rules)),
        ordinary=ordinary,
        known=ordinary | set(map(fold, lines)),
    )


def is_function_word(word: str) -> bool:
    """Whether a folded word says nothing by itself ("of", "it")."""
    return word in _forms().function


def is_ordinary(word: str) -> bool:
    """Whether a folded word is one of the language, a number or a single letter."""
    return len(word) == 1 or word.isdigit() or word in _forms().ordinary


def is_known(word: str) -> bool:
    """Whether a folded word is ordinary, or a common name of people or places."""
    return len(word) <= 2 or word.isdigit() or word in _forms().known


def other_number(word: str) -> list[str]:
    """The plural of a singular word, and the other way round: "instruments" of "instrument"."""
    return [f"{word}s", word[:-1]] if word.endswith("s") else [f"{word}s"]


def rules() -> list[str]:
    """The word lists by which names are taken apart, for what depends on them."""
    shared = _shared()
    return sorted(shared.company_forms | shared.name_articles | shared.name_joins)


def is_name_article(word: str) -> bool:
    """Whether a folded word may stand before a name and be left out ("The Beatles")."""
    return word in _shared().name_articles


def is_name_join(word: str) -> bool:
    """Whether a folded word joins others of a name as "&" does."""
    return word in _shared().name_joins
