"""The questions that are put in a dialogue, in their order, and about whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence, sentences
from revisor.language.turns import Turn
from revisor.language.words import is_unspaced, words
from revisor.question import clauses, forms, material, several, standins, subjects
from revisor.question.forms import SLOT
from revisor.question.put import Kind, Put, Question
from revisor.question.standins import StandIn

BACK = 8  # turns back in which what a question goes on with is looked for
SENTENCES = 4  # of running text, the last of which may go on with a question of the others


class Dialogue:
    """The turns of a text with the names in it, and what each asks.

    Args:
        text: that ends where something may be asked.
        mentions: the names in it, in order.
        spoken: its turns.
    """

    def __init__(self, text: str, mentions: Sequence[Mention], spoken: Sequence[Turn]) -> None:
        self.text, self.mentions, self.spoken = text, mentions, spoken

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
        """What the last of some turns puts; remembered, since a text is read at each token of its
        answer."""
        end = spoken[-1].end
        named = tuple(one for one in self.mentions if one.end <= end)
        return _put(self.text[:end], named, tuple(spoken), last, replied)

    def put_last(self, sentence: Sentence, *, replied: bool) -> list[Put]:
        """The questions that a sentence of the last turn puts.

        Args:
            replied: a quotation opens behind it, so that one that it tells is answered.
        """
        spoken = [*self.spoken[:-1], replace(self.spoken[-1], end=sentence.end)]
        put = self._put(spoken, last=True, replied=replied)
        return [one for one in put if sentence.start < one.end <= sentence.end]

    def statements(self, place: int) -> list[Question]:
        """The last told sentence of a turn that names somebody: it asks if it is a fact's own."""
        return _Asker(self, place).statements()

    def works_on_text(self, place: int) -> bool:
        """Whether what a turn says is only to be worked on: a system prompt, what stands ahead of
        all turns, or the instruction just before it says so ("Translate into French.")."""
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
        """Whom what stands for a name in a turn, or the name left out in it, may mean by what was
        said before the turn; the likeliest first."""
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
        return [] if standing is None else self._set_up(place, only_self=False)

    def _of_talk(self, at: int, place: int, standing: StandIn | None) -> list[Mention] | None:
        """Whom a turn that asked, and its answer, speak of; None if they name nobody.

        "And where was she born?" behind "Who leads ACME?" means whom the answer names, "And where
        is it based?" ACME.
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
        if not asked:
            told = self.within(turn.start, turn.end)
            main = subjects.main_name(self.text, told, self.sentences(turn))
            asked = [] if main is None else [main]
        named = [one for one in answered if not asked or one.facts != asked[0].facts]
        of_person = bool(put) and put[-1].of_person
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
        """The name for which a system prompt, or the beginning of the turn itself, says that one
        answers: "You are the assistant of ACME."; else, if not `only_self`, the only one in it."""
        for turn in self.spoken[: place + 1]:
            if not (turn.sets_up or turn is self.spoken[place]):
                continue
            own = self.within(turn.start, turn.end)
            for sentence in self.sentences(turn) if own else ():
                inside = self.within(sentence.start, sentence.end)
                if inside and _casts(self.text[sentence.start : sentence.end]):
                    return inside[:1]
            if turn.sets_up and not only_self and own and len({one.facts for one in own}) == 1:
                return own[:1]
        return []


def _casts(said: str) -> bool:
    """Whether a sentence tells somebody for whom to answer: not "You must not speak of ACME."."""
    rules, read = forms.parsed(said)
    denied = any(word.text in rules.negations for word in read)
    return bool(forms.opening(said, rules.casting)) and not denied


@lru_cache(maxsize=256)
def _put(
    text: str, mentions: tuple[Mention, ...], spoken: tuple[Turn, ...], last: bool, replied: bool
) -> Sequence[Put]:
    """What the last of some turns puts.

    Args:
        last: only what its last sentences put.
    """
    dialogue = Dialogue(text, mentions, spoken)
    return tuple(_Asker(dialogue, len(spoken) - 1, last=last, replied=replied).put())


class _Asker:
    """Reads one turn.

    Args:
        last: only its last sentences.
        replied: what a quotation tells is answered.
    """

    def __init__(
        self, dialogue: Dialogue, place: int, *, last: bool = False, replied: bool = False
    ) -> None:
        self.dialogue, self.place = dialogue, place
        self.text, self.turn = dialogue.text, dialogue.spoken[place]
        self.inside = dialogue.within(self.turn.start, self.turn.end)
        self.read = [one for one in dialogue.sentences(self.turn) if one.end > one.start]
        self.begin = max(0, len(self.read) - SENTENCES) if last else 0
        self.quotes = (
            [] if replied else material.quotations(self.text, self.turn.start, self.turn.end)
        )
        self.told = material.told(self.text, self.turn, self.read)
        self.left = False  # the subject was changed
        self.found: list[Put] = []

    def put(self) -> list[Put]:
        if self.dialogue.works_on_text(self.place):
            return []
        for sentence, told in list(zip(self.read, self.told, strict=True))[self.begin :]:
            if not told and not forms.is_courtesy(self.text[sentence.start : sentence.end]):
                self._sentence(sentence)
        return self.found

    def statements(self) -> list[Question]:
        for sentence, told in zip(reversed(self.read), reversed(self.told), strict=True):
            own = self.dialogue.within(sentence.start, sentence.end)
            if not own:
                continue
            if told or not forms.is_statement(self.text[sentence.start : sentence.end]):
                return []
            return [
                Question(template, one, "statement", sentence.end)
                for one in reversed(own[-2:])
                for template, _ in clauses.templates(self.text, one, sentence)
            ]
        return []

    def _sentence(self, sentence: Sentence) -> None:
        """What a sentence asks, or takes back, is added to what was found."""
        said = forms.without_bullet(self.text[sentence.start : sentence.end])
        rules = lexicon(said)
        sentence = replace(sentence, start=sentence.end - len(said))
        taken_back = forms.takes_back(said)
        if taken_back:
            self.found.clear()
            rest = said[taken_back:].lstrip(" ,.!:;-\u2013\u2014")
            sentence = replace(sentence, start=sentence.end - len(rest))
            said = rest
        if not words(said):
            return
        self.left = self.left or bool(forms.opening(said, rules.departures))
        if forms.asks_for_fiction(said):
            self.found.append(Put(sentence.end, names_nothing=True))
            return
        own = self.dialogue.within(sentence.start, sentence.end)
        whole = [
            one for one in own if not material.is_told_of(self.text, sentence, one, self.quotes)
        ]
        if own and not whole:
            return
        if whole and self._repeats(sentence, whole):
            return
        if forms.is_statement(said) and (own or not forms.adds(said)):
            return
        self._parts(sentence, whole)

    def _parts(self, sentence: Sentence, own: Sequence[Mention]) -> None:
        """What the parts of a sentence ask; but whatever stands in one sentence may be one question
        after all."""
        spans = [(sentence.start, sentence.end)]
        if forms.asks(self.text[sentence.start : sentence.end]):
            spans = several.parts(self.text, sentence.start, sentence.end, own)
        first = len(self.found)
        for at, (start, end) in enumerate(spans):
            part = replace(sentence, start=start, end=end)
            inside = [one for one in own if start <= one.start and one.end <= end]
            if inside and not (len(spans) > 1 and self._repeats(part, inside)):
                self._named(part, inside)
            elif not inside:
                self._nameless(part, joined=at > 0)
        put = self.found[first] if len(spans) > 1 and len(self.found) > first else None
        if put is not None and put.about[:1] and put.about[0] in own:
            whole = forms.filled(self.text, sentence.start, put.about[0], sentence.end)
            read = replace(put.readings[0], text=whole)
            self.found[first] = replace(put, readings=(*put.readings, read))

    def _repeats(self, sentence: Sentence, own: Sequence[Mention]) -> bool:
        """Whether a sentence asks of other names what was asked last: "And Bolt?", "I mean that of
        ACME."."""
        around, at = "", sentence.start
        for one in own:
            around, at = f"{around}{self.text[at : one.start]} | ", one.end
        around += self.text[at : sentence.end]
        if not forms.repeats(around) or (not words(around) and not self._is_put(around)):
            return False
        before = self.found or self.dialogue.goes_on_from(self.place)
        frame = next((one.frame for one in reversed(before) if one.frame), None)
        if frame is None:
            return False
        if self.found and forms.opening(around, lexicon(around).repairs):
            self.found.pop()
        for one in own:
            self._add(frame, frame, [(frame, one, "ellipsis")], sentence.end)
        return True

    def _is_put(self, around: str) -> bool:
        """Whether a name alone is a question: "Bolt?", or "ACME" for one who was asked of whom they
        speak; not the answer in "Who leads it? Jane Roe."."""
        return "?" in around or (not self.found and self.turn.role == "asks")

    def _add(
        self,
        frame: str | None,
        plain: str,
        readings: Sequence[tuple[str, Mention, Kind]],
        end: int,
        *,
        names_another: bool = False,
    ) -> None:
        """Add a question, or several that a template is made of."""
        some = several.questions_of(plain)
        if len(some) == 1:
            self._append(frame, readings, end, names_another)
            return
        for at, one in enumerate(some):
            # Whatever stands in one sentence may be one question after all.
            alone: list[tuple[str, Mention, Kind]] = [(one, *readings[0][1:])] if readings else []
            self._append(one, [*alone, *(readings if at == 0 else ())], end)

    def _append(
        self,
        frame: str | None,
        readings: Sequence[tuple[str, Mention, Kind]],
        end: int,
        names_another: bool = False,
    ) -> None:
        order = len(self.found)
        read = tuple(
            Question(text, mention, kind, end, order=order) for text, mention, kind in readings
        )
        self.found.append(Put(end, read, frame, names_another))

    def _named(self, sentence: Sentence, own: Sequence[Mention]) -> None:
        """A question with names, of each of which it is asked where they stand together."""
        text = self.text
        said = text[sentence.start : sentence.end]
        runs = subjects.coordinated(text, sentence, own)
        if len(own) > 1 and forms.is_comparison(said):
            self._append(None, [], sentence.end, True)
            return
        if runs:
            run = runs[-1]
            for one in run:
                alone = (
                    text[sentence.start : run[0].start] + SLOT + text[run[-1].end : sentence.end]
                )
                plain = forms.clean(alone)
                self._add(plain, plain, [(plain, one, "question")], sentence.end)
            return
        foreign = subjects.coordinated_with_another(text, sentence, own[-1])
        if foreign is not None and forms.asks(said):
            first, plain = foreign
            about: list[tuple[str, Mention, Kind]] = [(plain, own[-1], "question")]
            for some in ([], about) if first else (about, []):
                self._add(plain, plain, some, sentence.end, names_another=not some)
            return
        readings: list[tuple[str, Mention, Kind]] = []
        for one in subjects.asked_of(text, sentence, own):
            for template, begin in clauses.templates(text, one, sentence):
                kind: Kind = "question" if begin is None else "pronoun"
                readings.append((template, one, kind))
        if not readings and forms.asks(said):
            self._append(None, [], sentence.end, True)
        # "ACME? Who runs it?" puts one question.
        readings = [one for one in readings if words(forms.without_opening(one[0]))]
        if readings:
            plain = forms.without_opening(readings[0][0])
            unique = dict.fromkeys([(plain, *readings[0][1:]), *readings])
            self._add(plain, plain, list(unique), sentence.end)

    def _nameless(self, sentence: Sentence, *, joined: bool) -> None:
        """A question that speaks of a name by a pronoun, leaves it out, or has another."""
        said = self.text[sentence.start : sentence.end]
        plain = forms.without_opening(said) if joined else said
        if self._asked_otherwise(sentence, said):
            return
        standing = standins.stand_in(plain, spoken_by="asks")
        if not (joined or forms.asks(said) or forms.adds(said) or forms.leaves_name_out(said)):
            return
        if standing is not None:
            if forms.is_wish_for_name(plain) and standing.slot == SLOT:
                return
            about = self._about(sentence, standing)
            frame = forms.without_opening(standing.filled(plain))
            if about or standing.means != "self":
                self._add(frame, frame, [(frame, one, "pronoun") for one in about], sentence.end)
        elif forms.names_another(said):
            of_another = forms.with_slot_for_another(forms.without_opening(said))
            self._append(of_another, [], sentence.end, True)
        elif not (forms.is_small_talk(said) or standins.is_impersonal(said)):
            self._left_out(sentence, said, joined=joined)

    def _left_out(self, sentence: Sentence, said: str, *, joined: bool) -> None:
        """A question that leaves its name out: it is that of the turn, or of the talk before if it
        goes on with that or asks of something known ("the CEO")."""
        goes_on = joined or forms.goes_on(said)
        if not goes_on and not forms.leaves_name_out(said):
            self._append(None, [], sentence.end)
            return
        frame = standins.attribute(said)
        ahead = any(one.end <= sentence.start for one in self.inside)
        if not goes_on and not ahead and forms.is_request(said):
            self.found.append(Put(sentence.end, names_nothing=True))
            return
        about: list[Mention] = []
        if not self.left and not (self.found and self.found[-1].names_another):
            about = self._in_turn(sentence, None)
            if not about and (goes_on or self._is_known(said)):
                about = self.dialogue.referents(self.place, None)
        self._add(frame, frame, [(frame, one, "ellipsis") for one in about[:1]], sentence.end)

    def _is_known(self, said: str) -> bool:
        """Whether "the CEO" is that of whom one talks: in a talk, or below what introduces the
        question; each "Q:" of a list is a question of its own."""
        turn, spoken = self.turn, self.dialogue.spoken
        introduced = self.place > 0 and spoken[self.place - 1].role == "other"
        if introduced and not spoken[self.place - 1].marked:
            return True
        talks = turn.marked or turn.name in lexicon(turn.name).talk_labels
        rules, read = forms.parsed(said)
        telegram = all(word.text in rules.asked_nouns | rules.polite for word in read)
        # Chinese has no article.
        bare = is_unspaced(read[0].text[0]) and read[0].text in rules.asked_nouns
        known = telegram or bare or any(one.text in rules.definite_articles for one in read)
        return talks and known

    def _asked_otherwise(self, sentence: Sentence, said: str) -> bool:
        """Whether a sentence is but a question word, which asks another thing of what was asked, or
        a place or time to ask the same of: "Since when?", "And in 2020?"."""
        before = self.found or self.dialogue.goes_on_from(self.place)
        last = before[-1] if before else None
        if last is None or last.frame is None:
            return False
        frame = standins.asked_otherwise(last.frame, said)
        where = forms.restricts(said)
        if frame is None and where is None:
            return False
        frame = frame or f"{last.frame.rstrip('?!. ')} {where}?"
        about: list[tuple[str, Mention, Kind]] = [
            (frame, one, "ellipsis") for one in last.about[:1]
        ]
        self._add(frame, frame, about, sentence.end, names_another=not about)
        return True

    def _about(self, sentence: Sentence, standing: StandIn) -> list[Mention]:
        if standing.means == "self":
            return self.dialogue.referents(self.place, standing)
        if self.found and self.found[-1].names_another:
            return []
        return self._in_turn(sentence, standing) or self.dialogue.referents(self.place, standing)

    def _in_turn(self, sentence: Sentence, standing: StandIn | None) -> list[Mention]:
        """The names of the turn that something may mean: of those before it that which they are
        about; else, where nothing was said before the turn, the first behind it."""
        before = [one for one in self.inside if one.end <= sentence.start]
        read = [one for one in self.read if one.end <= sentence.start]
        asked = [one for put in reversed(self.found) for one in put.about[:1]][:1]
        paragraph = self.text.rfind("\n\n", self.turn.start, sentence.start)
        near = [one for one in read if self.dialogue.within(one.start, one.end)][-1:]
        if standing is not None and near and near[0].start >= paragraph:
            # A pronoun means whom the sentence ahead of it names.
            read, before = near, self.dialogue.within(near[0].start, near[0].end)
        main = subjects.main_name(self.text, before, read)
        found = asked or ([] if main is None else [main])
        if found and standing is not None and standing.means == "person":
            of_person = bool(self.found) and self.found[-1].of_person
            some = [*found, *reversed(before)]
            return [
                one
                for one in dict.fromkeys(some)
                if not of_person and standins.may_mean(standing, self.text, one)
            ][:1]
        if before or not self.inside:
            return found
        earlier = self.dialogue.referents(self.place, standing)
        return earlier or self.inside[:1]
