"""Names as they are looked up, and where a text mentions them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from revisor.language.lexicon import lexicon, lists
from revisor.language.lists import LANGUAGES
from revisor.language.longer import (
    Spot,
    forms_behind,
    in_capitals,
    is_plainly_written,
    longer_name,
    rules_beside,
)
from revisor.language.near import Near, facts_near
from revisor.language.paths import (
    BETWEEN,
    PARTING,
    SHORT,
    Names,
    Path,
    follows_apostrophe,
    paths_at,
)
from revisor.language.spelling import is_name_article, is_ordinary, name_words, same_form
from revisor.language.words import Word, fold, words

__all__ = [
    "Hit",
    "Mention",
    "Names",
    "may_join",
    "mentions",
    "name_words",
    "named",
    "resolve",
    "settle",
]

_TRAILING = re.compile(r"[^\w\s]+$")
_CAMEL = re.compile(r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
PLAIN_WORDS = "plain words"  # the rule by which they are no title
_ENDING = 1  # letters of an ending
_SPELLINGS = 8  # facts of which the spellings are compared with what a text has


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text, with the handles of the facts about what it names.

    `within` is the rule by which it is part of a longer name; `inner` has start, end and facts of
    the names that overlap it.
    """

    start: int
    end: int
    facts: tuple[int, ...]
    within: str | None = None
    inner: tuple[tuple[int, int, tuple[int, ...]], ...] = ()


Hit = tuple[int, Sequence[int]]  # how many words a name has, and its facts
NearHit = tuple[int, Sequence[Near]]  # the same of a name that is written otherwise


def mentions(text: str, names: Names) -> list[Mention]:
    """Where a text mentions names, in order: of names that overlap, the first; of those that begin
    together, the longest.

    A name written as in the facts comes before one written otherwise, unless the latter has it
    within.
    """
    if not names.longest:
        return []
    read = words(text)
    hits = {at: found for at in range(len(read)) if (found := _names_at(text, read, at, names))}
    exact = resolve(text, read, list(hits), hits.__getitem__, names)
    ends = {
        (first, first + size)
        for first, found in hits.items()
        for size, _ in found
        if not ending(read, first, size, names)
    }
    near: dict[int, list[NearHit]] = {}
    under_way: Sequence[Path] = ()
    for at in range(len(read)):
        under_way = paths_at(under_way, text, read, at, names)
        for path in under_way:
            first = path.places[0]
            facts = facts_near(path, text, read, names) if (first, at + 1) not in ends else []
            if facts:
                near.setdefault(first, []).append((at + 1 - first, facts))
    return settle(text, read, near, exact, names)


def resolve(
    text: str,
    read: Sequence[Word],
    places: Iterable[int],
    names_at: Callable[[int], Sequence[Hit]],
    names: Names,
    begin: int = 0,
    start: int = 0,
) -> list[Mention]:
    """Of names that overlap, the first, and of those that begin together the longest; but one that
    is part of a longer name gives way to one that goes on behind it ("of June" to "June Carroll").

    Args:
        begin: no word before this one counts.
        places: of the words with which names may begin, in order.
        names_at: for each such word, the number of words and the facts of each name; shorter first.
        start: what stands ahead of it does not count; places in the result are counted from it.
    """
    found: list[Mention] = []
    done, count = 0, len(read)
    for at in places:
        hits = [hit for hit in names_at(at) if _stands(text, read, at, hit[0], names, start)]
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
        end = read[at + size - 1].end - ending(read, at, size, names)
        forms = forms_behind(text, read, at + size, count, end)
        end, size = forms.end, size + forms.size
        following = read[at + size] if at + size < count else None
        begins = read[at].start - _sign_before(text, read[at].start, names, handles)
        end += _sign(text, end, names, handles)
        preceding = read[at - 1] if at > begin else None
        spot = Spot(text, start, read[at], end, size, preceding, following)
        shown = (begins - start, end - start, tuple(handles))
        within = longer_name(spot) or _plain_title(spot, names, handles)
        found.append(Mention(*shown, within, tuple(inner[:-1])))
        done = at + size
    return found


def _plain_title(spot: Spot, names: Names, handles: Sequence[int]) -> str | None:
    """The rule by which "the profession" is not "The Profession" where names have capitals."""
    article = spot.first.text
    if spot.size == 1 or not (is_name_article(article) or article in lexicon().articles):
        return None
    if not is_plainly_written(spot.text, spot.first.start, spot.end, spot.begin):
        return None
    is_title = all(one[1:] != one[1:].lower() for one in _spelled(names, handles))
    return PLAIN_WORDS if is_title else None


