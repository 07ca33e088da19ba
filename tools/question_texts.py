"""Questions to teach a question encoder: a relation's wordings in other dress, and near misses."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

_HEAD = re.compile(
    r"^The ([^{}]*?) (of|for|in|at|to|behind) (the )?\{\} "
    r"(is|are|was|were|shows|includes|ends|calls)\b"
)
_DONE_BY = re.compile(r"^\{\},? (?:is |was |)(\w+(?:ed|en|wn|ade|et|un|uilt|ight)) by$")
_WHERE = re.compile(
    r"^\{\} (is|was|were) (\w+ed|born|held|set|found|hosted|printed) (in|at)"
    r"( the (city|town|region) of)?$"
)
_CUT = re.compile(
    r" (the (year|(city|town|region|country|province|sport|genre) of|company|club|war called"
    r"|entrepreneur)|a|the)$"
)
_PERSON = re.compile(
    r"(er|or|ist|ian|ent|ect|chair|coach|head|captain|mayor|host|judge|agent|spouse|mother|father"
    r"|child|sibling|heir|patron)$"
)
_PREPOSITION = re.compile(r" (of|to|near|opposite|behind|above|inside|for|about)$")
_NEGATED = (
    (" is", " is not"),
    (" was", " was never"),
    (" are", " are not"),
    (" has", " has no"),
    (" plays", " never plays"),
    (" does", " does not"),
)
_MARKS = frozenset(
    ["former", "first", "next", "deputy", "previous", "acting", "last", "second", "old", "original"]
    + ["late", "ex", "vice", "interim", "not", "never", "no", "before", "after", "until", "since"]
)
_SYLLABLES = ("ka", "zor", "lin", "bex", "tu", "vra", "mop", "ghe", "qui", "sny")
_PLACES = ("place", "location", "city", "town", "area", "region", "country")
_AGENTS = ("person", "company", "organization", "individual", "entity", "man", "woman")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What questions are made of.

    Attributes:
        lists: of `question_texts.toml`, by name.
        relations: wordings by relation.
        words: words of content that may make another question of any.
        likely: of a word others that mean about the same.
        heads: what relations ask for, as nouns.
    """

    lists: Mapping[str, Sequence[str]]
    relations: Sequence[Sequence[str]]
    words: Sequence[str]
    likely: Mapping[str, Sequence[str]]
    heads: Sequence[str] = field(default=())


