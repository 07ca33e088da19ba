"""One sequence at the gate: what is to be written next, kept up token by token."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from revisor.gate.decide import Decision, Facts, decide, window
from revisor.gate.state import Hold, next_step
from revisor.gate.tokens import Reading, Tokens, keeps_word
from revisor.language.names import Mention, NameReader
from revisor.question.encoder import QuestionEncoder


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to the logits of a position.

    Attributes:
        token: to be written; None where tokens that go on a word are held back.
        decision: why.
        begin: index of the first token of the object.
    """

    token: int | None
    decision: Decision
    begin: int


class Row:
    """Reads a sequence and says what is to be written behind it.

    What it says is a function of the tokens, the facts, and whether an answer is due: reading on
    token by token gives what reading anew gives.
    """

    def __init__(
        self, tokens: Tokens, facts: Facts, encoder: QuestionEncoder, threshold: float
    ) -> None:
        self._tokens, self._facts, self._encoder = tokens, facts, encoder
        self._threshold = threshold
        self.reading = Reading(tokens)
        self._names = NameReader(facts)
        self._decided: dict[int, Decision | None] = {}
        self._named: list[Mention] = []
        self._objects: tuple[tuple[int, ...], list[str]] = ((), [])

    def read(self, ids: Sequence[int]) -> None:
        """Read further tokens."""
        for token in ids:
            self.reading.read(token)

    @property
    def ids(self) -> list[int]:
        """The tokens read."""
        return self.reading.ids

    def crop(self, length: int) -> None:
        """Forget all tokens but the first ones."""
        self.reading.crop(length)
        end = len(self.reading.text)
        self._names.crop(end)
        self._decided = {at: found for at, found in self._decided.items() if at <= end}

    def fork(self) -> Row:
        """Another row that has read the same."""
        other = copy(self)
        other.reading, other._names = self.reading.fork(), self._names.fork()
        other._decided = dict(self._decided)
        return other

    def action(self, *, due: bool) -> Action | None:
        """What happens at the position behind the last token.

        Args:
            due: the model's logits say that an answer is due.
        """
        reading = self.reading
        partial = reading.partial
        self._names.read(reading.text)
        self._named = self._mentions(len(reading.text)) if self._names.any else []
        if not self._named:
            return None
        objects = self._written_in_scope()
        # Within a character only an object that has begun can be written on.
        first = window(reading.text) + self._named[0].end
        step = next_step(reading.text, objects, self._decide, due=due or partial > 0, begin=first)
        if step is None:
            return None
        if isinstance(step, Hold):
            if partial or not keeps_word(step.decision.fact.object):
                return None
            return Action(None, step.decision, self._token_at(step.begin))
        planned, begin = self._plan(step.begin, step.rest, step.decision)
        if reading.ids[begin:] != planned[: len(reading.ids) - begin]:
            return None  # a character has begun that is not the object's
        return Action(planned[len(reading.ids) - begin], step.decision, begin)

    def _plan(self, at: int, rest: str, decision: Decision) -> tuple[list[int], int]:
        """The tokens of an object, and the index of the first of them."""
        reading, obj = self.reading, decision.fact.object
        whole = len(reading.ids) - reading.partial
        begin = self._token_at(at)
        if begin is not None and begin <= whole:
            spelled = self._spell(obj, begin, begins=True)
            if reading.ids[begin:] == spelled[: len(reading.ids) - begin]:
                return spelled, begin
        return self._spell(rest, whole, begins=False), whole

    def _spell(self, text: str, place: int, *, begins: bool) -> list[int]:
        reading = self.reading
        before = reading.text[: reading.ends[place - 1]] if place else ""
        context = reading.ids[max(0, place - 8) : place]
        return self._tokens.spell(text, before, context, begins=begins)

    def _token_at(self, at: int) -> int:
        """The index of the token with which what stands at a place begins."""
        if at == len(self.reading.text):
            return len(self.reading.ids) - self.reading.partial
        # A space before it is of its own first token.
        return bisect_right(self.reading.ends, at)

    def _mentions(self, end: int) -> list[Mention]:
        """The names in the window before a place, as places in the window."""
        text = self.reading.text
        begin = window(text, end)
        if end < len(text):
            reader = NameReader(self._facts)
            reader.read(text[begin:end])
            return reader.mentions(text[begin:end])
        found = self._names.mentions(text, begin)
        return [replace(one, start=one.start - begin, end=one.end - begin) for one in found]

    def _written_in_scope(self) -> list[str]:
        """The objects of the facts about names in the window, sorted."""
        handles = tuple(sorted({handle for one in self._named for handle in one.facts}))
        if handles != self._objects[0]:
            objects = sorted({self._facts.fact(handle).object for handle in handles})
            self._objects = (handles, objects)
        return self._objects[1]

    def _decide(self, end: int) -> Decision | None:
        """Which fact the text up to a place asks for; remembered."""
        if end not in self._decided:
            if len(self._decided) > 256:
                self._decided.clear()
            text = self.reading.text
            self._decided[end] = decide(
                text[window(text, end) : end],
                self._named if end == len(text) else self._mentions(end),
                self._facts,
                self._encoder,
                threshold=self._threshold,
            )
        return self._decided[end]
