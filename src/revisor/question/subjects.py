"""Of which of its names a sentence asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.longer import is_plainly_written
from revisor.language.names import Mention
from revisor.language.sentences import Sentence
from revisor.language.words import fold, words
from revisor.question import forms
from revisor.question.clauses import contrasted, is_example
from revisor.question.forms import SLOT, clean, opening

_MOST = 2  # names of a clause, each of which may be the one
_OWNS = re.compile(r"(?:['\u2019]s?|s['\u2019])\s+((?:[\w-]+\s+){0,3})$")
_CLOSED = re.compile(r"[^,()]*,\s+(?=\w)|[^,()]*\)\s+(?=\w)")


class _Patterns(NamedTuple):
    """Patterns that join names in a language; `before` and `behind` match an unknown one beside a
    known one, `listed` the last of a list behind a comma, `clause` what joins clauses."""

    link: re.Pattern[str]
    comma: re.Pattern[str]
    listed: re.Pattern[str]
    before: re.Pattern[str]
    behind: re.Pattern[str]
    clause: re.Pattern[str]


@lru_cache(maxsize=16)
def _patterns(rules: Lexicon) -> _Patterns:
    the = rf"(?:(?:{forms.any_of(rules.definite_articles)})\s+)?"
    link = rf",?\s+(?:{forms.any_of(rules.coordinators)}|&)\s+{the}"
    clauses = forms.any_of(rules.conjunctions)
    name = r"[A-Z][\w.&-]*"
    return _Patterns(
        link=re.compile(link),
        comma=re.compile(rf",\s+{the}"),
        listed=re.compile(rf",\s+(?:{forms.any_of(rules.coordinators)})\s"),
        before=re.compile(rf"\b{name}{link}$"),
        behind=re.compile(rf"{link}(?P<name>{name})(?:\s[A-Z]\w*)*"),
        clause=re.compile(rf"(?:,?\s+(?:{clauses})|;)\s+{the}$"),
    )


def asked_of(text: str, sentence: Sentence, own: Sequence[Mention]) -> list[Mention]:
    """The names that a sentence may ask about where it ends, the likeliest first.

    Only ACME in "Unlike Bolt, ACME is led by", "Bolt's rival ACME is led by", "Bolt was sold and
    ACME is led by", "According to Bolt, ACME is led by" and "ACME, which owns Bolt, is led by";
    both in "ACME bought Bolt in"; none in "Bolt and ACME are led by", whose answer would be of
    both.
    """
    if len(own) == 1:
        ahead = text[sentence.start : own[0].start]
        other = contrasted(ahead) and forms.names_another(ahead + text[own[0].end : sentence.end])
        return [] if other or is_example(ahead) or _is_joint(text, sentence, own, 0) else list(own)
    begin = max(
        (one.start for at, one in enumerate(own) if at and _opens_clause(text, sentence, own, at)),
        default=sentence.start,
    )
    kept = [
        one
        for at, one in enumerate(own)
        if one.start >= begin and not _is_beside(text, sentence, own, at)
    ]
    # A word of the language that is a name, too, steps back behind what is written as a name.
    plain = [one for one in kept if is_plainly_written(text, one.start, one.end, sentence.start)]
    proper = [one for one in kept if one not in plain]
    return [*reversed(proper), *reversed(plain)][:_MOST]


def coordinated(text: str, sentence: Sentence, own: Sequence[Mention]) -> list[list[Mention]]:
    """Names that stand together: "Bolt, Tarn and ACME"."""
    joints = _joints(text, sentence)
    runs: list[list[Mention]] = []
    run: list[Mention] = []
    for at, mention in enumerate(own):
        run.append(mention)
        between = text[mention.end : own[at + 1].start] if at + 1 < len(own) else ""
        if joints.comma.fullmatch(between):
            continue
        clause = between.startswith(",") and len(run) == 1 and _is_subject(text, own[at + 1])
        if not joints.link.fullmatch(between) or clause:
            # A run of commas alone is no list.
            if len(run) > 1 and joints.link.fullmatch(text[run[-2].end : mention.start]):
                runs.append(run)
            run = []
    return runs


def _joints(text: str, sentence: Sentence) -> _Patterns:
    return _patterns(lexicon(text[sentence.start : sentence.end]))


def _is_subject(text: str, mention: Mention) -> bool:
    """Whether a single space and a word follow a name, as in "Bolt is"."""
    following = words(text[mention.end : mention.end + 40])[:1]
    return bool(following) and text[mention.end : mention.end + 1] == " "


def coordinated_with_another(
    text: str, sentence: Sentence, mention: Mention
) -> tuple[bool, str] | None:
    """For "Who leads Globex and ACME?", with one unknown name, whether that comes first, and the
    question with `{}` for both; else None."""
    joints = _joints(text, sentence)
    ahead = joints.before.search(text[sentence.start : mention.start])
    if ahead is not None and words(text[sentence.start : sentence.start + ahead.start()]):
        begin = sentence.start + ahead.start()
        return True, clean(text[sentence.start : begin] + SLOT + text[mention.end : sentence.end])
    behind = joints.behind.match(text, mention.end, sentence.end)
    if behind is None or fold(behind["name"]) in lexicon(behind.group()).asked_nouns:
        return None
    whole = text[sentence.start : mention.start] + SLOT + text[behind.end() : sentence.end]
    return False, clean(whole)


def _is_beside(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name is only told beside the one that is asked of."""
    mention = own[at]
    return (
        contrasted(text[sentence.start : mention.start])
        or is_example(text[sentence.start : mention.start])
        or _is_joint(text, sentence, own, at)
        or _introduces(text, sentence, own, at)
        or _owns_next(text, sentence, own, at)
        or _is_in_aside(text, sentence, own, at)
    )


