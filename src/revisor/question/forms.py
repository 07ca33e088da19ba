"""What kind of sentence one is: whether it asks, tells, goes on with another, or names somebody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.spelling import is_ordinary
from revisor.language.words import Word, is_unspaced, words

SLOT = "{}"
FIELD = 5  # words of a field's name
_BRIEF = 14  # words of a question that leaves its name out
_OPENING_WORDS = 8  # words within which a request says that it is one
_TELEGRAM = 4  # words of one without a verb
_ADDED = 7  # words of a question that goes on with another
_PHRASE = 6  # words of the longest phrase of a list
_ITEMS = 4  # least items of a list of words
_ITEM = 2  # most words of each
_PAUSES = ("", ",", ".", "!", ":", ";")
_COLONS = ":\uff1a "
_MARKUP = re.compile(r"[*_`#>|\"\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u300a-\u300f]+")
_TAG = re.compile(r"</[a-zA-Z][\w-]*>|(?<!\w)<[a-zA-Z][\w-]*>")
# Chinese and Japanese put no spaces between words, whatever a text has beside a name.
_SPACE = re.compile(r"(?<=[\u3001-\u9fff\uff01-\uff1f])\s+|\s+(?=[\u3001-\u9fff\uff01-\uff1f])")
_BULLET = re.compile(r"^\s*(?:[-\u2022]|\d+[.)])\s+")
# Not the signs of bold type, of a name in a program, or of a list's box.
_GAP = re.compile(
    r"(?<![^\s(\"'$\u20ac\u00a3])__+(?!\w)|\[(?:blank|mask|\.{3}|\u2026)\]|<(?:blank|mask)>",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"\u201c\u201e\u00ab]|(?<!\w)['\u2018]\w")
_YEAR = re.compile(r"[12]\d\d\d")


def without_bullet(text: str) -> str:
    """A text without the sign or the number of a list's item: "1. Who leads ACME?"."""
    return _BULLET.sub("", text)


def clean(text: str) -> str:
    """A text without markup and without quotation marks around it, with single spaces."""
    plain = _BULLET.sub("", _MARKUP.sub(" ", _TAG.sub(" ", text)))
    said = " ".join((plain if plain.isascii() else _SPACE.sub("", plain)).split())
    return said[1:-1] if len(said) > 2 and said[0] == said[-1] == "'" else said


def filled(text: str, start: int, mention: Mention, end: int) -> str:
    """A part of a text with `{}` for a name."""
    start = min(start, mention.start)
    return clean(text[start : mention.start] + SLOT + text[mention.end : end])


@lru_cache(maxsize=1 << 12)
def parsed(said: str) -> tuple[Lexicon, tuple[Word, ...]]:
    """The word lists for a text, and its terms (`Lexicon.terms`)."""
    rules = lexicon(said)
    return rules, tuple(rules.terms(said))


@lru_cache(maxsize=64)
def any_of(phrases: frozenset[str]) -> str:
    """A regular expression for any of some phrases."""
    return "|".join(re.escape(one) for one in sorted(phrases, key=lambda one: (-len(one), one)))


@lru_cache(maxsize=64)
def _spoken(phrases: frozenset[str]) -> frozenset[str]:
    """Phrases by their words: "it's" is "it s"."""
    return frozenset(" ".join(word.text for word in words(phrase)) for phrase in phrases)


@lru_cache(maxsize=1 << 14)
def opening(said: str, phrases: frozenset[str]) -> int:
    """Where the longest of some phrases ends that a text begins with; 0 if it begins with none."""
    known = _spoken(phrases)
    read = words(said[:80])[:_PHRASE]
    for count in range(len(read), 0, -1):
        if " ".join(word.text for word in read[:count]) in known:
            return read[count - 1].end
    return 0


def is_field(sentence: str) -> bool:
    """Whether a sentence is the name of a field that is to be filled in: "CEO:"."""
    said = clean(sentence)
    return said.endswith(tuple(_COLONS[:2])) and 0 < len(words(said)) <= FIELD


def field_text(sentence: str) -> str:
    """The name of a field as a question: "CEO:" is "CEO {}"."""
    return f"{clean(sentence).rstrip(_COLONS)} {SLOT}"


