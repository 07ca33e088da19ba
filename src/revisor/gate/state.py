"""What is written next after a text, as a function of it and of whether an answer is due."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from revisor.gate.decide import Decision

LONGEST = 2000  # characters of an object


@dataclass(frozen=True, kw_only=True)
class Write:
    """An object is to be written, or written on.

    Attributes:
        begin: where in the text it begins; its end where nothing of it is there yet.
        rest: what of the object is not there yet.
        decision: why.
    """

    begin: int
    rest: str
    decision: Decision


@dataclass(frozen=True, kw_only=True)
class Hold:
    """An object has just been written: what would carry its last word on is held back once."""

    begin: int
    decision: Decision


def begun(text: str, objects: Sequence[str], begin: int = 0) -> Iterator[tuple[int, str]]:
    """Where a text ends with the beginning, or all, of one of some objects: the place at which it
    begins and the object, the longest beginning first.

    Args:
        objects: sorted.
        begin: where to begin to look.
    """
    if not objects:
        return
    firsts = {obj[0] for obj in objects}
    longest = min(LONGEST, max(map(len, objects)))
    for at in range(max(begin, len(text) - longest), len(text)):
        if text[at] not in firsts or (at and _amid_word(text, at)):
            continue
        tail = text[at:]
        place = bisect_left(objects, tail)
        while place < len(objects) and objects[place].startswith(tail):
            yield at, objects[place]
            place += 1


def _amid_word(text: str, at: int) -> bool:
    before, here = text[at - 1], text[at]
    return before.isalnum() and here.isalnum() and before.isascii() and here.isascii()


def next_step(
    text: str,
    objects: Sequence[str],
    decide: Callable[[int], Decision | None],
    *,
    due: bool,
    begin: int = 0,
) -> Write | Hold | None:
    """What is to be written next.

    An object that has begun is carried on, whoever began it; behind a whole one its last word is
    kept from going on; else one is begun where it is asked for and an answer is due.

    Args:
        text: all that stands before the place.
        objects: of the facts about names in the text, sorted.
        decide: which fact the text asks for up to a place.
        due: the model's logits say that an answer is due.
        begin: where to begin to look for an object that has begun.
    """
    for at, obj in begun(text, objects, begin):
        place = len(text[:at].rstrip(" "))
        decision = decide(place)
        if decision is None or decision.fact.object != obj:
            continue
        rest = obj[len(text) - at :]
        if rest:
            return Write(begin=at, rest=rest, decision=decision)
        return Hold(begin=at, decision=decision)
    decision = decide(len(text))
    if decision is not None and (due or decision.fact.is_due):
        return Write(begin=len(text), rest=decision.fact.object, decision=decision)
    return None
