"""One sequence at the gate: what is to be written next, kept up token by token."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from revisor.gate.choice import Decision
from revisor.gate.decide import Facts, decide, window
from revisor.gate.hops import named, reached
from revisor.gate.own import SLOT, ending
from revisor.gate.state import SCOPE, Hold, Write, next_step
from revisor.gate.tokens import Behind, Reading, Tokens, behind
from revisor.language.names import Mention, mentions
from revisor.language.reader import NameReader
from revisor.language.turns import may_open_answer
from revisor.question.encoder import QuestionEncoder

_REMEMBERED = 256  # decisions


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to the logits of a position: `token` is written, or, if None, tokens that carry
    an object on are held back. `begin` is the index of the object's first token but for a space."""

    token: int | None
    decision: Decision
    begin: int
    behind: Behind = Behind.WORD


@dataclass(frozen=True, slots=True)
class _Scope:
    """What may be written behind the names of `key`: `objects`, sorted, as they read once written;
    `endings` are the last words of their own wordings, by number, where they are due by the text
    alone."""

    key: tuple[int, int]
    objects: Sequence[str]
    endings: dict[int, set[tuple[str, ...]]]


class Row:
    """Reads a sequence and says what is to be written behind it.

    That is a function of the tokens, the facts, and whether an answer is due: reading on token by
    token gives what reading anew gives.
    """

    def __init__(
        self, tokens: Tokens, facts: Facts, encoder: QuestionEncoder, threshold: float
    ) -> None:
        self._tokens, self._facts, self._encoder = tokens, facts, encoder
        self._threshold = threshold
        self.reading = Reading(tokens)
        self._names = NameReader(facts)
        self._decided: dict[int, Decision | None] = {}
        self._facts_known: dict[int, tuple[str, tuple[tuple[str, ...], ...]]] = {}
        self._reached: dict[int, tuple[int, ...]] = {}
        self._scope = _Scope((-1, -1), (), {})

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

    @property
    def names_any(self) -> bool:
        """Whether the text names anything, without which nothing is ever written."""
        self._names.read(self.reading.text)
        return self._names.any

    def action(self, *, due: bool) -> Action | None:
        """What happens behind the last token; `due`: the logits say that an answer is due."""
        if not self.names_any:
            return None
        reading = self.reading
        partial = reading.partial
        scope = self._in_scope()
        step = next_step(
            reading.text,
            scope.objects,
            self._decide,
            # Within a character only the one that has begun can be written on.
            due=due or partial > 0,
            shown=self._tokens.shown,
            may_open=self._may_open(scope),
        )
        if step is None:
            return None
        if isinstance(step, Hold):
            held = Behind.NUMBER if step.digits else behind(step.decision.fact.object)
            if partial or held is None:
                return None
            return Action(None, step.decision, self.reading.token_at(step.begin), held)
        planned, begin = self._plan(step)
        done = len(reading.ids) - begin
        if done >= len(planned) or reading.ids[begin:] != planned[:done]:
            return None  # a character has begun that is not the object's
        return Action(planned[done], step.decision, begin + self._tokens.is_space(planned[0]))

    def _plan(self, step: Write) -> tuple[list[int], int]:
        """The tokens of an object, and the index of the first of them."""
        reading, obj = self.reading, step.decision.fact.object
        whole = len(reading.ids) - reading.partial
        begin = self.reading.token_at(step.begin)
        spelled = self._spell(obj, begin, begins=True)
        done = len(reading.ids) - begin
        if not step.is_due or (done < len(spelled) and reading.ids[begin:] == spelled[:done]):
            return spelled, begin
        begins = step.rest == self._tokens.shown(obj)
        return self._spell(step.rest, whole, begins=begins), whole

    def _spell(self, text: str, place: int, *, begins: bool) -> list[int]:
        reading = self.reading
        before = reading.text[: reading.ends[place - 1]] if place else ""
        context = reading.ids[max(0, place - 8) : place]
        return self._tokens.spell(text, before, context, begins=begins)

    def _in_scope(self) -> _Scope:
        """What may be written behind the names that can matter; cached."""
        names = self._names
        start = max(0, len(self.reading.text) - SCOPE)
        key = names.state(start)
        if key != self._scope.key:
            known = map(self._known, reached(names.handles(start), self._reach))
            endings: dict[int, set[tuple[str, ...]]] = {}
            objects = set()
            for shown, some in known:
                objects.add(shown)
                for words in some:
                    endings.setdefault(len(words), set()).add(words)
            self._scope = _Scope(key, sorted(objects), endings)
        return self._scope

    def _reach(self, handle: int) -> tuple[int, ...]:
        if handle not in self._reached:
            self._reached[handle] = named(self._facts.fact(handle).object, self._facts)
        return self._reached[handle]

    def _known(self, handle: int) -> tuple[str, tuple[tuple[str, ...], ...]]:
        """How a fact's object reads, and with which words its own wordings end; cached."""
        found = self._facts_known.get(handle)
        if found is None:
            fact = self._facts.fact(handle)
            endings = tuple(ending(one) for one in fact.templates if SLOT in one)
            found = self._facts_known[handle] = (self._tokens.shown(fact.object), endings)
        return found

    def _may_open(self, scope: _Scope) -> bool:
        """Whether the text may tell by itself that an answer is due; most often it is not."""
        if may_open_answer(self.reading.text):
            return True
        read = self._names.words
        return any(
            count <= len(read)
            and tuple(word.text for word in read[len(read) - count :]) in some
            and self._names.ends_before(count)
            for count, some in scope.endings.items()
        )

    def _mentions(self, end: int) -> tuple[str, list[Mention]]:
        """The window before a place, and the names in it."""
        text = self.reading.text
        begin = window(text, end)
        part = text[begin:end]
        if self._names.parts(end):
            return part, self._names.mentions(text, begin, end)
        return part, mentions(part, self._facts)

    def _decide(self, end: int) -> Decision | None:
        if end not in self._decided:
            if len(self._decided) > _REMEMBERED:
                self._decided.clear()
            part, named = self._mentions(end)
            self._decided[end] = decide(
                part, named, self._facts, self._encoder, threshold=self._threshold
            )
        return self._decided[end]