@lru_cache(maxsize=1 << 12)
def asks(sentence: str) -> bool:
    """Whether a sentence asks, with or without a question mark.

    "Who leads ACME", "Please tell me who leads ACME.", "I'd like to know who leads ACME.", "ACME is
    led by ____."; not "When ACME was founded, it made anvils.", "I don't want to know who leads
    ACME."
    """
    if "?" in sentence or "\uff1f" in sentence or _GAP.search(sentence):
        return True
    rules, said = parsed(sentence)
    read = [word.text for word in said[:_OPENING_WORDS]]
    if any(word.text in rules.anywhere_words for word in said):
        return True
    ahead = next((at for at, word in enumerate(read) if word not in rules.polite), len(read))
    if ahead == len(read):
        return bool(read) and read[0] in rules.question_words
    told = ahead and read[ahead] in rules.auxiliaries and read[ahead - 1] in rules.addressees
    if (read[0] in rules.question_words or read[ahead] in rules.question_words) and not told:
        return not (_is_finished(sentence) and "," in sentence)
    if read[ahead] in rules.asking_verbs or _wonders(said, rules):
        return True
    if (
        rules.speakers.isdisjoint(read[:3])
        or rules.wanting.isdisjoint(read)
        or _declines(read, rules)
    ):
        return False
    # "I know who leads ACME" tells; "I'd like to know", "I don't know who leads ACME" ask.
    return not rules.knowing.issuperset(rules.wanting.intersection(read)) or not (
        rules.wishing.isdisjoint(read)
    )


def _wonders(said: Sequence[Word], rules: Lexicon) -> bool:
    """Whether a speaker wants to know something further on: "It is late, and I wonder when ACME
    closes."."""
    asking = rules.question_words - rules.auxiliaries
    return any(
        one.text in rules.speakers
        and other.text in rules.wanting - rules.knowing
        and not asking.isdisjoint(word.text for word in said[at + 2 :])
        for at, (one, other) in enumerate(pairwise(said))
    )


def _declines(read: list[str], rules: Lexicon) -> bool:
    """Whether some words say that nothing is wanted: "I don't want", "I'm not asking"."""
    wanted = rules.wanting - rules.knowing
    for place, word in enumerate(read):
        if word in rules.negations and not wanted.isdisjoint(read[place + 1 : place + 3]):
            return True
    return False


def _is_finished(sentence: str) -> bool:
    ending = sentence.rstrip(" \t\n\"'*_\u201d\u2019)")[-1:]
    return ending in (".", "!", "\u3002", "\uff01", "\u2026")


def is_statement(sentence: str) -> bool:
    """Whether a sentence is finished and asks nothing: "I met the CEO of ACME."."""
    return _is_finished(sentence) and not asks(sentence)


def names_another(said: str) -> bool:
    """Whether a sentence without a known name has an unknown one.

    "Who wrote Hamlet?", "the capital of france", "\u6cd5\u56fd\u7684\u9996\u90fd"; not "Who is the
    CEO?", "the date of birth".
    """
    rules, read = parsed(said)
    capitals = said.upper() == said
    for place, word in enumerate(read):
        if place and not capitals and _is_name(said, read, place, rules):
            return True
        if word.text in rules.owner_marks and place:
            owner = read[place - 1].text
            if not (is_plain(owner, rules) or owner in rules.happenings):
                return True
        if word.text not in rules.complements or place + 1 == len(read):
            continue
        following = read[place + 1].text
        # "The dose for children": behind other prepositions than "of" and "in" a word is a word.
        ordinary = word.text not in rules.genitives | rules.place_links and is_ordinary(following)
        known = is_plain(following, rules) or following in rules.common_complements
        if not (known or (ordinary and said[read[place + 1].start].islower())):
            return True
    return False


def _is_name(said: str, read: Sequence[Word], at: int, rules: Lexicon) -> bool:
    """Whether a word, not the first, is a name by its capital or digits; German nouns are none."""
    word, before = read[at], read[at - 1]
    shown = said[word.start : word.end]
    if shown[0].isdigit():
        return not _YEAR.fullmatch(shown)
    if not shown[0].isupper() or is_plain(word.text, rules) or word.text in rules.times_told:
        return False
    if before.text in rules.noun_marks:
        return False
    # "the ARR" is something of a name, "the USA" in "of the USA" a name.
    of = at > 1 and read[at - 2].text in rules.complements
    return of or not (shown.isupper() and before.text in rules.definite_articles)


def is_plain(word: str, rules: Lexicon) -> bool:
    """Whether a word is one of those that are no names by themselves."""
    return (
        word in rules.function_words
        or word in rules.asked_nouns
        or word in rules.generic_nouns
        or word in rules.person_nouns
        or word in rules.articles
        or word in rules.time_nouns
        or word[0].isdigit()
    )


def with_slot_for_another(said: str) -> str | None:
    """A question about an unknown name with `{}` for it; None where the name cannot be told."""
    rules, read = parsed(said)
    names = [at for at in range(1, len(read)) if _is_name(said, read, at, rules)]
    if names:
        last = first = names[-1]
        while first - 1 in names:
            first -= 1
    else:
        ahead = [at for at, word in enumerate(read[:-1]) if word.text in rules.complements]
        if not ahead:
            return None
        first, last = ahead[-1] + 1, len(read) - 1
    return clean(said[: read[first].start] + SLOT + said[read[last].end :])


