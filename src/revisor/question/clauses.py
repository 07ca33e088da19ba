"""The clause of a sentence that speaks of a name: what stands beside it is left out."""

from __future__ import annotations

import re
from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence
from revisor.language.words import any_between, words
from revisor.question.forms import (
    SLOT,
    any_of,
    asks,
    filled,
    is_comparison,
    names_another,
    opening,
    parsed,
    says_nothing,
)
from revisor.question.standins import StandIn, given_name, may_mean, stand_in

_CLAUSE = re.compile(r"[,;:\u2014\u2013]\s")
_SPLICED = re.compile(r"[,;:\u2014\u2013]\s+|\s-\s+")
_DIGITS = re.compile(r"\d{3,4}")
_LEAD_END = re.compile(r"[^,:{}]{0,60}[,:]\s+")
_TOPIC_END = re.compile(r"\s*(?:the\s+)?\{\}\s*(?:[,:;?]|\s[\u2014\u2013-])\s+")
_NAME_FIRST = re.compile(r"(?:the\s+)?\{\}\s*(?P<sign>[:?,]|\s[\u2014\u2013-])\s+", re.IGNORECASE)
_ASIDE = re.compile(
    r"(?P<the>(?:[Tt]he )?)\{\}(?:,\s+(?P<comma>[^,{}.?!]{1,90}),"
    r"|\s+\((?P<brackets>[^(){}]{1,90})\)|\s+[\u2013\u2014-]\s+(?P<dash>[^{}\u2013\u2014]{1,90}?)\s+[\u2013\u2014-])\s+(?=\S)"
)
_APPOSED = re.compile(r"^[^,{}]{1,80},\s+\{\},\s+(?P<rest>\S.*)$", re.DOTALL)
_OWNER = re.compile(
    r"(?:\b[A-Z][\w&.-]*\s)*\b[A-Z][\w&.-]*(?:['\u2019]s|s['\u2019])\s+"
    r"(?P<words>(?:[a-z][\w-]*\s+){1,2})\{\}"
)
_RELATIVE = re.compile(r"\{\}(?P<comma>,)?\s+(?P<word>\w+)\s+(?P<rest>\S.*)$", re.DOTALL)
_NOUN = 4  # words of a clause among which is the noun of which it tells
_PREDICATE = 7  # words behind a name among which a noun tells who it is


def templates(text: str, mention: Mention, sentence: Sentence) -> list[tuple[str, int | None]]:
    """A sentence about a name as templates, the plainest first, each with the place where it begins
    if it is a clause behind the name; none where a conjunction stands last.

    "According to the site, ACME, unlike Bolt, is led by" is "{} is led by", and then the whole.
    """
    asked = asks(text[sentence.start : sentence.end])
    last = words(text[mention.end : sentence.end])[-1:]
    rules = lexicon(text[sentence.start : sentence.end])
    if last and last[0].text in rules.joining and not asked:
        return []
    # A question and what else is asked behind an "and" have been parted.
    joined = None if asked else joined_clause(text, mention, sentence)
    if joined is not None:
        return [joined]
    whole = filled(text, sentence.start, mention, sentence.end)
    plain = tidied(whole)
    if plain is None:
        return []
    found: list[tuple[str, int | None]] = []
    spliced = spliced_clause(text, mention, sentence.end)
    if spliced is not None:
        found.append(spliced)
    found += [(plain, None), (whole, None)]
    begin = clause(text, sentence, mention)
    shorter = begin is not None and tidied(filled(text, begin, mention, sentence.end))
    if shorter:
        # "Bolt was sold and {} is led by" is about the name only from there on.
        found.insert(0 if begin == mention.start else len(found), (shorter, None))
    unique: dict[str, tuple[str, int | None]] = {}
    for one, at in found:
        unique.setdefault(one, (one, at))
    return list(unique.values())


