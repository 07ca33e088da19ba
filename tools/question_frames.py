"""How people dress a question, and how little makes another one of it."""

from __future__ import annotations

import re
import tomllib
from random import Random

from question_lexicon import FOLDER

FRAMES = {
    language: {name: [part.strip() for part in text.split("|")] for name, text in lists.items()}
    for language, lists in tomllib.loads((FOLDER / "frames.toml").read_text("utf-8")).items()
}
_QUOTED = ('"{}"', "'{}'", "*{}*", "the {}", "{} Inc", "({})", "**{}**", "{}")
_NOUN_PHRASE = re.compile(
    r"^(?:Who|What|Where|When|Which) (?:is|are|was|were) (the [\w' -]+? of (?:the )?\{\})\??$"
    r"|^(The [\w' -]+? of (?:the )?\{\}) (?:is|are|was|were)\b.*$"
    r"|^((?:The )?\{\}(?:'s|s') [\w' -]+?) (?:is|are|was|were)\b.*$",
    re.IGNORECASE,
)
_BEING = re.compile(r"\b(is|was|are|has)\b")
_NEGATED = (
    " is not",
    " isn't",
    " is no longer",
    " has never been",
    " was never",
    " used to be",
    " may one day be",
    " will soon be",
)
_PARTLY = (" not", " never", " rarely", " no longer", " almost")


def lowered(text: str) -> str:
    """A text as it goes on within a sentence."""
    if not text or text.startswith("{}") or text[:2].isupper():
        return text
    return text[0].lower() + text[1:]


def noun_phrase(wording: str) -> str | None:
    """As "the CEO of {}" of "Who is the CEO of {}?"; None if a wording has none."""
    match = _NOUN_PHRASE.match(wording)
    return lowered(next(filter(None, match.groups()))) if match else None


def misspelt(text: str, rng: Random) -> str:
    """A text with one slip in a long word."""
    words = list(re.finditer(r"[^\W\d_]{5,}", text))
    if not words:
        return text
    match = rng.choice(words)
    word, at = match.group(), rng.randrange(1, len(match.group()) - 1)
    slip = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + rng.choice("aeiounrst") + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
    )
    return text[: match.start()] + slip + text[match.end() :]


def dressed(text: str, rng: Random, language: str = "english") -> str:
    """The same question as somebody else types it."""
    lists, chance = FRAMES[language], rng.random
    space = "" if language == "chinese" else " "
    if chance() < 0.05 and language == "english" and text.startswith("The "):
        text = text.replace(" is", f" is {rng.choice(lists['now'])}", 1)
    if chance() < 0.05 and re.search(r"\{\}(?=[ ,])", text):
        text = text.replace("{}", f"{{}}, {rng.choice(lists['appositions'])},", 1)
    if chance() < 0.05:
        quoted = rng.choice(_QUOTED)
        if not (quoted.startswith("the") and "the {}" in text.lower()):
            text = text.replace("{}", quoted, 1)
    if chance() < 0.22:
        lead = rng.choice(lists["before"])
        text = lead + space + (lowered(text) if chance() < 0.8 else text)
    if chance() < 0.14:
        text = text.rstrip() + space + rng.choice(lists["after"])
    if chance() < 0.18:
        text = text.lower()
    elif chance() < 0.03:
        text = text.upper()
    if chance() < 0.10:
        text = text.rstrip("?.: \uff1f\u3002")
    return misspelt(text, rng) if chance() < 0.08 and language != "chinese" else text