def is_comparison(sentence: str) -> bool:
    """Whether a sentence asks of several names together: "the difference between Bolt and ACME"."""
    rules, read = parsed(sentence)
    return any(word.text in rules.comparing for word in read)


def is_small_talk(sentence: str) -> bool:
    """Whether a question without a name asks for nothing that a name has: "Can you help me?", "What
    do you think?", "What else?"."""
    rules, said = parsed(sentence)
    read = [word.text for word in said]
    # "Where is?" asks in languages that may leave a pronoun out.
    places = rules.where_words | rules.when_words
    if (rules.function_words | rules.trailing).issuperset(read) and places.isdisjoint(read):
        return True
    known = rules.asked_nouns | rules.definite_articles
    for word, after in zip(read, [*read[1:], ""], strict=True):
        if word in rules.addressee_possessives and after in rules.own_nouns:
            return True
        if word in rules.addressees:
            own = rules.asked_nouns if after in rules.minding_verbs else known
            if own.isdisjoint(read) and read[0] != word:
                return True
    first = next((word for word in read if word not in rules.polite - rules.auxiliaries), "")
    asking = rules.question_words - rules.auxiliaries
    return first in rules.auxiliaries and (known | asking).isdisjoint(read)


def is_request(sentence: str) -> bool:
    """Whether a question by its first word asks for nothing that a name has: "Explain
    photosynthesis"; not "Got a minute?" or "Who is the CEO?"."""
    rules, said = parsed(sentence)
    read = [word.text for word in said]
    asking = rules.question_words - rules.auxiliaries | rules.asking_verbs
    first = next((word for word in read if word not in rules.polite), "")
    return first in asking and (rules.asked_nouns | rules.definite_articles).isdisjoint(read)


def asks_by_word(sentence: str) -> bool:
    """Whether a question has a question word: "What is safe?"; not "Explain photosynthesis"."""
    rules, read = parsed(sentence)
    asking = rules.question_words - rules.auxiliaries
    return any(word.text in asking for word in read)


def restricts(sentence: str) -> str | None:
    """The place or time by which a question restricts an earlier one ("And in 2020?"), else
    None."""
    rest = without_opening(sentence).strip(" ?!.")
    rules, read = parsed(rest)
    first = read[0].text if read else ""
    if not goes_on(sentence) or first not in rules.place_links | rules.times or len(read) < 2:
        return None
    return rest


def leaves_name_out(sentence: str) -> bool:
    """Whether a sentence asks without saying about whom: "Who is the CEO?", "Phone number?"; not
    "Who is the king of France?", which has an unknown name."""
    rules, read = parsed(sentence)
    if not 0 < len(read) <= _BRIEF or names_another(sentence):
        return False
    if any(word.text in rules.asked_nouns for word in read):
        told = any(word.text in rules.auxiliaries for word in read)
        brief = len(read) <= _TELEGRAM and not told and not sentence.rstrip().endswith(",")
        return brief or asks(sentence)
    return len(read) > 1 and asks(sentence)


def takes_back(sentence: str) -> int:
    """Where the words end by which a sentence takes back what was asked, 0 if there are none:
    "Never mind.", "No, who leads ACME?"; not "No one"."""
    end = opening(sentence, lexicon(sentence).withdrawals)
    single = len(words(sentence[:end])) == 1
    return 0 if single and sentence[end : end + 1] not in _PAUSES else end


def goes_on(sentence: str) -> bool:
    """Whether a sentence goes on with an earlier question: "And the headquarters?"."""
    return bool(opening(sentence, lexicon(sentence).ellipses))


def adds(sentence: str) -> bool:
    """Whether a sentence goes on with an earlier question but is none itself: "And the
    headquarters"; not "And the weather was fine."."""
    rules, read = parsed(sentence)
    begin = opening(sentence, rules.ellipses)
    rest = [word.text for word in read if word.start >= begin]
    if not begin or not 0 < len(rest) <= _ADDED or is_courtesy(sentence[begin:]):
        return False
    asking = rules.question_words - rules.auxiliaries
    telling = rules.auxiliaries | rules.speakers
    return rest[0] in asking or telling.isdisjoint(rest)


def without_opening(sentence: str) -> str:
    """A sentence without the words by which it goes on with another: "And where is it based?"."""
    rest = sentence[opening(sentence, lexicon(sentence).ellipses) :]
    return rest.lstrip(" ,:-\u2013\u2014") if words(rest) else sentence


