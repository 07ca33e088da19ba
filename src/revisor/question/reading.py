"""What could be asked at the end of a text: names and the words around them, as templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from revisor.language.lexicon import Lexicon, lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence
from revisor.language.turns import Turn, turns
from revisor.question import clauses, forms, material, standins, subjects
from revisor.question.dialogue import Dialogue
from revisor.question.forms import SLOT
from revisor.question.put import Put, Question
from revisor.question.records import field_asked, in_table
from revisor.question.restated import restating

__all__ = ["SLOT", "Question", "questions"]

BACK = 3  # sentences back in which a pronoun's name is looked for
LINES = 12  # lines back in which a field's name is
_OPENING = ' \n\t"*_`:{[(\u201c\u2018\u300c#>'
_NUMBER = re.compile(r"^[ \t*_]*(?:Q|A)?(?P<number>\d{1,2})[.):]+[*_]*(?:\s+|$)", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*\u2022](?:\s+|$)", re.MULTILINE)


def questions(text: str, mentions: Sequence[Mention]) -> list[Question]:
    """What could be asked where a text with these mentions ends, the likeliest reading first."""
    if not mentions:
        return []
    spoken = turns(text)
    here = spoken[-1] if spoken else Turn("text", 0, len(text))
    if here.marked and here.role in ("asks", "other"):
        return []  # a user's turn in a chat is not the model's to write
    dialogue = Dialogue(text, mentions, spoken or (here,))
    read = _in_answer(dialogue) if here.role == "answers" else _in_text(dialogue)
    return list(_unique(map(dialogue.named, read)))


def _unique(found: Iterator[Question]) -> Iterator[Question]:
    seen = set()
    for question in found:
        key = (question.text, question.mention.start)
        if key not in seen and question.text.strip():
            seen.add(key)
            yield question


def _field(dialogue: Dialogue, about: Mention | None = None) -> Question | None:
    """A field of a record that names somebody in another field, or is about somebody."""
    text, here = dialogue.text, dialogue.spoken[-1]
    inside = dialogue.within(here.start, here.end)
    moved = [replace(one, start=one.start - here.start, end=one.end - here.start) for one in inside]
    found = field_asked(text[here.start : here.end], moved, about)
    if found is None:
        return None
    mention = inside[moved.index(found[1])] if found[1] in moved else found[1]
    return Question(found[0], mention, "record", here.start + found[2])


# In running text


def _in_text(dialogue: Dialogue) -> Iterator[Question]:
    """What is asked at the end of running text: its last sentence, or the one before it."""
    field = _field(dialogue)
    if field is not None or in_table(dialogue.text):
        yield from () if field is None else (field,)
        return
    text, here = dialogue.text, dialogue.spoken[-1]
    read = dialogue.sentences(here)
    if material.is_told(text, here, read):
        return
    own = dialogue.within(read[-1].start, read[-1].end)
    asked = _completions(dialogue, read[-1], own) if own else _carried_on(dialogue, read)
    for question in asked:
        yield replace(question, running=len(text) - here.start)


def _completions(
    dialogue: Dialogue, sentence: Sentence, own: Sequence[Mention]
) -> Iterator[Question]:
    """An unfinished sentence with names, as templates; of a name beside the one asked about, only
    the whole, which asks if it is a fact's own wording.

    "Jane Roe is the CEO of ACME" has its answer ahead of the name.
    """
    text = dialogue.text
    quotes = material.quotations(text, sentence.start, sentence.end)
    asked = subjects.asked_of(text, sentence, own)
    for mention in asked:
        if material.is_told_of(text, sentence, mention, quotes) or clauses.lacks_preposition(
            text[mention.end : sentence.end]
        ):
            continue
        for template, begin in clauses.templates(text, mention, sentence):
            if begin is None:
                yield Question(template, mention, "completion", sentence.start)
            else:
                yield Question(template, mention, "pronoun", begin)
    for mention in own[-2:]:
        if mention not in asked:
            whole = forms.filled(text, sentence.start, mention, sentence.end)
            yield Question(whole, mention, "statement", sentence.start)


def _carried_on(dialogue: Dialogue, read: Sequence[Sentence]) -> Iterator[Question]:
    """What a last sentence without a name asks: it is the name of a field, answers a question that
    was put, or has a pronoun for a name."""
    text, here = dialogue.text, dialogue.spoken[-1]
    inside = dialogue.within(here.start, here.end)
    last = read[-1]
    fragment = text[last.start : last.end]
    if forms.is_field(fragment):
        named = _of_block(text, inside, read)
        if named is not None:
            yield Question(forms.field_text(fragment), named, "record", last.start)
    if len(read) > 1:
        replied = bool(fragment) and not fragment.strip(_OPENING)
        # A title is no question that the text behind it could answer in words of its own.
        asked = forms.says_nothing(fragment) or forms.asks(text[read[-2].start : read[-2].end])
        for put in dialogue.put_last(read[-2], replied=replied) if asked else ():
            yield from _begun(put.readings, fragment, last, read[-2].end)
    standing = standins.stand_in(fragment)
    if standing is None:
        return
    for mention in _meant(dialogue, read, standing):
        yield Question(standing.filled(fragment), mention, "pronoun", last.start)


def _begun(
    readings: Sequence[Question], fragment: str, last: Sentence, answered_from: int
) -> Iterator[Question]:
    """A question with the beginning of its answer: "Who leads {}?" "The answer is"; words of its
    own in it tell what is asked: "The present CEO is"."""
    if forms.says_nothing(fragment):
        for question in readings:
            yield replace(question, answered_from=answered_from)
        return
    if standins.stand_in(fragment) is not None:
        return
    rules, said = forms.parsed(fragment)
    read = [word.text for word in said]
    for question in readings[:1]:
        if not rules.definite_articles.isdisjoint(read):
            if forms.names_another(fragment):
                return
            own = standins.given_name(fragment)
            read_so = replace(question, text=own, answered_from=answered_from, kind="pronoun")
            yield restating(read_so, readings)
        if rules.asked_nouns.isdisjoint(read):
            joined = f"{question.text} {forms.clean(fragment)}"
            # What was read for a name that does not stand there stays so.
            nameless = question.kind in ("pronoun", "ellipsis")
            kind = question.kind if nameless else "question"
            told = replace(question, text=joined, answered_from=answered_from, kind=kind)
            yield restating(told, readings)


def _meant(
    dialogue: Dialogue, read: Sequence[Sentence], standing: standins.StandIn
) -> Iterator[Mention]:
    """The names that a stand-in may mean by earlier sentences: the first and the last of the
    nearest that has any; none where it speaks of an unknown name."""
    text = dialogue.text
    for sentence in reversed(list(read[:-1])[-BACK:]):
        own = dialogue.within(sentence.start, sentence.end)
        if not own:
            if subjects.speaks_of_another(text[sentence.start : sentence.end]):
                return
            continue
        asked = forms.asks(text[sentence.start : sentence.end])
        rules, said = forms.parsed(text[sentence.start : sentence.end])
        of_person = asked and any(word.text in rules.who_words for word in said[:8])
        if standing.means == "person" and of_person:
            return
        for mention in dict.fromkeys((own[0], own[-1])):
            if standins.may_mean(standing, text, mention):
                yield mention
        return


def _of_block(text: str, inside: Sequence[Mention], read: Sequence[Sentence]) -> Mention | None:
    """The name that a list of fields is about: the first of its block, else the last one above."""
    before = list(read[:-1])[-LINES:]
    if not before:
        return None
    end = read[-1].start
    block = max(text.rfind("\n\n", 0, end) + 2, before[0].start)
    own = [one for one in inside if block <= one.start and one.end <= end]
    above = [one for one in inside if before[0].start <= one.start and one.end <= end]
    return own[0] if own else above[-1] if above else None


# In the answer of a dialogue


def _in_answer(dialogue: Dialogue) -> Iterator[Question]:
    """What is asked in an answer: by its own last sentence, or by who asked."""
    text, spoken = dialogue.text, dialogue.spoken
    here = spoken[-1]
    place = next(
        (at for at in range(len(spoken) - 2, -1, -1) if spoken[at].role in ("asks", "text")), None
    )
    asked = () if place is None else dialogue.put(place)
    about = next((name for one in asked for name in one.about), None)
    field = _field(dialogue, about)
    if field is not None or in_table(text):
        yield from () if field is None else (field,)
        return
    if place is not None and _wants_no_answer(dialogue, place):
        return
    read = dialogue.sentences(here)
    own = dialogue.within(read[-1].start, read[-1].end)
    opens = not text[here.start : here.end].strip(_OPENING)
    readings = [one for put in asked for one in put.readings]
    for question in _completions(dialogue, read[-1], own) if own else ():
        yield restating(question, readings)
    if place is None:
        if not own:
            yield from _carried_on(dialogue, read)
    elif opens:
        for question in _open_at_first(asked):
            yield replace(question, answered_from=here.start, opens=True)
        for question in dialogue.statements(place):
            yield replace(question, answered_from=here.start)
    else:
        yield from _answered(dialogue, read, asked, named=bool(own))


def _wants_no_answer(dialogue: Dialogue, place: int) -> bool:
    turn = dialogue.spoken[place]
    said = dialogue.text[turn.start : turn.end]
    if dialogue.works_on_text(place):
        return True
    return material.wants_no_answer(said) and not any(one.readings for one in dialogue.put(place))


def _open_at_first(put: Sequence[Put]) -> Iterator[Question]:
    """The questions that may be answered first: all before the first about an unknown name."""
    for one in put:
        if one.names_another:
            return
        yield from one.readings
        if one.names_nothing:
            return


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far an answer has come: `done` answers are given, the next begins at `begin` with
    `fragment`; `is_item`: only a list's number is there."""

    done: int
    begin: int
    is_item: bool
    fragment: str


