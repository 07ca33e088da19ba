"""Whether a name in a text is part of a longer name or number: one function a rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from revisor.language.lexicon import Lexicon, lexicon, lists
from revisor.language.lists import LANGUAGES
from revisor.language.spelling import is_company_form, is_dotted, is_ordinary
from revisor.language.words import HYPHENS, Word, fold, is_unspaced, words

# What parts two words of a line, wide or narrow.
_SPACES = frozenset(
    " \u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")
_OPENS_SENTENCE = re.compile(
    r"(?:^|[.!?:;\n>|\]\u2026\u3002\uff01\uff1f\u00bf\u00a1])[\s\"'\u201c\u2018\u201e\u00ab(*_`#-]*$"
)
_WORD_AHEAD = re.compile(r"(\w+)\s+$")
_AHEAD = re.compile(r"[^\n.!?|<>\u3002\uff01\uff1f]*$")  # of a name's sentence
_BEHIND = re.compile(r"[^\n.!?|<>\u3002\uff01\uff1f]*")
_FULL_STOP = re.compile(r"\.(?=,|\s[a-z\u00df-\u00ff])")  # of a form: a sentence goes on behind it
_NUMBERED = re.compile(r"\.\s?\d")
_VERBAL = re.compile(r"(?:ing|ed|ly)$")
_BEHIND_PARTICLE = re.compile(r"\s(?:(?:der|den|la|las|los)\s)?(\w)")
_CAPITAL = re.compile(r"\b[^\W\d_]\w+")
_NOUN = re.compile(r" [^\W\d_A-Z]")
_AROUND = 40  # characters around a name by which a text is told to be in capitals
_WIDE = 8  # characters of the longest legal form in Chinese
_NEAR = 80  # characters beside a name by which the language is told


class Spot(NamedTuple):
    """A name, and the words beside it; what stands before `begin` does not count."""

    text: str
    begin: int
    first: Word
    end: int
    size: int
    preceding: Word | None
    following: Word | None


def longer_name(spot: Spot) -> str | None:
    """The rule by which a name is part of a longer name or number, None if it is not."""
    spaced = spot.text[spot.end : spot.end + 1] in _SPACES
    for rule, applies in _BY_KIND[spaced, spot.size == 1]:
        if applies(spot):
            return rule
    return None


class Forms(NamedTuple):
    """The legal forms behind a company's name ("ACME Co. KG"), folded and run together in
    `text`."""

    end: int
    size: int
    text: str


def forms_behind(text: str, read: Sequence[Word], at: int, stop: int, end: int) -> Forms:
    """The legal forms behind a name that ends at `end`, among the words from `at` to `stop`."""
    found = Forms(end, 0, "")
    while (place := at + found.size) < stop:
        gap = text[found.end : read[place].start]
        signs, most = (", \u00a0.&", 3) if found.size else (", \u00a0", 2)
        if len(gap) > most or gap.strip(signs):
            break
        last = _form_end(text, read, place, stop)
        form = "".join(word.text for word in read[place : last + 1])
        shown = text[read[place].start : read[last].end]
        if not is_company_form(form, shown):
            break
        found = Forms(read[last].end, last + 1 - at, found.text + form)
    if found.size and _FULL_STOP.match(text, found.end):
        return found._replace(end=found.end + 1)
    return found


def _form_end(text: str, read: Sequence[Word], place: int, stop: int) -> int:
    """The last word of a legal form; of "S.A." and of Chinese forms each letter is a word."""
    last = place
    if is_unspaced(text[read[place].start]):
        for last in range(min(place + _WIDE, stop) - 1, place, -1):
            form = "".join(word.text for word in read[place : last + 1])
            if form == text[read[place].start : read[last].end] and is_company_form(form, form):
                break
        return last
    while last + 1 < stop and len(read[last + 1].text) == len(read[last].text) == 1:
        if not is_dotted(text, read[last], read[last + 1]):
            break
        last += 1
    return last


def number_goes_on(spot: Spot) -> bool:
    """As "Apollo 1" in "Apollo 1.5", "5" in "2,500"."""
    text, end, start = spot.text, spot.end, spot.first.start
    if text[end - 1].isdigit() and text[end : end + 1] in (".", ",", ":"):
        return text[end + 1 : end + 2].isdigit()
    if spot.first.text[0].isdigit() and start - 2 >= spot.begin and text[start - 1] in ".,":
        return text[start - 2].isdigit()
    return False


def address(spot: Spot) -> bool:
    """As "ACME" in "https://acme.com", "www.acme.com" and "info@acme.com"."""
    text, end, start = spot.text, spot.end, spot.first.start
    if text[start - 1 : start] in ("@", "/") and start - 1 >= spot.begin:
        return True
    if text[end : end + 1] == "@" or text[max(spot.begin, start - 4) : start].lower() == "www.":
        return text[end : end + 2].rstrip() != "@"
    return False


def hyphen(spot: Spot) -> bool:
    """As "Tarn 400" in "Tarn 400-X", "Royce" in "Rolls-Royce"; not in German "der ACME-Chef"."""
    text, end, start = spot.text, spot.end, spot.first.start
    if text[end : end + 1] and text[end] in HYPHENS and text[end + 1 : end + 2].isalnum():
        return spot.following is None or spot.following.text not in _rules(spot).compounds
    return start - 2 >= spot.begin and text[start - 1] in HYPHENS and text[start - 2].isalnum()


def script_goes_on(spot: Spot) -> bool:
    """A run of Katakana is one word, though each of its signs is looked up."""
    text, end, start = spot.text, spot.end, spot.first.start
    if _is_katakana(text[end - 1]) and end < len(text) and _is_katakana(text[end]):
        return True
    return start > spot.begin and _is_katakana(text[start]) and _is_katakana(text[start - 1])


def _is_katakana(character: str) -> bool:
    return (
        "\u30a0" <= character <= "\u30ff" and character != "\u30fb"
    ) or "\u31f0" <= character <= "\u31ff"


def number_follows(spot: Spot) -> bool:
    """As "Apollo" in "Apollo 11"; not in "Chicago 1995": a year is none of a name's."""
    shown = _shown_behind(spot)
    return bool(shown) and shown[0].isdigit() and not _YEAR.fullmatch(shown)