def spoilt(wording: str, phrase: str | None, rng: Random, language: str = "english") -> str:
    """A text that has a wording's words and asks for something else.

    Args:
        phrase: a noun phrase of the relation ("the CEO of {}"), if there is one.
    """
    lists = FRAMES[language]
    if rng.random() < 0.06:
        return rng.choice(lists["empty"])
    if language != "english":
        return _spoilt_elsewhere(wording, rng, language)
    if phrase and rng.random() < 0.58:
        return _spoilt_phrase(phrase, rng)
    kind = rng.randrange(8)
    if kind == 0:
        link = rng.choice(("of", "of", "of", "near", "opposite", "for"))
        return wording.replace("{}", f"the {rng.choice(lists['near'])} {link} {{}}")
    if kind == 1:
        return wording.replace("{}", "{}'s " + rng.choice(lists["near"]))
    if kind == 2:
        return wording.replace("{}", "{} " + rng.choice(lists["extensions"]))
    if kind in (3, 4):
        return _elsewhen(wording, rng, language)
    if kind == 5:
        return f"{rng.choice(lists['idle'])} {lowered(wording)}"
    if " is " in wording + " " and kind == 6:
        return re.sub(r" is\b", rng.choice(_NEGATED), wording, count=1)
    if _BEING.search(wording):
        return _BEING.sub(lambda found: found.group() + rng.choice(_PARTLY), wording, count=1)
    return wording.replace("{}", f"{rng.choice(('the', 'a'))} {rng.choice(lists['near'])} of {{}}")


def _elsewhen(wording: str, rng: Random, language: str) -> str:
    """At another time."""
    lists = FRAMES[language]
    space = "" if language == "chinese" else " "
    if rng.random() < 0.5:
        return rng.choice(lists["times_before"]) + space + lowered(wording)
    mark = "?" if "?" in wording else ""
    return wording.rstrip("?. ") + space + rng.choice(lists["times_after"]) + mark


def _spoilt_elsewhere(wording: str, rng: Random, language: str) -> str:
    """A near miss in another language: by what stands beside the name, by time, or told."""
    lists = FRAMES[language]
    kind = rng.randrange(5)
    if kind == 0:
        near = rng.choice(lists["near"])
        return wording.replace(
            "{}", f"{{}}的{near[:-1]}" if language == "chinese" else f"{near} {{}}"
        )
    if kind == 1:
        space = "" if language == "chinese" else " "
        return wording.replace("{}", "{}" + space + rng.choice(lists["extensions"]))
    if kind in (2, 3):
        return _elsewhen(wording, rng, language)
    space = "" if language == "chinese" else " "
    return rng.choice(lists["idle"]) + space + lowered(wording)


def _spoilt_phrase(phrase: str, rng: Random) -> str:
    """Something else about "the CEO of {}"."""
    lists = FRAMES["english"]
    capital = phrase[0].upper() + phrase[1:]
    kind, pick = rng.randrange(7), rng.choice
    if kind in (0, 1):
        end = pick((" is", " was", "", " is called"))
        if phrase.startswith("the "):
            return f"The {pick(lists['adjectives'])} {phrase[4:]}{end}"
        return (
            re.sub(
                r"\{\}('s|s') ",
                lambda found: found.group() + pick(lists["adjectives"]) + " ",
                capital,
            )
            + end
        )
    if kind == 2:
        return f"The {pick(lists['attributes'])} of {phrase}" + pick((" is", " was", ""))
    if kind == 3:
        return f"{capital} {pick(lists['predicates'])}"
    if kind == 4:
        return f"{pick(lists['manners'])} {phrase}?"
    attribute = pick(lists["attributes"])
    head, slot, _ = phrase.partition(" of {}")
    if slot and rng.random() < 0.4:
        return pick((f"{{}} is {head} of", f"{{}} was {head} of", f"Of what is {{}} {head}?"))
    if kind == 5:
        return pick(
            (
                f"{capital} is not",
                f"{capital} has never been",
                f"{capital} is no longer",
                f"{capital} and",
                f"{capital} is and always was",
                f"Is {phrase} any good?",
                f"{capital}'s {attribute} is",
            )
        )
    return pick(
        (
            f"Who is the {attribute} of {phrase}?",
            f"What is the {attribute} of {phrase}?",
            f"Tell me about the {attribute} of {phrase}",
            f"Where can I read about the {attribute} of {phrase}?",
        )
    )
