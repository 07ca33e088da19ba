"""Names that a talk goes on to call by a part of them, or by what they were told to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.spelling import without_accents
from revisor.language.turns import Turn
from revisor.language.words import Word, words

_WORDS = 3  # most words of such a part
_TOLD = 8  # words behind a name within which a noun tells what it is

_Known = dict[tuple[str, ...], list[Mention]]


@lru_cache(maxsize=256)
def shortened(
    text: str, mentions: tuple[Mention, ...], spoken: tuple[Turn, ...]
) -> tuple[tuple[Mention, Mention], ...]:
    """Short forms of names in the turns that ask, each with the mention it stands for: "the Pro"
    behind "the Orrin 8 Pro", "that festival", "the phone" behind "The Orrin 8 is a phone".

    None where two names share the part, or it begins another name ("the bank of Farrow").
    """
    known: _Known = {}
    found: list[tuple[Mention, Mention]] = []
    ahead = 0
    for turn in spoken:
        read, rules = words(text[turn.start : turn.end]), lexicon(text[turn.start : turn.end])
        talks = turn.role == "asks" and (turn.marked or turn.name in rules.talk_labels)
        for at, word in enumerate(read):
            start = turn.start + word.start
            while ahead < len(mentions) and mentions[ahead].end <= start:
                _learn(text, mentions[ahead], rules, known)
                ahead += 1
            if not talks or word.text not in rules.articles:
                continue
            short = _short(text, turn, read, at + 1, rules, known)
            if short is not None and not _overlaps(short[0], mentions[ahead : ahead + 2]):
                found.append(short)
        while ahead < len(mentions) and mentions[ahead].end <= turn.end:
            _learn(text, mentions[ahead], rules, known)
            ahead += 1
    return tuple(found)


def _overlaps(short: Mention, some: Sequence[Mention]) -> bool:
    return any(one.start < short.end and short.start < one.end for one in some)


def _learn(text: str, mention: Mention, rules: Lexicon, known: _Known) -> None:
    """Remember the short forms of a name."""
    for part in (*_parts(text[mention.start : mention.end], rules), *_told(text, mention, rules)):
        some = [one for one in known.get(part, []) if one.facts != mention.facts]
        known[part] = [*some, mention]


def _parts(name: str, rules: Lexicon) -> Iterator[tuple[str, ...]]:
    """A name's parts that may stand for it: last words, a first word for its kind, a number."""
    read = [word.text for word in words(name)]
    if len(read) > 1 and without_accents(read[0]) in rules.generic_nouns:
        yield (read[0],)
    for count in range(1, min(len(read), _WORDS + 1)):
        part = tuple(read[-count:])
        # "The price" is no short form of "Jane Price".
        taken = rules.asked_nouns | rules.person_nouns | rules.function_words
        if count > 1 or part[0] not in taken:
            yield part
    yield from ((word,) for word in read[1:-1] if word[0].isdigit())


def _told(text: str, mention: Mention, rules: Lexicon) -> Iterator[tuple[str, ...]]:
    """The noun that tells what a name is: "phone" of "ACME is a cheap phone with two cameras"."""
    behind = text[mention.end : mention.end + 80]
    read = words(behind)[:_TOLD]
    told = [word for word in read if word.text in rules.copulas][:1] == read[:1]
    if not read or not (told or behind.startswith(",")):
        return
    noun: Word | None = None
    some = read[told:]
    if not some or some[0].text not in rules.determiners:
        return
    for word in some[1:]:
        ends = noun is not None and behind[noun.end : word.start].strip()
        if word.text in rules.function_words or ends:
            break
        noun = word
    if noun is not None:
        yield (noun.text,)


def _short(
    text: str, turn: Turn, read: Sequence[Word], at: int, rules: Lexicon, known: _Known
) -> tuple[Mention, Mention] | None:
    """The longest part of a name that begins with a word, and the name."""
    for count in range(_WORDS, 0, -1):
        some = read[at : at + count]
        meant = known.get(tuple(word.text for word in some), [])
        if len(some) < count or len(meant) != 1:
            continue
        behind = read[at + count] if at + count < len(read) else None
        start, end = turn.start + some[0].start, turn.start + some[-1].end
        if behind is not None:
            follows = text[end : turn.start + behind.start] == " "
            shown = text[turn.start + behind.start]
            plain = behind.text in rules.function_words | rules.asked_nouns
            named = shown.isupper() and not plain
            # "The phone number" is no number of the phone.
            compound = {some[-1].text, behind.text} <= rules.asked_nouns
            if follows and (named or compound or behind.text in rules.naming_words):
                return None
        return Mention(start, end, meant[0].facts), meant[0]
    return None