def read_lists(path: Path) -> dict[str, list[str]]:
    """The lists of `question_texts.toml`."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: text.strip("\n").split("\n") for name, text in found.items()}


def heads(relations: Sequence[Sequence[str]]) -> list[str]:
    """The nouns of "The NOUN of {} is" among wordings."""
    matches = (_HEAD.match(text) for wordings in relations for text in wordings)
    return sorted({match.group(1) for match in matches if match})


def shortened(wording: str) -> str:
    """A wording without the kind of answer at its end: "{} was founded in the year"."""
    match = _CUT.search(wording)
    return wording[: match.start()] if match else wording


def in_other_words(draw: Random, texts: Texts, wording: str) -> str:
    """A text that asks for what a wording asks for."""
    head, lists = _HEAD.match(wording), texts.lists
    if head and draw.random() < 0.45:
        noun = head.group(1)
        person = _PERSON.search(noun) and draw.random() < 0.5
        asked = draw.choice(lists["persons" if person else "forms"]).replace("{h}", noun)
        if draw.random() < 0.4:
            return _reworded(draw, texts, asked)
    else:
        asked = wording
    asked = _roundabout(draw, texts, wording) or asked
    if draw.random() < 0.35:
        asked = _low(asked) if draw.random() < 0.8 else asked
        asked = draw.choice(lists["frames"]).replace("{q}", asked)
    if draw.random() < 0.2 and not asked.startswith("{}'s"):
        article = draw.choice(("the ", "the ", ""))
        asked = asked.replace("{}", f"{article}{draw.choice(lists['kinds'])} {{}}")
    if draw.random() < 0.06:
        asked = asked.replace(" is", " was", 1)
    if draw.random() < 0.08:
        plain = draw.choice(lists["plain"])
        plain += " the" if plain.endswith(" of") else ""
        asked = re.sub(r"\b([Tt]he) (?=[a-z])", rf"\1 {plain} ", asked, count=1)
    if draw.random() < 0.2:
        asked = re.sub(r"^Where (is|was)", rf"In which {draw.choice(_PLACES)} \1", asked)
        asked = re.sub(r"^Who (is|was)", rf"Which {draw.choice(_AGENTS)} \1", asked)
    return _reworded(draw, texts, asked)


def _roundabout(draw: Random, texts: Texts, wording: str) -> str | None:
    """A wording said in more words, if there is a pattern for it."""
    head, done, where = _HEAD.match(wording), _DONE_BY.match(wording), _WHERE.match(wording)
    chance = draw.random()
    if head and chance < 0.3:
        return draw.choice(texts.lists["roundabout"]).replace("{h}", head.group(1))
    if done and chance < 0.6:
        return draw.choice(texts.lists["doers"]).replace("{v}", done.group(1))
    if where and chance < 0.5:
        asked = draw.choice(texts.lists["places"]).replace("{a}", where.group(1))
        return asked.replace("{v}", where.group(2)).replace("{t}", draw.choice(_PLACES))
    return None


def _reworded(draw: Random, texts: Texts, asked: str) -> str:
    """One word now and then by another that means about the same."""
    if draw.random() > 0.3:
        return asked
    words = asked.split()
    bare = [word.lower().strip("?,.:") for word in words]
    places = [n for n, word in enumerate(bare) if word in texts.likely and word not in _MARKS]
    if places:
        place = draw.choice(places)
        words[place] = draw.choice(texts.likely[bare[place]])
    return " ".join(words)


def near_miss(draw: Random, texts: Texts, wording: str) -> str:
    """A text that looks like a wording and asks for something else."""
    lists, head, kind = texts.lists, _HEAD.match(wording), draw.random()
    if kind < 0.22:
        return _of_another(draw, lists, wording, possessive=kind > 0.14)
    if kind < 0.34:
        if head:
            return f"The {draw.choice(lists['adjectives'])} {wording[4:]}"
        longer = draw.choice(lists["extensions"]) if draw.random() < 0.7 else _made_up(draw)
        return wording.replace("{}", f"{{}} {longer}")
    if kind < 0.46 and head:
        nouns = lists["attributes"] if draw.random() < 0.6 else texts.heads
        return f"The {draw.choice(nouns)} of the {wording[4:]}"
    if kind < 0.58:
        return _at_another_time(draw, lists, wording)
    if kind < 0.64:
        for plain, negated in _NEGATED:
            if plain in wording:
                word = draw.choice((" no longer", " never", " not", " hardly"))
                negated = negated if draw.random() < 0.7 else plain + word
                return wording.replace(plain, negated, 1)
    if kind < 0.78 and head:
        noun = f"the {head.group(1)} {head.group(2)} {{}}"
        asked = draw.choice(lists["asides"])
        return asked.replace("{n}", noun).replace("{N}", f"T{noun[1:]}")
    if kind < 0.84:
        limit = draw.choice(lists["limits"])
        limit = limit if draw.random() < 0.8 else f"in {_made_up(draw)}"
        at_end = not head or draw.random() < 0.5
        return (
            f"{wording.rstrip('?')} {limit}" if at_end else wording.replace("{}", f"{{}} {limit}")
        )
    if kind < 0.9:
        return _with_any_word(draw, texts, wording)
    joint = draw.choice((" and the ", " or the ", " without the ", "'s first ", "'s former "))
    return wording.replace("{}", "{}" + joint + draw.choice(lists["others"]).split(" ")[0])


def _of_another(
    draw: Random, lists: Mapping[str, Sequence[str]], wording: str, *, possessive: bool
) -> str:
    other = draw.choice(lists["others"])
    if possessive:
        return wording.replace("{}", "{}'s " + _PREPOSITION.sub("", other))
    other += "" if _PREPOSITION.search(other) else " of"
    return wording.replace("{}", f"{draw.choice(('the', 'the', 'a'))} {other} {{}}")


def _at_another_time(draw: Random, lists: Mapping[str, Sequence[str]], wording: str) -> str:
    year = draw.choice((draw.randint(1700, 1950), draw.randint(1950, 2024)))
    frame = draw.choice(lists["times"]).replace("{y}", str(year))
    asked = frame.replace("{q}", wording if frame.startswith("{q}") else _low(wording))
    return asked.replace(" is", " was") if draw.random() < 0.5 else asked


def _with_any_word(draw: Random, texts: Texts, wording: str) -> str:
    """A wording with any word of content where that makes another question of it."""
    word, head = draw.choice(texts.words), _HEAD.match(wording)
    ways = [wording.replace("{}", f"the {word} of {{}}"), wording.replace("{}", f"{{}}'s {word}")]
    if head:
        noun = head.group(1)
        ways += [f"The {word} {wording[4:]}", f"The {word} of the {wording[4:]}"]
        ways.append(wording.replace(noun, f"{noun} {word}"))
    return draw.choice(ways)


def inverted(draw: Random, texts: Texts, wording: str) -> str | None:
    """A question that looks the other way, if there is a pattern for it."""
    head, done = _HEAD.match(wording), _DONE_BY.match(wording)
    if head:
        return draw.choice(texts.lists["inversions"]).replace("{h}", head.group(1))
    return draw.choice(texts.lists["passives"]).replace("{v}", done.group(1)) if done else None


def _low(text: str) -> str:
    return text if text.startswith("{}") else text[:1].lower() + text[1:]


def _made_up(draw: Random) -> str:
    return "".join(draw.choice(_SYLLABLES) for _ in range(draw.randint(2, 4))).capitalize()
