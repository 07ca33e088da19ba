"""What is written next after a text, as a function of it and of whether an answer is due."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from revisor.gate.choice import Decision
from revisor.gate.decide import WINDOW
from revisor.language.words import is_unspaced, words

LONGEST = 2000  # characters of an object
IN_NUMBERS = (".", ",", ":", "-", "/")  # what stands between a number's digits
SCOPE = WINDOW + LONGEST + 400  # characters from a text's end within which names can matter


@dataclass(frozen=True, kw_only=True)
class Write:
    """An object is to be written, or written on.

    Attributes:
        begin: where in the text it begins; the text's end if nothing of it is there yet.
        rest: what is not there yet.
        is_due: an answer is due; else it is written only if the tokens behind `begin` are those by
            which the object begins.
    """

    begin: int
    rest: str
    decision: Decision
    is_due: bool = True


@dataclass(frozen=True, kw_only=True)
class Hold:
    """An object stands at the end: tokens that would carry its last word on are held back once;
    `digits`: a sign stands behind a number, so that digits would ("7.3" "." "2")."""

    begin: int
    decision: Decision
    digits: bool = False


def begun(text: str, objects: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Where a text ends with all or a beginning of one of the sorted `objects`, the longest
    first."""
    if not objects or not text:
        return
    last = text[-1]
    places = set()
    for obj in objects:
        # A beginning of it ends with the text's last character.
        at = obj.find(last, 0, LONGEST)
        while at >= 0:
            if text.endswith(obj[: at + 1]):
                places.add(len(text) - at - 1)
            at = obj.find(last, at + 1, LONGEST)
    for at in sorted(places):
        if at and amid_word(text, at):
            continue
        tail = text[at:]
        place = bisect_left(objects, tail)
        while place < len(objects) and objects[place].startswith(tail):
            yield at, objects[place]
            place += 1


def amid_word(text: str, at: int) -> bool:
    """Whether a place lies within a word."""
    before, here = text[at - 1], text[at]
    return before.isalnum() and here.isalnum() and not (is_unspaced(before) or is_unspaced(here))


def asked_at(text: str, at: int) -> int:
    """Up to where a text asks that goes on at a place: spaces tell nothing."""
    return len(text[:at].rstrip(" "))


def _asks_anew(begun: Decision, here: Decision | None) -> bool:
    """Whether an object's beginning is part of its own prompt: "The verb of ACME is" for "is"."""
    return here is not None and here.fact.is_due and here.fact.id == begun.fact.id


def next_step(
    text: str,
    objects: Sequence[str],
    decide: Callable[[int], Decision | None],
    *,
    due: bool,
    shown: Callable[[str], str] = str,
    may_open: bool = True,
) -> Write | Hold | None:
    """What is to be written next.

    An object that has begun is carried on, whoever began it; behind a whole one its last word is
    kept from going on; else one is begun where it is asked for and an answer is due.

    Args:
        objects: of the facts about names in the text, as they read in it, sorted.
        decide: which fact the text asks for up to a place.
        due: the model's logits say that an answer is due.
        shown: how an object reads once it is written.
        may_open: whether the text by itself may tell that an answer is due.
    """
    for at, obj in begun(text, objects):
        decision = decide(asked_at(text, at))
        if decision is None or shown(decision.fact.object) != obj:
            continue
        rest = obj[len(text) - at :]
        if may_open and words(text, at) and _asks_anew(decision, decide(asked_at(text, len(text)))):
            break
        if rest:
            return Write(begin=at, rest=rest, decision=decision)
        return Hold(begin=at, decision=decision)
    if text[-1:] in IN_NUMBERS and text[-2:-1].isdigit():
        for at, obj in begun(text[:-1], objects):
            decision = decide(asked_at(text, at)) if len(obj) == len(text) - 1 - at else None
            if decision is not None and shown(decision.fact.object) == obj:
                return Hold(begin=at, decision=decision, digits=True)
    # A space may be the first token of what is to be written: of " 1987" with single digits.
    spaced = text[-1:] == " " and text[-2:-1] != " "
    if not (due or may_open or spaced):
        return None
    decision = decide(asked_at(text, len(text)))
    if decision is None:
        return None
    is_due = due or decision.fact.is_due
    if not (is_due or spaced):
        return None
    obj = shown(decision.fact.object)
    return Write(begin=len(text) - spaced, rest=obj, decision=decision, is_due=is_due)