def without_trailing(sentence: str) -> str:
    """A question without the last words by which it goes on with another: "Who wrote it again?"."""
    rules, read = parsed(sentence)
    count = len(read)
    mark = "\uff1f" if "\uff1f" in sentence else "?"
    while count > 1 and read[count - 1].text in rules.trailing:
        count -= 1
        sentence = sentence[: read[count].start].rstrip(" ,") + mark
    return sentence


def repeats(around: str) -> bool:
    """Whether words around a name ask of it what was asked of another: "same for ... please"."""
    rules, read = parsed(around)
    begin = max(opening(around, rules.ellipses), opening(around, rules.repairs))
    echoes = rules.echoes | rules.place_links | rules.complements
    return all(word.text in echoes for word in read if word.start >= begin)


def is_courtesy(sentence: str) -> bool:
    """Whether a sentence asks nothing and tells nothing: "Thanks!"."""
    said = " ".join(word.text for word in words(sentence))
    return said in _spoken(lexicon(sentence).courtesies)


def says_nothing(fragment: str) -> bool:
    """Whether the beginning of an answer has no word of its own: "Sure! The answer is", "It's"."""
    rules = lexicon(fragment)
    leads = _spoken(rules.lead_ins)
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


def is_title(sentence: str) -> bool:
    """Whether a sentence is a title by its capitals: "How ACME Was Won"; not "How was ACME won"."""
    rules, said = parsed(sentence)
    if "?" in sentence or sentence.upper() == sentence or not said:
        return False
    if any(is_unspaced(sentence[word.start]) for word in said):  # which has no capitals
        return False
    if said[0].text not in rules.question_words:
        return False
    own = [
        sentence[word.start]
        for word in said[1:]
        if word.text not in rules.function_words and word.text not in rules.asked_nouns
    ]
    return len(own) > 1 and all(letter.isupper() or letter.isdigit() for letter in own)


def is_list(sentence: str) -> bool:
    """Whether a sentence is a list of words: "apple, ACME, banana, CEO"."""
    items = [words(item) for item in sentence.split(",")]
    rules = lexicon(sentence)
    verbs = rules.auxiliaries | rules.participles | rules.question_words
    return len(items) >= _ITEMS and all(
        len(item) <= _ITEM and all(word.text not in verbs for word in item) for item in items
    )


def asks_for_fiction(sentence: str) -> bool:
    """Whether a sentence asks for something made up: "Write a poem about the CEO of ACME."."""
    rules = lexicon(sentence)
    verb, near = _request(sentence, 6)
    if any(one in rules.how_words and other in rules.measures for one, other in pairwise(near)):
        return False  # "Tell me how many stories"
    return verb in rules.writing_verbs and not rules.fiction_nouns.isdisjoint(near)


def asks_for_document(sentence: str) -> bool:
    """Whether a sentence asks for a text or table that may tell facts but is no answer: "Write a
    profile of ACME.", "Give me JSON with the CEO of ACME."."""
    rules = lexicon(sentence)
    verb, near = _request(sentence, 5)
    if verb in rules.writing_verbs and not rules.documents.isdisjoint(near):
        return True
    verbs = rules.writing_verbs | rules.asking_verbs
    return verb in verbs and not rules.formats.isdisjoint(near)


def _request(sentence: str, reach: int) -> tuple[str, list[str]]:
    """The first word of a request behind those of courtesy, and the next `reach` words."""
    rules, read = parsed(sentence)
    said = [word.text for word in read]
    first = next((at for at, word in enumerate(said) if word not in rules.polite), len(said))
    return "".join(said[first : first + 1]), said[first + 1 : first + 1 + reach]


def handles(sentence: str) -> bool:
    """Whether a request does something with a text: "Translate 'Who leads ACME?'"."""
    rules = lexicon(sentence)
    return _request(sentence, 0)[0] in rules.handling_verbs | rules.converting_verbs


def is_wish_for_name(sentence: str) -> bool:
    """Whether a sentence says that one wants what stands for a name, and asks nothing of it: "I
    need it for a report."; not "I need its address."."""
    rules, said = parsed(sentence)
    read = [word.text for word in said]
    asked = rules.asked_nouns | (rules.question_words - rules.auxiliaries)
    return read[:1] != [] and read[0] in rules.speakers and asked.isdisjoint(read)


def hands_text(sentence: str) -> bool:
    """Whether a request does something with a text that stands elsewhere.

    "Translate into German:", "Correct the sentence below."; not "Translate 'anvil'." or "Quote the
    passage, then answer.".
    """
    rules, read = parsed(sentence)
    said = [word.text for word in read]
    if not handles(sentence) or not rules.answering.isdisjoint(said):
        return False
    if sentence.rstrip(" *_").endswith(":"):
        return True
    pointed = not (rules.text_nouns | rules.converting_verbs).isdisjoint(said)
    return pointed and not _QUOTED.search(sentence)
