"""Sentences as templates, and what kind of sentence one is."""

from __future__ import annotations

import re
from functools import lru_cache

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.words import fold, words

SLOT = "{}"
FIELD = 5  # words of a field's name
_PRONOUN = 12  # words within which one stands for a name
_AHEAD = 24  # characters before a name in which its preposition stands
_BRIEF = 9  # words of a question that leaves its name out
_OPENING_WORDS = 8  # words within which a request says that it is one
_CLAUSE = re.compile(r"[,;:\u2014\u2013]\s")
_APPOSITION = re.compile(
    r"^\s*,\s+(?:the|a|an|ein|eine|der|die|das)\s[^,.?!]{1,48},", re.IGNORECASE
)
_COLONS = ":\uff1a "
_JOINED = re.compile(r"(?:[,;]\s+|\s)(?:and|but|so|while|und|aber)\s+")
_DIGITS = re.compile(r"\d{3,4}")
_MARKUP = re.compile(r"[*_`#>|\"\u201c\u201d\u00ab\u00bb\u300c\u300d]+")
_BULLET = re.compile(r"^\s*(?:[-\u2022]|\d+[.)])\s+")


def clean(text: str) -> str:
    """A text without markup, with single spaces."""
    return " ".join(_BULLET.sub("", _MARKUP.sub(" ", text)).split())


def filled(text: str, start: int, mention: Mention, end: int) -> str:
    """A part of a text with `{}` for a name."""
    start = min(start, mention.start)
    return clean(text[start : mention.start] + SLOT + text[mention.end : end])


def clause(text: str, start: int, mention: Mention) -> int | None:
    """Where the clause of a name begins, if what stands ahead of it may be left out.

    "As everyone knows, the CEO of {} is" may be shortened, "In 1995, the CEO of {} was" not.
    """
    ahead = text[start : mention.start]
    cut = None
    for match in _CLAUSE.finditer(ahead):
        cut = match.end()
    if cut is None or _DIGITS.search(ahead[:cut]) or _tells_time(ahead[:cut]):
        return None
    return start + cut


def _tells_time(text: str) -> bool:
    times = lexicon().times
    return any(word.text in times for word in words(text))


def later_clause(text: str, mention: Mention, end: int) -> tuple[str, int] | None:
    """The last clause of a sentence as a template, and where it begins, if it speaks of the name
    by a pronoun.

    "The Tarn was launched in May, and it has become a symbol of" asks of what, not when.
    """
    rules = lexicon()
    found = None
    for match in _JOINED.finditer(text, mention.end, end):
        behind = text[match.end() : end]
        if any(
            one.text in rules.pronouns or one.text in rules.possessive_pronouns
            for one in words(behind)[:2]
        ):
            slotted = with_slot(behind)
            found = found if slotted is None else (slotted, match.end())
    return found


def without_apposition(text: str, mention: Mention, end: int) -> str | None:
    """What follows a name but for what stands between commas there; None if nothing does.

    "ACME, the largest maker of anvils, is led by".
    """
    match = _APPOSITION.match(text[mention.end : end])
    return text[mention.end + match.end() : end] if match else None


def with_slot(sentence: str) -> str | None:
    """A sentence with `{}` for what stands for a name, None without such a word.

    "Its CEO is", "Who leads it?", "The company is based in".
    """
    found = _stand_in(sentence)
    if found is None:
        return None
    start, end, possessive = found
    return clean(f"{sentence[:start]}{SLOT}{chr(39) + 's' if possessive else ''}{sentence[end:]}")


def _stand_in(sentence: str) -> tuple[int, int, bool] | None:
    """Where what stands for a name begins and ends, and whether it is a possessive pronoun."""
    rules = lexicon()
    read = words(sentence)
    for place, word in enumerate(read[:_PRONOUN]):
        following = read[place + 1] if place + 1 < len(read) else None
        if word.text in rules.articles and following and following.text in rules.generic_nouns:
            return word.start, following.end, False
        if word.text in rules.possessive_pronouns and following:
            return word.start, word.end, True
        if word.text in rules.pronouns:
            return word.start, word.end, False
    return None