def settle(
    text: str,
    read: Sequence[Word],
    near: Mapping[int, Sequence[NearHit]],
    exact: Sequence[Mention],
    names: Names,
    begin: int = 0,
    start: int = 0,
) -> list[Mention]:
    """Exact mentions, and of those written otherwise the ones that overlap none or have one within.

    `near` has, by the place of the first word, the sizes and facts of such names; see `resolve`.
    """
    if not near:
        return list(exact)
    found: list[Mention] = []
    for first in sorted(near):
        sizes: dict[int, list[Near]] = {}
        for size, facts in near[first]:
            sizes.setdefault(size, []).extend(facts)
        for size in sorted(sizes, reverse=True):
            one = _as_written(text, read, first, size, sizes[size], names, exact, begin, start)
            if one is None or any(_yields(one, other) for other in exact):
                continue
            if not any(_overlap(one, other) for other in found):
                found.append(one)
    meant = [one for one in found if one.facts]
    left = [one for one in exact if not any(_overlap(one, other) for other in meant)]
    within = [replace(one, inner=_inner(one, exact)) for one in meant]
    return sorted([*left, *within], key=lambda one: one.start)


def _as_written(
    text: str,
    read: Sequence[Word],
    first: int,
    size: int,
    facts: Sequence[Near],
    names: Names,
    exact: Sequence[Mention],
    begin: int,
    start: int,
) -> Mention | None:
    """The mention of a name that is written otherwise; without facts where several may be meant.

    None where the words name nothing: "ACME Ltd" is not "ACME GmbH", and "ORCHID" among words in
    capitals is not "Orchid Inc.".
    """
    behind = first + size
    forms = forms_behind(text, read, behind, len(read), read[behind - 1].end)
    last = behind + forms.size
    following = read[last] if last < len(read) else None
    preceding = read[first - 1] if first > begin else None
    spot = Spot(text, start, read[first], forms.end, last - first, preceding, following)
    shouts = in_capitals(spot)
    stand = [
        one
        for one in facts
        if (not forms.text or not one.form or same_form(one.form, forms.text))
        and not (one.is_plain and shouts)
    ]
    if not stand:
        return None
    shown = (spot.first.start - start, forms.end - start, _one_owner(stand, names, exact))
    return Mention(*shown, longer_name(spot))


def _one_owner(facts: Sequence[Near], names: Names, exact: Sequence[Mention]) -> tuple[int, ...]:
    """The facts about the only subject that may be meant; none if several may be.

    A wrong letter counts for less than a legal form left out, and a subject that the text also
    names exactly comes first. Facts with one subject and different qualifiers count as several.
    """
    right = [one.handle for one in facts if not one.is_typed]
    by_owner: dict[tuple[tuple[str, ...], str], dict[int, str]] = {}
    for handle in right or [one.handle for one in facts]:
        subject, namespace, qualifier = names.owner(handle)
        by_owner.setdefault((_folded(subject), namespace), {})[handle] = qualifier
    meant = list(by_owner)
    if len(meant) > 1:
        named = {names.owner(handle)[:2] for one in exact for handle in one.facts}
        owners = {(_folded(subject), namespace) for subject, namespace in named}
        meant = [owner for owner in meant if owner in owners]
    if len(meant) != 1:
        return ()
    qualifiers = by_owner[meant[0]]
    several = len(set(qualifiers.values()) - {""}) > 1
    return tuple(handle for handle, own in qualifiers.items() if not (several and own))


@lru_cache(maxsize=1 << 12)
def _folded(subject: str) -> tuple[str, ...]:
    return name_words(subject)


def _overlap(one: Mention, other: Mention) -> bool:
    return one.start < other.end and other.start < one.end


def _yields(near: Mention, exact: Mention) -> bool:
    """Whether a name that is written otherwise is none, by the exact one that it overlaps."""
    if near.start == exact.start and exact.within is None and near.end - exact.end == _ENDING:
        return True  # "ACMEs"
    holds = near.start <= exact.start and exact.end <= near.end
    longer = near.end - near.start > exact.end - exact.start
    return _overlap(near, exact) and not (holds and longer)


def _inner(one: Mention, exact: Sequence[Mention]) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    return tuple(
        span
        for other in exact
        if _overlap(one, other)
        for span in ((other.start, other.end, other.facts), *other.inner)
    )


def _sign(text: str, end: int, names: Names, handles: Sequence[int]) -> int:
    """Characters behind a name's last word that are the name's own: the "!" of "Yahoo!"."""
    if text[end : end + 1].isspace() or end == len(text):
        return 0
    for spelled in _spelled(names, handles):
        signs = _TRAILING.search(spelled)
        # A single full stop may be the sentence's.
        if signs and signs.group() != "." and text.startswith(signs.group(), end):
            return len(signs.group())
    return 0


def _sign_before(text: str, start: int, names: Names, handles: Sequence[int]) -> int:
    """Characters before a name's first word that are its own: the "." of ".NET"."""
    if text[start - 1 : start] != "." or _is_amid(text, start):
        return 0
    return int(any(one.startswith(".") for one in _spelled(names, handles)))