def lacks_preposition(behind: str) -> bool:
    """Whether a role lacks its organisation: "{}, the CEO" and "{} is the CEO" go on with "of"."""
    rules, said = parsed(behind)
    read = [word.text for word in said]
    if not 0 < len(read) <= _PREDICATE or not behind.rstrip()[-1:].isalnum():
        return False
    told = behind.lstrip(' *_"').startswith((",", "("))
    if read[0] in rules.copulas:
        told, read = True, read[1:]
    while len(read) > 1 and read[0] in rules.present_words:
        read = read[1:]
    if not told or not read:
        return False
    nouns = rules.person_nouns | rules.asked_nouns
    if read[0] in rules.definite_articles | rules.determiners:
        nouns_of = (nouns | rules.generic_nouns) - rules.time_nouns
        return read[-1] in nouns_of and rules.function_words.isdisjoint(read[1:])
    return read[-1] in rules.person_nouns and nouns.issuperset(read)


def clause(text: str, sentence: Sentence, mention: Mention) -> int | None:
    """Where the clause of a name begins, if what stands ahead of it may be left out.

    "As everyone knows, the CEO of {} is" may be shortened; not "In 1995, the CEO of {} was", "In
    Rome, the CEO of {} is", "If she left, the CEO of {} would be", "The scorer, who plays for {},
    is" and "Who is taller, the brother or {}?".
    """
    ahead = text[sentence.start : mention.start]
    behind = text[mention.end : sentence.end]
    rules = lexicon(ahead)
    joined = _new_clause(rules).search(ahead)
    told = words(ahead[: joined.start()]) if joined else []
    if joined and (any(one.text in rules.auxiliaries for one in told) or joined.group()[0] in ",;"):
        # "Bolt was sold and ACME is led by"
        return mention.start
    cut = None
    for match in _CLAUSE.finditer(ahead):
        cut = match.end()
    if cut is None or "," in behind or restricts(ahead[:cut]):
        return None
    rest = ahead[cut:] + SLOT + behind.rstrip("?! ")
    if asks(ahead + behind) and not asks(rest):
        return None
    return sentence.start + cut


def restricts(lead_in: str) -> bool:
    """Whether what stands ahead of a clause tells when, where or in what case it holds."""
    rules, read = parsed(lead_in)
    first = read[0].text if read else ""
    return (
        bool(_DIGITS.search(lead_in))
        or first in rules.place_links | rules.complements
        or opening(lead_in, rules.conditions) > 0
        or any(word.text in rules.times | rules.times_told | rules.doubts for word in read)
    )


def joined_clause(text: str, mention: Mention, sentence: Sentence) -> tuple[str, int] | None:
    """The last clause that a conjunction joins, as a template with where it begins, if it speaks of
    the name without naming it.

    "The Tarn was launched in May, and it has become a symbol of" asks of what, not when; "ACME was
    founded in Rome and the CEO is" asks who.
    """
    found, end = None, sentence.end
    if is_comparison(text[sentence.start : mention.start]):
        return None
    joints = _joints(lexicon(text[sentence.start : end]).conjunctions)
    for match in joints.finditer(text, mention.end, end):
        behind = text[match.end() : end]
        standing = stand_in(behind)
        if standing is not None and _begins(behind, standing):
            if asks(behind) and _is_empty(behind):
                continue
            if may_mean(standing, text, mention):
                found = standing.filled(behind), match.end()
        elif _is_nameless_clause(behind):
            found = given_name(behind), match.end()
    return found


@lru_cache(maxsize=16)
def _joints(conjunctions: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"[,;\uff0c\uff1b]?(?:{any_between(conjunctions)})", re.IGNORECASE)


@lru_cache(maxsize=16)
def _new_clause(rules: Lexicon) -> re.Pattern[str]:
    """What stands between two clauses, the second of which begins with a name."""
    some = any_of(rules.conjunctions)
    articles = any_of(rules.definite_articles)
    return re.compile(rf"(?:,?\s+(?:{some})|;)\s+(?:(?:{articles})\s+)?$")


def _begins(behind: str, standing: StandIn) -> bool:
    """Whether a clause begins with what stands for a name: "today it is", not "outside it is"."""
    rules, ahead = parsed(behind[: standing.start])
    may_lead = rules.auxiliaries | rules.question_words | rules.present_words | rules.trailing
    prepositions = rules.function_words - may_lead
    return len(ahead) < 2 and all(word.text not in prepositions for word in ahead)


