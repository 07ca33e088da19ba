"""Relations made of a noun: "the thickness of {}", its synonyms, and nouns that are near to it."""

from __future__ import annotations

import re
from random import Random

from question_lexicon import FOLDER, Relation

PARTS = ("organisations", "things", "world")
_STATED = (
    "The {a} of {} is",
    "{}'s {a} is",
    "The {a} of {} is",
    "{} {a}:",
    "{a} of {}:",
    "What is the {a} of {}?",
    "What is {}'s {a}?",
    "For {}, the {a} is",
)
_ASKED = (
    "what's the {a} of {}",
    "Tell me the {a} of {}.",
    "I need the {a} of {}",
    "Do you know the {a} of {}?",
    "the {a} of {}?",
    "{} {a}?",
    "{} {a}",
    "As for {}, the {a} is",
    "Look up the {a} of {}, please",
    "Which {a} does {} have?",
    "{a}? I mean that of {}",
    "{}: what is the {a}?",
    "The {a} that belongs to {} is",
    "Could you give me {}'s {a}?",
    "We still have to enter the {a} of {}, which is",
)
_STATED_OF = {
    "who": ("Who is the {a} of {}?", "The name of the {a} of {} is", "The {a} of {} is called"),
    "what": ("The {a} of {} reads", "The {a} of {} is"),
    "when": ("When is the {a} of {}?", "The {a} of {} is on", "The date of the {a} of {} is"),
    "where": ("Where is the {a} of {}?", "The {a} of {} is at", "The {a} of {} is in"),
    "howmuch": ("How much is the {a} of {}?", "The {a} of {} amounts to", "{} has a {a} of"),
}
_ASKED_OF = {
    "who": ("who's the {a} of {}", "Who is {}'s {a}?", "{} has as its {a}", "Name {}'s {a}."),
    "what": ("Say what the {a} of {} is.", "what {a} does {} have?"),
    "when": ("when's the {a} of {}", "On what date is {}'s {a}?", "{}'s {a} falls on"),
    "where": ("where's the {a} of {}", "Where do I find the {a} of {}?", "{} has its {a} at"),
    "howmuch": ("How high is {}'s {a}?", "{}'s {a} comes to", "how big is the {a} of {}"),
}
PLAIN, FREE = 8, 10  # wordings of a relation that a fact may have, and others


def attributes() -> list[Relation]:
    """The relations of all files, drawn anew alike each time.

    Raises:
        ValueError: a line that has not four parts.
    """
    found: dict[str, Relation] = {}
    for part in PARTS:
        file = FOLDER / f"attributes_{part}.txt"
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != 4 or fields[0] not in _STATED_OF:
                raise ValueError(f"{file.name}:{number}: kind | attribute | synonyms | siblings")
            one = _relation(fields[0], fields[1], _list(fields[2]), _list(fields[3]))
            found.setdefault(one.name, one)
    return list(found.values())


def _list(field: str) -> list[str]:
    return [one.strip() for one in field.split(";") if one.strip()]


def _relation(kind: str, attribute: str, synonyms: list[str], siblings: list[str]) -> Relation:
    rng = Random(attribute)
    stated = [*_STATED, *_STATED_OF[kind], *_STATED_OF[kind]]
    asked = [*_ASKED, *_ASKED_OF[kind], *_ASKED_OF[kind]]
    names = [attribute, attribute, *synonyms]
    return Relation(
        name=f"attribute: {attribute}",
        subject="-",
        answer=kind,
        property="-",
        wordings=_worded(names, stated, PLAIN, rng) + _worded(names, asked, FREE, rng),
        near=_worded(siblings, [*stated, *asked], len(siblings) * 2, rng),
        language="english",
    )


def _worded(nouns: list[str], frames: list[str], count: int, rng: Random) -> tuple[str, ...]:
    """Nouns in frames, each of the nouns about as often."""
    found: list[str] = []
    for at in range(count):
        noun = nouns[at % len(nouns)]
        text = rng.choice(frames).replace("{a}", noun)
        if _is_plural(noun):
            text = re.sub(r"\b([iI])s\b", lambda is_: "Are" if is_[1] == "I" else "are", text)
        found.append(text[0].upper() + text[1:] if rng.random() < 0.7 else text)
    return tuple(dict.fromkeys(found))


def _is_plural(noun: str) -> bool:
    head = noun.partition(" of ")[0].partition(" for ")[0]
    return bool(re.search(r"[^sui]s$", head))