def _progress(dialogue: Dialogue, read: Sequence[Sentence], several: bool) -> _Progress:
    """How far an answer to one or `several` questions has come: by the numbers of a list, its
    lines, its sentences, or an "and" in the last one."""
    text, here = dialogue.text, dialogue.spoken[-1]
    said = text[here.start : here.end]
    if several:
        items = list(_NUMBER.finditer(said))
        if items and not said[items[-1].end() :].count("\n\n"):
            begin = here.start + items[-1].end()
            fragment = text[begin : here.end].strip()
            done = int(items[-1].group("number")) - 1
            return _Progress(done, begin, not fragment, fragment)
        bullets = list(_BULLET.finditer(said))
        if bullets:
            begin = here.start + bullets[-1].end()
            fragment = text[begin : here.end].strip()
            return _Progress(len(bullets) - 1, begin, not fragment, fragment)
    done = sum(
        not forms.says_nothing(line) and not line.endswith(":")
        for one in read[:-1]
        if (line := text[one.start : one.end].rstrip(".!"))
    )
    last = read[-1]
    own = dialogue.within(last.start, last.end)
    begin = last.start if done else read[0].start
    fragment = text[last.start : last.end]
    for match in _next(lexicon(fragment)).finditer(text, last.start, here.end) if several else ():
        within = any(one.start < match.end() and match.start() < one.end for one in own)
        if not within and not forms.says_nothing(text[begin : match.start()]):
            done, begin = done + 1, match.end()
            fragment = text[begin : here.end].strip()
    return _Progress(done, begin, False, fragment)