def capital_follows(spot: Spot) -> bool:
    """As "Chicago" in "Chicago Midway"; not in "ACME CEO"."""
    shown = _shown_behind(spot)
    if not shown or spot.following is None or not shown[0].isupper():
        return False
    return not _says_itself(spot.following.text, _rules(spot)) and not in_capitals(spot)


def particle_follows(spot: Spot) -> bool:
    """As "Karl" in "Karl von Abel", "Bank" in "Bank of England"; not "ACME" in "ACME von
    Siemens"."""
    word, shown = spot.following, _shown_behind(spot)
    if word is None or not shown.islower():
        return False
    # The particle itself does not tell the language of the sentence.
    rules = rules_beside(spot.text, spot.begin, spot.first.start, spot.end, word.end)
    if word.text not in rules.name_particles and not (
        word.text in rules.name_links and is_capital_word(spot)
    ):
        return False
    behind = _BEHIND_PARTICLE.match(spot.text, word.end)
    return behind is not None and behind.group(1).isupper()


def extension_follows(spot: Spot) -> bool:
    """As "tarn 400" in "tarn 400 pro": what extends names also where nothing is capitalised."""
    shown = _shown_behind(spot)
    if not shown or spot.following is None or spot.following.text not in lexicon().name_extensions:
        return False
    return not (shown.islower() and _is_limit(spot, spot.following))


def _is_limit(spot: Spot, word: Word) -> bool:
    """As "max" in "Quill max players", where a capital tells the name and a noun follows; not in
    "Tarn 400 max"."""
    named = spot.text[spot.first.start : spot.end]
    capital = named[0].isupper() and not named[-1].isdigit()
    return (
        capital and word.text in lexicon().superlatives and bool(_NOUN.match(spot.text, word.end))
    )


def is_capital_word(spot: Spot) -> bool:
    """Whether a name is a word of the language with one capital: "Bank", not "ACME"."""
    shown = spot.text[spot.first.start : spot.end]
    return spot.size == 1 and shown.istitle() and is_ordinary(spot.first.text)


def capital_precedes(spot: Spot) -> bool:
    """As "York" in "New York", "Street" in "48th Street"; not in "President Lincoln", "Does ACME",
    "Visiting Chicago" or German "das Restaurant Ember"."""
    word, text = spot.preceding, spot.text
    if spot.size > 1 or word is None or text[word.end : spot.first.start] not in _SPACES:
        return False
    shown = text[word.start : word.end]
    if shown[0].isdigit() and shown[-1].isalpha():
        return is_capital_word(spot)
    if not (shown[0].isupper() and shown[1:].islower() and text[spot.first.start].isupper()):
        return False
    rules = _rules(spot)
    if _says_itself(word.text, rules) or word.text in rules.titles | rules.asking_verbs:
        return False
    ahead = _WORD_AHEAD.search(text[max(spot.begin, word.start - _AROUND) : word.start])
    if ahead and fold(ahead.group(1)) in rules.noun_marks:
        return False
    return not (_VERBAL.search(word.text) and opens_sentence(spot, word.start))