def _is_joint(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name stands with another and the same is said of both: "Bolt and ACME are"."""
    mention = own[at]
    if any(mention in run for run in coordinated(text, sentence, own)):
        return True
    behind, joints = text[mention.end : sentence.end], _joints(text, sentence)
    ahead = joints.before.search(text[sentence.start : mention.start])
    other = joints.behind.match(behind)
    following = words(behind[other.end() if other else 0 :])[:1]
    plural = bool(following) and following[0].text in lexicon(behind).plural_verbs
    return plural and (ahead is not None or other is not None)


def _introduces(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name stands in an introduction to a clause about another: "According to Bolt, ACME
    is", "While Bolt is in Rome, ACME is", "Regarding Bolt: who leads ACME?"."""
    said = text[sentence.start : sentence.end]
    rules = lexicon(said)
    if not opening(said, rules.attributions | rules.subordinators | rules.topic_openers):
        return False
    mention = own[at]
    comma = re.compile(r"[,:]\s").search(text, mention.end, sentence.end)
    if comma is None or any(sign in text[sentence.start : mention.start] for sign in ",:"):
        return False
    return any(one.start >= comma.end() for one in own[at + 1 :])


def _owns_next(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name owns the next one ("Bolt's rival ACME") or has it in apposition ("The CEO of
    ACME, Jane Roe, was")."""
    if at + 1 == len(own):
        return False
    mention, other = own[at], own[at + 1]
    between = text[mention.end : other.start]
    owns = _OWNS.fullmatch(between)
    if owns is not None:
        functions = lexicon(text[sentence.start : sentence.end]).function_words
        return all(word.text not in functions for word in words(owns.group(1)))
    behind, joints = text[other.end : sentence.end], _joints(text, sentence)
    apposed = joints.comma.fullmatch(between) and behind.startswith(",")
    return bool(apposed) and not joints.listed.match(behind) and mention.start > sentence.start


def _is_in_aside(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name stands in an aside behind another: "ACME, the rival of Bolt, is"."""
    mention, joints = own[at], _joints(text, sentence)
    for other in own[:at]:
        ahead = text[other.end : mention.start]
        opened = ahead.lstrip()[:1]
        if opened not in (",", "(") or not ahead.startswith((",", " (")) or "," in ahead[1:]:
            continue
        if joints.comma.fullmatch(ahead):
            continue
        closed = _CLOSED.match(text, mention.end, sentence.end)
        following = words(text[closed.end() : sentence.end])[:1] if closed else []
        rules = lexicon(text[sentence.start : sentence.end])
        if following and following[0].text not in rules.adding | rules.joining:
            return True
    return False


def _opens_clause(text: str, sentence: Sentence, own: Sequence[Mention], at: int) -> bool:
    """Whether a name begins a clause behind another's: "Bolt is in Rome and ACME is"."""
    mention = own[at]
    between = text[own[at - 1].end : mention.start]
    joints = _joints(text, sentence)
    joined = joints.clause.search(between)
    if joined is None:
        return False
    return bool(words(between[: joined.start()])) or (
        between.startswith((",", ";")) and _is_subject(text, mention)
    )


def speaks_of_another(said: str) -> bool:
    """Whether a sentence speaks of a name that is not known: "Globex makes rockets."."""
    rules, read = forms.parsed(said)
    if len(read) < 2 or not said[read[0].start].isupper() or forms.is_plain(read[0].text, rules):
        return False
    verb = read[1].text
    told = verb in rules.auxiliaries | rules.participles
    ends = verb.endswith(tuple(rules.verb_endings)) and len(verb) > 2
    return told or (ends and said[read[1].start].islower())


def main_name(
    text: str, inside: Sequence[Mention], read: Sequence[Sentence], *, document: bool = False
) -> Mention | None:
    """The name that some text is about: in a `document`, or a long text, the most frequent; else
    the one that begins the last sentence with names, or the last one.

    "I moved from Bolt to ACME. Who is the CEO?" asks about ACME, "ACME competes with Bolt." is
    about ACME.
    """
    if not inside:
        return None
    named = [
        own
        for one in read
        if (own := [name for name in inside if one.start <= name.start and name.end <= one.end])
    ]
    if document or len(named) > _MOST:
        counts = Counter(one.facts for one in inside)
        most = max(counts.values())
        if document or most > 1:
            return next(one for one in inside if counts[one.facts] == most)
    last = named[-1] if named else list(inside)
    begin = max((one.start for one in read if one.start <= last[0].start), default=0)
    last = [one for one in last if not contrasted(text[begin : one.start])] or last
    rules, ahead = forms.parsed(text[begin : last[0].start])
    return last[0] if all(word.text in rules.articles for word in ahead) else last[-1]