@lru_cache(maxsize=16)
def _next(rules: Lexicon) -> re.Pattern[str]:
    """What stands between the answers to two questions: "and", ";", or a comma at the end."""
    return re.compile(rf"[,;]?\s+(?:{forms.any_of(rules.adding)})(?:\s+|$)|;\s+|,\s*$")


def _answered(
    dialogue: Dialogue, read: Sequence[Sentence], put: Sequence[Put], *, named: bool
) -> Iterator[Question]:
    """What is still asked within an answer: the next question, and what its own words ask.

    `named`: its last sentence has a name, so that only a question behind an "and" is still asked.
    """
    text, last = dialogue.text, read[-1]
    progress = _progress(dialogue, read, len(put) > 1)
    fragment = progress.fragment
    if progress.done == 0 and forms.says_nothing(fragment):
        for question in () if named else _open_at_first(put):
            yield replace(question, answered_from=progress.begin)
    elif progress.done < len(put) and not (named and fragment):
        ahead = tuple(one.readings for one in put[: progress.done])
        begin = dialogue.spoken[-1].start
        for one in _begun(put[progress.done].readings, fragment, last, progress.begin):
            yield replace(one, opens=progress.is_item, replied_from=begin, ahead=ahead)
    if named:
        return
    own = text[last.start : last.end]
    standing = standins.stand_in(own, spoken_by="answers")
    if standing is not None:
        readings = [one for each in put for one in each.readings]
        for mention in _meant_in_answer(dialogue, read, put, standing):
            said = Question(standing.filled(own), mention, "pronoun", last.start)
            yield restating(said, readings)
    elif forms.is_field(own):
        inside = dialogue.within(dialogue.spoken[-1].start, last.start)
        about = inside[-1:] or [one for question in put[:1] for one in question.about[:1]]
        for mention in about:
            yield Question(forms.field_text(own), mention, "record", last.start)
    elif progress.done and (topic := _topic(dialogue, last, put)) and _is_told_of_it(own):
        yield Question(standins.given_name(own), topic, "ellipsis", last.start)


def _topic(dialogue: Dialogue, last: Sentence, put: Sequence[Put]) -> Mention | None:
    """The name of which an answer was asked to tell, where nobody else was named so far."""
    named = [*(name for one in put for name in one.about)]
    named += dialogue.within(dialogue.spoken[-1].start, last.start) if named else []
    return named[0] if len({one.facts for one in named}) == 1 else None


def _is_told_of_it(fragment: str) -> bool:
    """Whether an unfinished sentence of an answer may be about its name: "The chief executive
    is"."""
    rules, read = forms.parsed(fragment)
    return (
        len(read) > 2
        and read[0].text in rules.definite_articles
        and read[-1].text in rules.copulas | rules.place_links
        and not forms.names_another(fragment)
    )


def _meant_in_answer(
    dialogue: Dialogue, read: Sequence[Sentence], put: Sequence[Put], standing: standins.StandIn
) -> list[Mention]:
    """Whom a pronoun of an answer may mean: a name of the answer, else whom it was asked about."""
    about = [one for question in put[:1] for one in question.about[:1]]
    if standing.means == "self":
        return dialogue.referents(len(dialogue.spoken) - 1, standing) or about
    meant = list(_meant(dialogue, read, standing))
    if meant or dialogue.within(dialogue.spoken[-1].start, read[-1].start):
        return meant
    of_person = standing.means == "person" and any(one.of_person for one in put)
    return [
        one for one in about if not of_person and standins.may_mean(standing, dialogue.text, one)
    ]