def spliced_clause(text: str, mention: Mention, end: int) -> tuple[str, int] | None:
    """The last clause behind a comma, a colon or a dash, as a template with where it begins, if it
    asks about the name without naming it.

    "I work at ACME, who is its CEO?", "ACME: what is the phone number?".
    """
    found = None
    for match in _SPLICED.finditer(text, mention.end, end):
        behind = text[match.end() : end]
        standing = stand_in(behind)
        if standing is not None:
            first = not words(behind[: standing.start])
            said = behind[: standing.start] + behind[standing.end :]
            meant = may_mean(standing, text, mention) and not _is_empty(said)
            if meant and (first or _asks_by_word(behind)):
                found = standing.filled(behind), match.end()
        elif _asks_by_word(behind) and _has_article(behind) and not names_another(behind):
            found = given_name(behind), match.end()
    return found


def _is_empty(said: str) -> bool:
    rules, read = parsed(said)
    return all(word.text in rules.function_words for word in read)


def _asks_by_word(behind: str) -> bool:
    """Whether a clause is a question by its first word; "who is" may be a relative clause."""
    rules, said = parsed(behind)
    read = [word.text for word in said]
    asking = rules.question_words - rules.auxiliaries
    if len(read) < 3 or read[0] not in asking or not asks(behind):
        return False
    return "?" in behind or read[0] not in rules.relative_pronouns | rules.relative_possessives


def _has_article(said: str) -> bool:
    rules, read = parsed(said)
    return any(word.text in rules.definite_articles for word in read)


def _is_nameless_clause(behind: str) -> bool:
    """Whether what follows a conjunction is a clause of its own that names nobody: "the CEO is"."""
    read = [word.text for word in words(behind)]
    rules = lexicon(behind)
    return (
        read[:1] != []
        and read[0] in rules.definite_articles
        and not (rules.asked_nouns | rules.person_nouns).isdisjoint(read[1:_NOUN])
        and not rules.auxiliaries.isdisjoint(read[1:])
        and not names_another(behind)
        and not says_nothing(behind)
    )


# What stands beside a name


def tidied(template: str) -> str | None:
    """A template without its opening and what stands beside its name; None if it asks about
    another.

    "Unlike Bolt, {} is led by", "{}, the anvil maker, is led by", "As for {}, it is led by" and
    "Bolt's rival {} is led by" are all "{} is led by".
    """
    said = _without_contrasts(template)
    for _ in range(2):
        said = _without_lead_in(said)
    said = _without_asides(_without_apposed(said))
    told = _without_topic(said)
    if told is None:
        return None
    return _of_relative(_without_owner(told))


@lru_cache(maxsize=16)
def _contrast_patterns(
    rules: Lexicon,
) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    some = any_of(rules.contrasts)
    return (
        re.compile(rf"^(?i:{some})\s(?=[^,]*[A-Z])[^,{{}}]{{1,60}},\s+"),
        re.compile(
            rf"\s*[,(\u2013]\s*(?i:{some})\s(?=[^,]*[A-Z])[^,(){{}}]{{1,60}}[,)\u2013](?=\s)"
        ),
        re.compile(rf"\b(?:{some})\s+(?:(?:the|that of|those of)\s+)*$", re.IGNORECASE),
    )


def _without_contrasts(template: str) -> str:
    """A template without what its name is only compared with: "{}, unlike Bolt, is"."""
    first, aside, _ = _contrast_patterns(lexicon(template))
    return aside.sub("", first.sub("", template))


def contrasted(ahead: str) -> bool:
    """Whether the name behind some words is only compared with: "unlike that of", "rather than"."""
    return bool(_contrast_patterns(lexicon(ahead))[2].search(ahead))


def is_example(ahead: str) -> bool:
    """Whether the name behind some words is only an example: "companies such as"."""
    return ahead.rstrip().casefold().endswith(tuple(lexicon(ahead).exemplifying))