def plain_word(spot: Spot) -> bool:
    """A plain word is a name only with a capital within a sentence, and not before a number ("No.
    2")."""
    if spot.size > 1:
        return False
    word = spot.first
    if word.text not in _plain_words():
        return False
    rules = _rules(spot)
    if word.text not in rules.function_words and word.text not in rules.pronouns:
        return False
    if not spot.text[word.start].isupper():
        return True
    return opens_sentence(spot, word.start) or bool(_NUMBERED.match(spot.text, word.end))


_Rule = Callable[[Spot], bool]
RULES: dict[str, _Rule] = {
    "number goes on": number_goes_on,
    "hyphen": hyphen,
    "address": address,
    "script goes on": script_goes_on,
    "number follows": number_follows,
    "capital follows": capital_follows,
    "particle follows": particle_follows,
    "extension follows": extension_follows,
    "capital precedes": capital_precedes,
    "plain word": plain_word,
}
_BEHIND_A_SPACE = (number_follows, capital_follows, particle_follows, extension_follows)
_OF_ONE_WORD = (capital_precedes, plain_word)
# Which of them may apply, by whether a space follows and whether the name is one word.
_BY_KIND: dict[tuple[bool, bool], tuple[tuple[str, _Rule], ...]] = {
    (spaced, single): tuple(
        (name, rule)
        for name, rule in RULES.items()
        if (spaced or rule not in _BEHIND_A_SPACE) and (single or rule not in _OF_ONE_WORD)
    )
    for spaced in (False, True)
    for single in (False, True)
}


def _shown_behind(spot: Spot) -> str:
    """The word behind a name and a single space, as it is written; empty if there is none."""
    word, text = spot.following, spot.text
    if word is None or text[spot.end : word.start] not in _SPACES:
        return ""
    return text[word.start : word.end]


def opens_sentence(spot: Spot, at: int) -> bool:
    """Whether a word at a place may be the first of a sentence."""
    return _opens(spot.text, at, spot.begin)


def _opens(text: str, at: int, begin: int) -> bool:
    return bool(_OPENS_SENTENCE.search(text[max(begin, at - 12) : at]))


@cache
def _plain_words() -> frozenset[str]:
    each = [lists(language) for language in LANGUAGES]
    return frozenset[str]().union(*(own["function_words"] | own["pronouns"] for own in each))


def is_plainly_written(
    text: str, start: int, end: int, begin: int = 0, *, among_names: bool = True
) -> bool:
    """Whether a name is written as plain words where other names have capitals: "time" in "Which
    time zone is Paris in?", not in "which time zone is it in".

    What stands before `begin` does not count. Without `among_names` the sentence needs no other
    name: the text is known to have capitals.
    """
    shown = text[start:end]
    read = words(shown)
    if not all(len(word.text) > 1 and is_ordinary(word.text) for word in read):
        return False
    # A capital tells nothing of the first of several words, where a sentence begins with it.
    opened = len(read) > 1 and _opens(text, start, begin)
    if shown != shown.lower() and not (opened and shown[1:] == shown[1:].lower()):
        return False
    if not among_names:
        return shown.upper() != shown  # of a script that has capitals
    ahead = _AHEAD.search(text, max(begin, start - _NEAR), start)
    behind = _BEHIND.match(text, end, end + _NEAR)
    return any(
        one.group()[0].isupper()
        and not (is_ordinary(fold(one.group())) and _opens(text, one.start(), begin))
        for part in (ahead, behind)
        if part is not None
        for one in _CAPITAL.finditer(text, part.start(), part.end())
    )


def rules_beside(text: str, begin: int, start: int, end: int, after: int | None = None) -> Lexicon:
    """The word lists for the language of a name's neighbours, from `begin` and, behind it, `after`
    on."""
    ahead = _AHEAD.search(text, max(begin, start - _NEAR), start)
    behind = _BEHIND.match(text, end if after is None else after, end + _NEAR)
    return lexicon(f"{ahead.group() if ahead else ''} {behind.group() if behind else ''}")


def _rules(spot: Spot) -> Lexicon:
    return rules_beside(spot.text, spot.begin, spot.first.start, spot.end)


def _says_itself(folded: str, rules: Lexicon) -> bool:
    """Whether a word is of the sentence and not of a name, even with a capital."""
    return (
        folded in rules.function_words
        or folded in rules.question_words
        or folded in rules.asked_nouns
        or folded in rules.generic_nouns
    )


def in_capitals(spot: Spot) -> bool:
    """Whether the words before a name are in capitals, too, so that a capital tells nothing."""
    end = spot.following.end if spot.following else spot.end
    here = spot.text[max(spot.begin, spot.first.start - _AROUND) : end]
    return here.upper() == here