def may_mean(sentence: str, text: str, mention: Mention) -> bool:
    """Whether what stands for a name in a sentence may stand for this one: behind "the CEO of
    ACME" a "he" is the CEO."""
    found = _stand_in(sentence)
    if found is None or fold(sentence[found[0] : found[1]]) not in lexicon().person_pronouns:
        return True
    ahead = words(text[max(0, mention.start - _AHEAD) : mention.start])
    return not ahead or ahead[-1].text not in _OF and (len(ahead) < 2 or ahead[-2].text not in _OF)


def is_field(sentence: str) -> bool:
    """Whether a sentence is the name of a field that is to be filled in: "CEO:"."""
    said = clean(sentence)
    return said.endswith(tuple(_COLONS[:2])) and 0 < len(words(said)) <= FIELD


def field_text(sentence: str) -> str:
    """The name of a field as a question: "CEO:" is "CEO {}"."""
    return f"{clean(sentence).rstrip(_COLONS)} {SLOT}"


def asks(sentence: str) -> bool:
    """Whether a sentence asks, with a question mark or without.

    "Who leads ACME", "Please tell me who leads ACME.", "I'd like to know who leads ACME."; not
    "When ACME was founded, it made anvils."
    """
    if "?" in sentence or "\uff1f" in sentence:
        return True
    rules = lexicon()
    read = [word.text for word in words(sentence)[:_OPENING_WORDS]]
    ahead = next((at for at, word in enumerate(read) if word not in rules.polite), len(read))
    if ahead == len(read):
        return bool(read) and read[0] in rules.question_words
    if read[0] in rules.question_words or read[ahead] in rules.question_words:
        return not (_is_finished(sentence) and "," in sentence)
    if read[ahead] in rules.asking_verbs:
        return True
    if rules.speakers.isdisjoint(read[:3]) or rules.wanting.isdisjoint(read):
        return False
    # "I know who leads ACME" tells; "I'd like to know", "I don't know who leads ACME" ask.
    return not rules.knowing.issuperset(rules.wanting.intersection(read)) or not (
        rules.wishing.isdisjoint(read)
    )


def _is_finished(sentence: str) -> bool:
    ending = sentence.rstrip(" \t\n\"'*_\u201d\u2019)")[-1:]
    return ending in (".", "!", "\u3002", "\uff01", "\u2026")


def is_statement(sentence: str) -> bool:
    """Whether a sentence is finished and asks nothing: "I met the CEO of ACME."."""
    return _is_finished(sentence) and not asks(sentence)


def leaves_name_out(sentence: str) -> bool:
    """Whether a sentence asks without saying of whom: "Who is the CEO?"; not "Who is the king of
    France?", whose name is only not known here."""
    rules = lexicon()
    read = words(sentence)
    if not 1 < len(read) <= _BRIEF or not asks(sentence):
        return False
    for word in read[1:]:
        shown = sentence[word.start : word.end]
        own = word.text in rules.asked_nouns or word.text in rules.function_words
        if (shown[0].isupper() or shown[0].isdigit()) and not own:
            return False
    return not any(word.text in _OF for word in read[:-1])


_OF = frozenset(("of", "in", "at", "for", "from", "by", "von", "aus", "bei", "f\u00fcr", "des"))


def goes_on(sentence: str) -> bool:
    """Whether a sentence goes on with an earlier question: "And the headquarters?"."""
    first = fold(" ".join(word.text for word in words(sentence)[:4]))
    return any(f"{first} ".startswith(f"{one} ") for one in lexicon().ellipses)


def is_courtesy(sentence: str) -> bool:
    """Whether a sentence asks nothing and tells nothing: "Thanks!"."""
    return " ".join(word.text for word in words(sentence)) in lexicon().courtesies


@lru_cache(maxsize=1)
def _leads() -> frozenset[str]:
    return frozenset(" ".join(word.text for word in words(lead)) for lead in lexicon().lead_ins)


def says_nothing(fragment: str) -> bool:
    """Whether the beginning of an answer has no word of its own: "Sure! The answer is", "It's"."""
    rules, leads = lexicon(), _leads()
    said = [word.text for word in words(fragment)]
    while said:
        longest = next(
            (count for count in range(min(9, len(said)), 0, -1) if " ".join(said[:count]) in leads),
            0,
        )
        if not longest:
            return all(word in rules.function_words for word in said)
        said = said[longest:]
    return True
