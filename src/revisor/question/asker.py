"""The questions that one turn of a dialogue puts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence
from revisor.language.words import words
from revisor.question import clauses, followups, forms, material, several, standins, subjects
from revisor.question.forms import SLOT
from revisor.question.put import Kind, Put, Question
from revisor.question.standins import StandIn

if TYPE_CHECKING:
    from revisor.question.dialogue import Dialogue

SENTENCES = 4  # of running text, the last of which may go on with a question of the others


class Asker:
    """Reads one turn: with `last` its last sentences, with `replied` also what a quotation asks."""

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
        """The questions that the turn puts, in order."""
        if self.dialogue.works_on_text(self.place):
            return []
        for sentence, told in list(zip(self.read, self.told, strict=True))[self.begin :]:
            if not told and not forms.is_courtesy(self.text[sentence.start : sentence.end]):
                self._sentence(sentence)
        return self.found

    def statements(self) -> list[Question]:
        """What the last told sentence with a name says, which asks if it is a fact's own."""
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
        """Add what a sentence asks, or takes back."""
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
        if forms.asks_for_document(said):
            self.found.append(Put(sentence.end, names_nothing=True, topic=tuple(own)))
            return
        if self.found and self.found[-1].topic and not own and not forms.asks(said):
            return  # what the text is to have in it
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
        """Add what the parts of a sentence ask, and the whole sentence as one question."""
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
        """Whether a sentence asks of other names what was asked last: "And Bolt?"."""
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
        """Whether a name alone asks: "Bolt?", or "ACME" as a user's turn; not an answer."""
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
            plainer = followups.plainly(plain)
            plain = plainer if SLOT in plainer else plain
            unique = dict.fromkeys([(plain, *readings[0][1:]), *readings])
            self._add(plain, plain, list(unique), sentence.end)

    def _nameless(self, sentence: Sentence, *, joined: bool) -> None:
        """A question that speaks of a name by a pronoun, leaves it out, or has another."""
        said = self.text[sentence.start : sentence.end]
        plain = followups.plainly(forms.without_opening(said) if joined else said)
        if self._asked_otherwise(sentence, said):
            return
        standing = standins.stand_in(plain, spoken_by="asks")
        asks = forms.asks(plain) or forms.adds(said) or forms.leaves_name_out(said)
        if not (joined or asks):
            return
        if standing is not None:
            if forms.is_wish_for_name(plain) and standing.slot == SLOT:
                return
            if self._of_whom(sentence, plain, standing):
                return
            about = self._about(sentence, standing)
            frame = forms.without_trailing(forms.without_opening(standing.filled(plain)))
            if about or standing.means != "self":
                self._add_nameless(sentence, frame, about, "pronoun")
        elif forms.names_another(said) or self._quotes(sentence):
            of_another = forms.with_slot_for_another(forms.without_opening(said))
            self._append(of_another, [], sentence.end, True)
        elif not (forms.is_small_talk(said) or standins.is_impersonal(said)):
            self._left_out(sentence, plain, goes_on=joined or forms.goes_on(said))

    def _add_nameless(
        self, sentence: Sentence, frame: str, about: Sequence[Mention], kind: Kind
    ) -> None:
        """Add a question without a name, alone and with the sentence ahead of it: "I muted it. What
        colour is the light?"."""
        context = self._context(sentence)
        texts = [frame] if context is None else [frame, f"{context} {frame}"]
        read = [(text, one, kind) for one in about for text in texts]
        self._add(frame, frame, read, sentence.end)

    def _context(self, sentence: Sentence) -> str | None:
        """The sentence ahead of one, if it tells something of the same name or of none."""
        ahead = [one for one in self.read if one.end <= sentence.start][-1:]
        if not ahead or self.found:
            return None
        start, end = ahead[0].start, ahead[0].end
        told = self.text[start:end]
        if self.told[self.read.index(ahead[0])] or forms.is_courtesy(told) or forms.asks(told):
            return None
        rules, said = forms.parsed(told)
        if all(word.text in rules.polite for word in said):
            return None
        own = self.dialogue.within(start, end)
        if own:
            return forms.filled(self.text, start, own[0], end) if len(own) == 1 else None
        inner = standins.stand_in(told, spoken_by="asks")
        if inner is not None:
            return inner.filled(told)
        return None if forms.names_another(told) else forms.clean(told)

    def _quotes(self, sentence: Sentence) -> bool:
        return any(sentence.start <= one[0] and one[1] <= sentence.end for one in self.quotes)

    def _of_whom(self, sentence: Sentence, plain: str, standing: StandIn) -> bool:
        """Whether a question asks only who it is that the sentence ahead of it speaks of, so that
        both together are the question: "I want to write to their CEO. Who is that?"."""
        ahead = [one for one in self.read if one.end <= sentence.start][-1:]
        wished = bool(self.found) and self.found[-1].end == ahead[0].end if ahead else False
        if standing.means == "self" or not ahead or (self.found and not wished):
            return False
        told = self.text[ahead[0].start : ahead[0].end]
        empty = followups.says_nothing_else(plain, standing)
        if not empty or not followups.tells_of_whom(told):
            return False
        own = self.dialogue.within(ahead[0].start, ahead[0].end)[-1:]
        inner = standins.stand_in(told, spoken_by="asks")
        if own:
            said, about = forms.filled(self.text, ahead[0].start, own[0], ahead[0].end), own
        elif inner is None and forms.names_another(told):
            return False
        else:
            said = inner.filled(told) if inner else standins.given_name(told)
            about = self._in_turn(ahead[0], inner) or self.dialogue.referents(self.place, inner)
        if wished:  # "I want to know their CEO."
            self.found.pop()
        frame = f"{said} {plain}"
        self._append(frame, [(frame, one, "pronoun") for one in about[:1]], sentence.end)
        return True

    def _left_out(self, sentence: Sentence, said: str, *, goes_on: bool) -> None:
        """A question that leaves its name out: it is that of the turn, or of the talk before."""
        if not goes_on and not forms.leaves_name_out(said):
            self._append(None, [], sentence.end)
            return
        frame = standins.attribute(said)
        ahead = any(one.end <= sentence.start for one in self.inside)
        request = not goes_on and not ahead and forms.is_request(said)
        orders = request and not forms.asks_by_word(said)
        about: list[Mention] = []
        if not (orders or self.left or self._of_another(sentence)):
            about = [] if request else self._in_turn(sentence, None)
            if not about and (goes_on or self._talks()):
                about = self.dialogue.referents(self.place, None)
        if about or not request:
            self._add_nameless(sentence, frame, about[:1], "ellipsis")
        if request:
            open_ = self.found[-1] if about else Put(sentence.end)
            self.found[len(self.found) - bool(about) :] = [replace(open_, names_nothing=True)]

    def _talks(self) -> bool:
        """Whether a question without a name is about that of the talk; each "Q:" of a list stands
        alone."""
        turn, spoken = self.turn, self.dialogue.spoken
        introduced = self.place > 0 and spoken[self.place - 1].role == "other"
        if introduced and not spoken[self.place - 1].marked:
            return True
        return turn.marked or turn.name in lexicon(turn.name).talk_labels

    def _asked_otherwise(self, sentence: Sentence, said: str) -> bool:
        """Whether a sentence is only another question word, place or time: "Since when?", "And in
        2020?"."""
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
        if self._of_another(sentence):
            return []
        return self._in_turn(sentence, standing) or self.dialogue.referents(self.place, standing)

    def _of_another(self, sentence: Sentence) -> bool:
        """Whether the turn has come to a name that is not known ahead of a sentence."""
        if self.found:
            return self.found[-1].names_another
        ahead = [one for one in self.read if one.end <= sentence.start][-1:]
        return any(
            not self.dialogue.within(one.start, one.end)
            and followups.turns_to_another(self.text[one.start : one.end])
            for one in ahead
        )

    def _in_turn(self, sentence: Sentence, standing: StandIn | None) -> list[Mention]:
        """The name of the turn that a stand-in may mean: its topic so far, else (unless an earlier
        turn tells) its first name."""
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
