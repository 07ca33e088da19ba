"""At what time the questions in a text ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date
from functools import cached_property

from revisor.gate.own import OwnPrompt
from revisor.gate.validity import TimedFacts, When, silent
from revisor.language.dates import Period, may_have_date
from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence, sentences
from revisor.language.times import TimeTold, tells_time, times_told, without_times
from revisor.language.turns import Turn, turns
from revisor.language.words import words
from revisor.question import forms
from revisor.question.reading import SLOT, Question

LEAD = 80  # characters ahead of a sentence's clause that may tell its time
TURNS = 3  # the last ones, in which the sentence of a question is looked for
_PARTING = ",;:()\u2013\u2014"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question at its time; `silent` tells, by handle of a fact about its name, why it does not
    answer then (None if it may), `is_answered` whether an answer stands there already."""

    question: Question
    when: When
    silent: Mapping[int, str | None]
    is_answered: bool = False

    @property
    def rivals(self) -> int:
        """How many facts may answer at that time; at least 1."""
        return max(1, sum(one is None for one in self.silent.values()))


class Clock:
    """Tells the time of questions in a text with these mentions, and which facts hold then."""

    def __init__(self, text: str, mentions: Sequence[Mention], facts: TimedFacts) -> None:
        self._text, self._mentions, self._facts = text, mentions, facts
        self._now = facts.now()
        self._today = self._now.astimezone(UTC).date()

    def of(self, question: Question) -> Asked:
        """A question that was read."""
        when = _when(question.text, self._today)
        if not when.told and self._sentences:
            framing = self._framing(question)
            told = framing or self._of_question(question.answered_from)
            when = replace(when, carried=_periods(told))
        return self._at(question, when)

    def timeless(self, text: str) -> str:
        """A question without the times that it tells."""
        return _when(text, self._today).plain

    def of_own(self, own: OwnPrompt) -> Asked:
        """A fact's own wording, with a time that stands ahead of it: "In 2019, ACME was led by"."""
        ahead = _lead(self._text, own.begin)
        when = _when(f"{ahead}{own.template}", self._today)
        if ahead and not _is_of_time(when, len(ahead)):
            when = _when(own.template, self._today)
        if not when.told and self._sentences:
            when = replace(when, carried=_periods(self._of_question(own.begin)))
        return self._at(Question(own.template, own.mention, "completion", own.begin), when)

    def _at(self, question: Question, when: When) -> Asked:
        some = question.mention.facts
        why = {one: silent(when, one, some, self._facts, self._now) for one in some}
        return Asked(question, when, why)

    @cached_property
    def _sentences(self) -> list[tuple[Turn, Sentence, str]]:
        """The sentences of the last turns, with `{}` for names; none if no time is told in them."""
        found: list[tuple[Turn, Sentence, str]] = []
        if not may_have_date(self._text):
            return found
        for turn in turns(self._text)[-TURNS:]:
            for one in sentences(self._text, turn.start, turn.end):
                if one.end > one.start:
                    found.append((turn, one, _slotted(self._text, one, self._mentions)))
        return found if any(tells_time(slotted) for _, _, slotted in found) else []

    def _framing(self, question: Question) -> tuple[TimeTold, ...]:
        """The times of a question's sentence that were read apart from it: "Last year, as we know,
        {} was led by", "{}, in 2019, was led by"."""
        asked = {word.text for word in words(question.text)}

        def alike(sentence: str) -> int:
            return len(asked.intersection(word.text for word in words(sentence)))

        nearest = max((said for _, _, said in reversed(self._sentences)), key=alike)
        told = times_told(nearest, self._today) if alike(nearest) else ()
        return tuple(one for one in told if _frames(nearest, one))

    def _of_question(self, begin: int) -> tuple[TimeTold, ...]:
        """The times of the question that the sentence beginning at a place answers: "Who was the
        CEO of ACME in 2019? The CEO of ACME was", in one turn or in two."""
        ahead = [(turn, one, said) for turn, one, said in self._sentences if one.end <= begin]
        here = next((one for one in turns(self._text) if one.end >= begin), None)
        if here is None:
            return ()
        own = [(one, said) for turn, one, said in ahead if turn == here]
        if here.role != "answers":
            is_put = bool(own) and own[-1][0].is_question
            return times_told(own[-1][1], self._today) if is_put else ()
        if not all(forms.says_nothing(said.rstrip(".!")) for _, said in own):
            return ()
        put = [said for turn, _, said in ahead if turn != here and turn.role in ("asks", "text")]
        asking = next((said for said in reversed(put) if forms.asks(said)), "")
        return times_told(asking, self._today)


def _when(text: str, today: date) -> When:
    told = times_told(text, today)
    return When(text, without_times(text, told), told)


def _periods(told: Sequence[TimeTold]) -> tuple[Period, ...]:
    return tuple(one.period for one in told if one.period is not None)


def _frames(sentence: str, told: TimeTold) -> bool:
    """Whether a time opens a sentence, or stands in it between commas with nothing beside it."""
    little = lexicon(sentence).function_words
    ahead, behind = sentence[: told.start].rstrip(), sentence[told.end :].lstrip()
    if all(word.text in little for word in words(ahead)):
        return True
    return ahead[-1:] in tuple(_PARTING) and (not behind or behind[0] in _PARTING)


def _lead(text: str, begin: int) -> str:
    """What stands ahead of a place in the sentence that it is in, if it is short."""
    turn = next((one.start for one in reversed(turns(text)) if one.start <= begin), 0)
    start = max(turn, begin - LEAD)
    ahead = sentences(text, start, begin)[-1].start
    return "" if ahead == start > turn else text[ahead:begin]


def _is_of_time(when: When, length: int) -> bool:
    """Whether the first part of a sentence, of some length, tells times and nothing else."""
    rest, done = "", 0
    for one in when.told:
        if one.end <= length:
            rest, done = rest + when.text[done : one.start], one.end
    said = words(rest + when.text[done:length])
    return done > 0 and all(word.text in lexicon(when.text).function_words for word in said)


def _slotted(text: str, sentence: Sentence, mentions: Sequence[Mention]) -> str:
    parts, done = [], sentence.start
    for one in mentions:
        if done <= one.start and one.end <= sentence.end:
            parts += [text[done : one.start], SLOT]
            done = one.end
    return "".join((*parts, text[done : sentence.end]))
