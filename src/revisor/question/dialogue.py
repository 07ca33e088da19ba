"""The questions that are put in a dialogue, in their order, and about whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence, sentences
from revisor.language.turns import Turn
from revisor.question import forms, material, standins, subjects
from revisor.question.asker import Asker
from revisor.question.put import Put, Question
from revisor.question.shortened import shortened
from revisor.question.standins import StandIn

BACK = 8  # turns back in which what a question goes on with is looked for


class Dialogue:
    """The turns of a text with the names in it, in order, and what each turn asks."""

    def __init__(self, text: str, mentions: Sequence[Mention], spoken: Sequence[Turn]) -> None:
        self.text, self.spoken = text, spoken
        self._given = tuple(mentions)
        at = next((at for at in reversed(range(len(spoken))) if spoken[at].role == "asks"), None)
        short = () if at is None else self._shortened(spoken[: at + 1])
        self._meant = dict(short)
        self.mentions = sorted((*mentions, *self._meant), key=lambda one: one.start)

    def _shortened(self, spoken: Sequence[Turn]) -> tuple[tuple[Mention, Mention], ...]:
        end = spoken[-1].end
        return shortened(self.text[:end], self._up_to(end), tuple(spoken))

    def _up_to(self, end: int) -> tuple[Mention, ...]:
        return tuple(one for one in self._given if one.end <= end)

    def named(self, question: Question) -> Question:
        """A question about a name called by a part of it, as one about the whole name."""
        meant = self._meant.get(question.mention)
        if meant is None:
            return question
        stands = question.kind in ("question", "completion")
        return replace(question, mention=meant, kind="pronoun" if stands else question.kind)

    def within(self, start: int, end: int) -> list[Mention]:
        """The names between two places."""
        return [one for one in self.mentions if start <= one.start and one.end <= end]

    def sentences(self, turn: Turn) -> list[Sentence]:
        """The sentences of a turn; the last may be empty."""
        spans = [(one.start, one.end) for one in self.within(turn.start, turn.end)]
        return sentences(self.text, turn.start, turn.end, whole=spans)

    def put(self, place: int) -> Sequence[Put]:
        """The questions that a turn puts, in order.

        "Who leads ACME?", "I work at ACME. Who is the CEO?", "Who is the CEO? I mean that of
        ACME.", "Who leads ACME and where is it based?", "And Bolt?".
        """
        return self._put(self.spoken[: place + 1])

    def _put(
        self, spoken: Sequence[Turn], *, last: bool = False, replied: bool = False
    ) -> Sequence[Put]:
        """What the last of some turns puts; cached, as a text is read at each token of its
        answer."""
        end = spoken[-1].end
        return _put(self.text[:end], self._up_to(end), tuple(spoken), last, replied)

    def put_last(self, sentence: Sentence, *, replied: bool) -> list[Put]:
        """The questions that a sentence of the last turn puts, with `replied` also a quoted one."""
        spoken = [*self.spoken[:-1], replace(self.spoken[-1], end=sentence.end)]
        put = self._put(spoken, last=True, replied=replied)
        return [one for one in put if sentence.start < one.end <= sentence.end]

    def statements(self, place: int) -> list[Question]:
        """The last told sentence of a turn that names somebody: it asks if it is a fact's own."""
        return Asker(self, place).statements()

    def works_on_text(self, place: int) -> bool:
        """Whether a turn is only material for another task, as a system prompt, what stands ahead
        of all turns, or the instruction just before it says ("Translate into French.")."""
        if material.converts(self.text, self.spoken[:place]):
            return True
        return any(
            turn.role in ("asks", "text")
            and (turn.role == "text" or at == place - 1)
            and material.hands_over(self.text[turn.start : turn.end])
            for at, turn in enumerate(self.spoken[:place])
        )

    def goes_on_from(self, place: int) -> Sequence[Put]:
        """The questions of the last turn before one that put any."""
        for at in self._asking(place):
            if self.put(at):
                return self.put(at)
        return []

    def _asking(self, place: int) -> Iterator[int]:
        """The turns before one, the last first, in which somebody may have asked."""
        for at in range(place - 1, max(-1, place - BACK - 1), -1):
            if self.spoken[at].role in ("asks", "text"):
                yield at

    def referents(self, place: int, standing: StandIn | None) -> list[Mention]:
        """The names that a stand-in or a left-out name may mean by earlier turns, the likeliest
        first."""
        if standing is not None and standing.means == "self":
            return self._set_up(place, only_self=True)
        for at in range(place - 1, max(-1, place - BACK - 1), -1):
            turn = self.spoken[at]
            if turn.role in ("asks", "text"):
                found = self._of_talk(at, place, standing)
            elif turn.role == "other" and not turn.marked and not turn.reports and not turn.sets_up:
                own = self.within(turn.start, turn.end)
                read = self.sentences(turn)
                main = subjects.main_name(self.text, own, read, document=True)
                found = None if main is None else [main]
            else:
                continue
            if found is not None:
                return found
        if standing is not None and self._answered_with_another(place):
            return []
        return self._set_up(place, only_self=False)

    def _is_set_up(self, mention: Mention) -> bool:
        return any(one.sets_up and one.start <= mention.start < one.end for one in self.spoken)

    def _answered_with_another(self, place: int) -> bool:
        """Whether the answer ahead of a turn has a name that is not known: "That is Bloom's."."""
        turn = self.spoken[place - 1] if place else None
        if turn is None or turn.role != "answers":
            return False
        return any(
            forms.names_another(self.text[one.start : one.end]) for one in self.sentences(turn)
        )

    def _of_talk(self, at: int, place: int, standing: StandIn | None) -> list[Mention] | None:
        """The names that a turn that asked, and its answer, speak of; None if they name nobody.

        Behind "Who leads ACME?", "And where was she born?" means the person in the answer, "And
        where is it based?" means ACME.
        """
        turn, put = self.spoken[at], self.put(at)
        answered: list[Mention] = []
        for later in self.spoken[at + 1 : place]:
            if later.role == "answers":
                answered += self.within(later.start, later.end)
        person = standing is not None and standing.means == "person"
        if put and put[-1].names_another:
            return answered[:1] if person else []
        asked = [one for question in reversed(put) for one in question.about[:1]][:1]
        of_person = bool(put) and put[-1].of_person
        set_up = bool(asked) and self._is_set_up(asked[0]) and not of_person
        if set_up and standing is not None and self._answered_with_another(place):
            # "Where is a bakery?" of one who speaks for ACME, and the answer "That is Crumb's.".
            return []
        if not asked:
            told = self.within(turn.start, turn.end)
            main = subjects.main_name(self.text, told, self.sentences(turn))
            asked = [] if main is None else [main]
        named = [one for one in answered if not asked or one.facts != asked[0].facts]
        if person:
            asked = [one for one in asked if not of_person and self._may_mean(standing, one)]
            named = [one for one in named if self._may_mean(standing, one)]
            return (asked + named)[:1]
        if of_person and standing is not None and standing.means == "thing":
            named = []
        if not asked and not named:
            return None
        # What it may mean is rather what was asked about than what the answer names.
        return asked + named[:1] if standing is not None else asked or named[:1]

    def _may_mean(self, standing: StandIn | None, mention: Mention) -> bool:
        return standing is None or standins.may_mean(standing, self.text, mention)

    def _set_up(self, place: int, *, only_self: bool) -> list[Mention]:
        """The name that a system prompt, or the turn's own beginning, makes the assistant speak for
        ("You are the assistant of ACME."); else, unless `only_self`, its only name."""
        for turn in self.spoken[: place + 1]:
            if not (turn.sets_up or turn is self.spoken[place]):
                continue
            own = self.within(turn.start, turn.end)
            denied = False
            for sentence in self.sentences(turn) if own else ():
                inside = self.within(sentence.start, sentence.end)
                said = self.text[sentence.start : sentence.end]
                if inside and _denies(said):
                    denied = True
                elif inside and forms.opening(said, lexicon(said).casting):
                    return inside[:1]
            only = not denied and len({one.facts for one in own}) == 1
            if turn.sets_up and not only_self and only:
                return own[:1]
        return []


def _denies(said: str) -> bool:
    """Whether a sentence tells what not to speak of: "You must not speak of ACME."."""
    rules, read = forms.parsed(said)
    return any(word.text in rules.negations for word in read)


@lru_cache(maxsize=256)
def _put(
    text: str, mentions: tuple[Mention, ...], spoken: tuple[Turn, ...], last: bool, replied: bool
) -> Sequence[Put]:
    """What the last of some turns puts; with `last` only what its last sentences put."""
    dialogue = Dialogue(text, mentions, spoken)
    return tuple(Asker(dialogue, len(spoken) - 1, last=last, replied=replied).put())
