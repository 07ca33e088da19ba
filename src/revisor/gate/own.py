"""Whether a text ends with a fact's own wording, word for word from its beginning on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from revisor.index.base import IndexedFact
from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.turns import turns
from revisor.language.words import words

SLOT = "{}"
_SPARE = 40  # characters by which spaces and signs may lengthen a wording
NEAR = 3  # names, counted from the end, that a wording may name
_LEAD = " \t\"'*_`([\u201c\u2018\u201e\u00ab\u300a\u300c\u00bf\u00a1#-"
_ENDS = "\n.!?:;>|]}\u3002\uff01\uff1f\uff1a\u2026"
_CLOSING = "\"')]\u201d\u2019\u201c\u00bb\u300b\u300d*_` "
_STOPS = re.compile(r"[.!?\u3002\uff01\uff1f\u2026]+(?=\s|$)|[\u3002\uff01\uff1f]|\n\s*\n")
_ASKING = ("?", "\uff1f")


class FactOf(Protocol):
    """What gives the fact of a handle."""

    def fact(self, handle: int) -> IndexedFact: ...


class OwnPrompt(NamedTuple):
    """A wording of a fact in which a text ends, beginning at `begin`; `is_due`: its answer is to
    begin here, and not only in another turn."""

    handle: int
    fact: IndexedFact
    template: str
    mention: Mention
    begin: int
    is_due: bool


def own_prompts(text: str, mentions: Sequence[Mention], facts: FactOf) -> Iterator[OwnPrompt]:
    """The facts in whose wording the text ends, at a sentence's beginning; `mentions` include names
    within longer ones."""
    if not mentions:
        return
    spoken = turns(text)[-1:]
    here = spoken[0] if spoken else None
    if here is not None and here.marked and here.role in ("asks", "other"):
        return  # a user's turn in a chat is not the model's to write
    for mention in _named_near(mentions):
        left = len(text) - mention.end
        behind: tuple[str, ...] | None = None
        for handle in mention.facts:
            fact = facts.fact(handle)
            for template in fact.templates:
                if left > 2 * len(template) + _SPARE or is_longer(template, text):
                    continue
                if behind is None:
                    behind = tuple(word.text for word in words(text, mention.end))
                begin = _begin(text, mention, template, behind)
                if begin is None:
                    continue
                asked = here is not None and here.role == "asks" and begin >= here.start
                is_due = not (asked and template.rstrip().endswith(_ASKING))
                yield OwnPrompt(handle, fact, template, mention, begin, is_due)
                break


def is_longer(template: str, text: str) -> bool:
    """Whether a template is too long to be in a text, told without reading their words."""
    return len(template) > 2 * len(text) + _SPARE


def _named_near(mentions: Sequence[Mention]) -> Iterator[Mention]:
    """The last names of a text, then those that overlap them: a wording tells which is meant."""
    near = mentions[-NEAR:]
    yield from near
    for mention in near:
        for start, end, handles in mention.inner:
            yield Mention(start, end, handles)


def ending(template: str) -> tuple[str, ...]:
    """The words of a template behind its last slot: a text that ends with it ends with these."""
    return _parts(template)[1]


@lru_cache(maxsize=1 << 16)
def _parts(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts = [tuple(word.text for word in words(part)) for part in template.split(SLOT)]
    before = tuple(word for part in parts[:-1] for word in (*part, SLOT))[:-1]
    return before, parts[-1]


def _begin(text: str, mention: Mention, template: str, behind: tuple[str, ...]) -> int | None:
    """Where a template begins that a text ends with, None if it does not."""
    if SLOT not in template:
        return None
    before, after = _parts(template)
    if behind != after:
        return None
    name = tuple(word.text for word in words(text[mention.start : mention.end]))
    wanted = [one for word in before for one in (name if word == SLOT else (word,))]
    reach = 2 * len(template) + (template.count(SLOT) + 1) * (mention.end - mention.start) + _SPARE
    offset = max(0, mention.start - reach)
    ahead = words(text[offset : mention.start])
    first = len(ahead) - len(wanted)
    if first < 0 or [word.text for word in ahead[first:]] != wanted:
        return None
    begin = offset + ahead[first].start if wanted else mention.start
    opens = _opens(text, begin) or _begins_anew(text, begin, template)
    if not opens or not _alike(text[begin:], template, text[mention.start : mention.end]):
        return None
    return begin


def _opens(text: str, begin: int) -> bool:
    lead = text[:begin].rstrip(_LEAD)
    return not lead or lead[-1] in _ENDS or lead.rstrip(_CLOSING)[-1:] in tuple(_ENDS)


def _begins_anew(text: str, begin: int, template: str) -> bool:
    """Whether a sentence begins though the one before is unfinished, as in a text that was cut off:
    "... as late as the The CEO of ACME is" and "... and one ACME is"; not "... the wife of ACME is"
    or "... the CEO of ACME is"."""
    if not text[:begin].endswith((" ", "\u00a0")):
        return False
    if not template.startswith(SLOT):
        return template[:1].isupper() and text[begin : begin + 1] == template[:1]
    ahead = words(text[max(0, begin - _SPARE) : begin])
    rules = lexicon(text[max(0, begin - _SPARE) : begin])
    return bool(ahead) and ahead[-1].text not in rules.links


def _alike(said: str, template: str, name: str) -> bool:
    """Whether the text has just the sentences of a template: "The CEO of ACME. Is" is not "{} is",
    and "Who leads ACME" not yet "Who leads {}?"."""
    wanted = template.replace(SLOT, name).rstrip()
    if not wanted.endswith(_ASKING):
        said = said.rstrip("?\uff1f \n\t")
    elif not any(sign in said for sign in _ASKING):
        return False
    return len(_STOPS.findall(said.rstrip())) <= len(_STOPS.findall(wanted))