def _without_lead_in(template: str) -> str:
    """A template without a lead-in that tells nothing: "According to the site, {} is led by"."""
    end = opening(template[: template.find(SLOT)], lexicon(template).attributions)
    match = _LEAD_END.match(template, end) if end else None
    return template if match is None else template[match.end() :]


def _without_asides(template: str) -> str:
    """A template without an aside (commas, brackets, dashes) behind the name that it begins with,
    unless the aside tells a time or denies something."""
    match = _ASIDE.match(template)
    if match is None:
        return template
    rules, said = parsed(match.group("comma") or match.group("dash") or "")
    if any(word.text in rules.times | rules.times_told | rules.negations for word in said):
        return template
    following = [word.text for word in words(template[match.end() :])[:1]]
    if not following or following[0] in rules.adding | rules.joining:
        return template
    aside = match.group("comma")
    if aside is not None and following[0] not in rules.auxiliaries and not _is_aside(aside):
        return template
    return f"{match.group('the')}{SLOT} {template[match.end() :]}"


def _without_apposed(template: str) -> str:
    """A template without the noun that tells who its name is: "The CEO of ACME, {}, was born"."""
    match = _APPOSED.match(template)
    if match is None:
        return template
    rules = lexicon(template)
    first = next((word.text for word in words(template)), "")
    told = first in rules.articles | rules.determiners | rules.person_nouns
    verb = next((word.text for word in words(match.group("rest"))), "")
    if not told or verb not in rules.auxiliaries | rules.participles:
        return template
    return f"{SLOT} {match.group('rest')}"


def _is_aside(said: str) -> bool:
    """Whether words between commas tell of the name ahead of them."""
    rules = lexicon(said)
    first = next((word.text for word in words(said)), "")
    return (
        first in rules.articles | rules.determiners | rules.participles | rules.person_nouns
        or first in rules.joining | rules.relative_words
        or first.endswith(tuple(rules.participle_endings))
    )


def _without_topic(template: str) -> str | None:
    """A template whose name is only its topic, as one that asks about it: "As for {}, the CEO is"
    becomes "{}'s CEO is"; None if another name is asked about."""
    end = opening(template[: template.find(SLOT)], lexicon(template).topic_openers)
    match = _TOPIC_END.match(template, end) if end else _NAME_FIRST.match(template)
    if match is None or not template[match.end() :]:
        return template
    rest = template[match.end() :]
    standing = stand_in(rest)
    if standing is not None:
        comma = not end and match.group("sign") == ","
        return template if comma and words(rest[: standing.start]) else standing.filled(rest)
    if not end:
        return template if not _has_article(rest) or names_another(rest) else given_name(rest)
    if names_another(rest):
        return None
    return given_name(rest) if _has_article(rest) else template


def _without_owner(template: str) -> str:
    """A template without the owner of its name: "Bolt's rival {} is led by"."""
    match = _OWNER.search(template)
    if match is None:
        return template
    between = [word.text for word in words(match.group("words"))]
    rules = lexicon(template)
    endings = tuple(rules.participle_endings)
    if any(word in rules.function_words or word.endswith(endings) for word in between):
        return template
    return template[: match.start()] + template[match.end() - len(SLOT) :]


def _of_relative(template: str) -> str | None:
    """A template's last relative clause, if it ends in one: "I work at {}, whose CEO is" becomes
    "{}'s CEO is"; None if the clause is about somebody else ("The CEO of {}, who was born in")."""
    match = _RELATIVE.search(template)
    if match is None:
        return template
    rules = lexicon(template)
    word, ahead = match.group("word").casefold(), template[: match.start()]
    if word not in rules.relative_pronouns | rules.relative_possessives:
        return template
    before = [one.text for one in words(ahead)]
    if before[-1:] and before[-1] in rules.articles:
        before.pop()
    owned = before[-1:] != [] and before[-1] in rules.genitives
    if owned and any(one in rules.person_nouns for one in before[-4:-1]):
        return None if word in rules.who_words else template
    if owned or not (match.group("comma") or word in rules.relative_possessives):
        return template
    if before and asks(template):
        return template
    own = f"{SLOT}'s" if word in rules.relative_possessives else SLOT
    return f"{own} {match.group('rest')}"