def _is_amid(text: str, start: int) -> bool:
    """Whether a full stop stands within a word: the one of "ASP.NET"."""
    before = text[max(0, start - 2) : start]
    return before[-1:] == "." and before[0].isalnum()


def _lacks_sign(text: str, word: Word, names: Names, handles: Sequence[int]) -> bool:
    """Whether a plain word lacks a name's full stop: "net" is not ".NET", nor is "NET" in
    "ASP.NET"."""
    if not is_ordinary(word.text):
        return False
    spelled = [one for one in _spelled(names, handles) if name_words(one) == (word.text,)]
    if not spelled or not all(one.startswith(".") for one in spelled):
        return False
    if text[word.start - 1 : word.start] == ".":
        return _is_amid(text, word.start)
    shown = text[word.start : word.end]
    return all(one[1:] != shown for one in spelled)


def _spelled(names: Names, handles: Sequence[int]) -> Iterator[str]:
    for handle in handles[:_SPELLINGS]:
        yield from names.spellings(handle)


def _names_at(text: str, read: Sequence[Word], at: int, names: Names) -> list[Hit]:
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
    """The facts about the name that some words make; `reach` is needed only of a single word."""
    first = read[at]
    handles: Sequence[int] = ()
    if (count > 1 or reach) and not follows_apostrophe(text, read, at):
        some = read[at : at + count]
        handles = names.find([word.text for word in some])
        if handles and count > 1 and not _is_joined(text, some, names, handles):
            handles = ()
        elif handles and count == 1 and _lacks_sign(text, first, names, handles):
            return ()
    if not handles and count == 1:
        parts = _split(text[first.start : first.end])
        if len(parts) > 1 and names.reach(parts[0]) >= len(parts):
            handles = names.find(parts)
    return handles or _with_ending(text, read, at, count, names)


def _with_ending(
    text: str, read: Sequence[Word], at: int, count: int, names: Names
) -> Sequence[int]:
    """The facts about the name that some words make but for an ending: German "ACMEs"."""
    some = read[at : at + count]
    bare = _bare(some[-1].text)
    if not bare or (count == 1 and not names.reach(bare)) or follows_apostrophe(text, read, at):
        return ()
    handles = names.find([*(word.text for word in some[:-1]), bare])
    return handles if handles and (count == 1 or _is_joined(text, some, names, handles)) else ()


def ending(read: Sequence[Word], at: int, count: int, names: Names) -> int:
    """The letters of an ending by which the words of a hit are more than a name."""
    some = [word.text for word in read[at : at + count]]
    bare = _bare(some[-1])
    if not bare or names.find(some) or not names.find([*some[:-1], bare]):
        return 0
    return len(some[-1]) - len(bare)


def _stands(text: str, read: Sequence[Word], at: int, count: int, names: Names, start: int) -> bool:
    """Whether a hit is a name where it stands: its ending, if any, is one that the language puts on
    names, and something follows that may be the name's (not "Fords are", "von ACMEs")."""
    letters = ending(read, at, count, names)
    if not letters:
        return True
    end, behind = read[at + count - 1].end, at + count
    if behind == len(read) or text[end : read[behind].start] != " ":
        return False
    rules = rules_beside(text, start, read[at].start, end)
    return fold(text[end - letters : end]) in rules.genitive_endings


@cache
def _endings() -> frozenset[str]:
    return frozenset[str]().union(*(lists(one)["genitive_endings"] for one in LANGUAGES))


def _bare(word: str) -> str:
    """A word without its genitive ending; empty if it has none."""
    for last in _endings():
        if word.endswith(last) and len(word) > len(last) + 1:
            return word[: -len(last)]
    return ""


def may_join(text: str, ahead: Word, behind: Word) -> bool:
    """Whether two words may be of one name, by what stands between them."""
    between = text[ahead.end : behind.start]
    return between == " " or (len(between) <= BETWEEN and "\n\n" not in between)


def _split(word: str) -> list[str]:
    """A word written together, taken apart at its capitals and digits: "NorvaleInstruments"."""
    if word.islower() and word.isalpha():
        return []
    return [part.text for piece in _CAMEL.split(word) for part in words(piece)]


def _is_joined(text: str, read: Sequence[Word], names: Names, handles: Sequence[int]) -> bool:
    """Whether only spaces, hyphens and the name's own signs part the words: "at t" is not
    "AT&T"."""
    signs = set()
    for ahead, behind in zip(read, read[1:], strict=False):
        between = text[ahead.end : behind.start]
        if "." in between and between.strip() != between and len(ahead.text) > SHORT:
            signs.add(".")
        signs.update(PARTING.findall(between))
    whole = text[read[0].start : read[-1].end]
    spaced = len(whole) <= 2 * len(read) and "&" not in whole
    if not signs and not spaced:
        return True
    return any(
        all(sign in spelled for sign in signs) and not (spaced and "&" in spelled)
        for spelled in _spelled(names, handles)
    )
