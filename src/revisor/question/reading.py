"""What could be asked at the end of a text: names and the words around them, as templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence, sentences
from revisor.language.turns import Turn, turns
from revisor.language.words import words
from revisor.question import forms
from revisor.question.forms import SLOT
from revisor.question.records import field_asked

__all__ = ["SLOT", "Question", "questions"]

Kind = Literal["completion", "question", "statement", "pronoun", "ellipsis", "record"]

BACK = 3  # sentences back in which a pronoun's name is looked for
LINES = 12  # lines back in which a field's name is
_OPENING = ' \n\t"*_`:{[(\u201c\u2018\u300c#>'


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked where a text ends.

    Attributes:
        text: in the form of a template: `{}` stands for the name.
        mention: the name that it is about.
        kind: how it was read: a sentence to be completed, a question that was put, a statement
            (which asks for something only if it is a fact's own wording), one whose name a
            pronoun stands for, one that goes on with an earlier one, a field of a record.
        answered_from: where in the text its answer may have begun.
        opens: an answer is to begin here, whatever the model: the turn of who answers has just
            opened, and who asks has put this question.
        order: of several questions that were put, which one it is.
    """

    text: str
    mention: Mention
    kind: Kind
    answered_from: int
    opens: bool = False
    order: int = 0


def questions(text: str, mentions: Sequence[Mention]) -> list[Question]:
    """What could be asked where a text ends, the likeliest reading first.

    Args:
        mentions: the names in it, in order.
    """
    if not mentions:
        return []
    spoken = turns(text)
    here = spoken[-1] if spoken else Turn("text", 0, len(text))
    if here.marked and here.role in ("asks", "other"):
        return []  # a user's turn in a chat is not the model's to write
    if here.role == "answers":
        return list(_unique(_in_answer(text, mentions, spoken)))
    return list(_unique(_in_text(text, mentions, here)))


def _unique(found: Iterator[Question]) -> Iterator[Question]:
    seen = set()
    for question in found:
        key = (question.text, question.mention.start)
        if key not in seen and question.text.strip():
            seen.add(key)
            yield question


# In running text


def _in_text(text: str, mentions: Sequence[Mention], here: Turn) -> Iterator[Question]:
    """What is asked at the end of running text: its last sentence, or the one before it."""
    inside = _within(mentions, here.start, here.end)
    field = _field(text, inside, here)
    if field is not None:
        yield field
        return
    read = _sentences(text, here, inside)
    last = read[-1]
    own = _within(inside, last.start, last.end)
    if own:
        for mention in reversed(own[-2:]):
            yield from _completions(text, mention, last)
    elif inside:
        yield from _carried_on(text, inside, read)


def _field(text: str, inside: Sequence[Mention], here: Turn) -> Question | None:
    """A field of a record that names somebody in another field."""
    moved = [replace(one, start=one.start - here.start, end=one.end - here.start) for one in inside]
    found = field_asked(text[here.start : here.end], moved)
    if found is None:
        return None
    mention = inside[moved.index(found[1])]
    return Question(f"{found[0]} {SLOT}", mention, "record", here.start + found[2])


def _sentences(text: str, turn: Turn, inside: Sequence[Mention]) -> list[Sentence]:
    spans = [(mention.start, mention.end) for mention in inside]
    return sentences(text, turn.start, turn.end, whole=spans)


def _within(mentions: Sequence[Mention], start: int, end: int) -> list[Mention]:
    return [mention for mention in mentions if start <= mention.start and mention.end <= end]


def _completions(text: str, mention: Mention, sentence: Sentence) -> Iterator[Question]:
    """A sentence about a name, from its beginning and from its clause's; none where a conjunction
    stands last ("The CEO of {} and").

    "Jane Roe is the CEO of ACME" has its answer ahead of the name.
    """
    behind = words(text[mention.end : sentence.end])
    if behind and behind[-1].text in lexicon().joining:
        return
    start = sentence.start
    later = forms.later_clause(text, mention, sentence.end)
    if later is not None:
        yield Question(later[0], mention, "pronoun", later[1])
        return
    whole = forms.filled(text, start, mention, sentence.end)
    yield Question(whole, mention, "completion", start)
    plain = forms.without_apposition(text, mention, sentence.end)
    if plain is not None:
        shorter = forms.clean(text[start : mention.start] + SLOT + plain)
        yield Question(shorter, mention, "completion", start)
    begin = forms.clause(text, start, mention)
    if begin is not None:
        shorter = forms.filled(text, begin, mention, sentence.end)
        yield Question(shorter, mention, "completion", start)


def _carried_on(
    text: str, inside: Sequence[Mention], read: Sequence[Sentence]
) -> Iterator[Question]:
    """The last sentence names nobody: it is the name of a field, answers a question that was put,
    or speaks of a name by a pronoun."""
    last = read[-1]
    fragment = text[last.start : last.end]
    if forms.is_field(fragment):
        named = _of_block(text, inside, read)
        if named is not None:
            field = forms.field_text(fragment)
            yield Question(field, named, "record", last.start)
    before = list(read[:-1])[-BACK:]
    for sentence in reversed(before):
        own = _within(inside, sentence.start, sentence.end)
        if not own:
            continue
        asked = sentence is before[-1] and forms.asks(text[sentence.start : sentence.end])
        if asked and not forms.says_nothing(fragment):
            put = forms.filled(text, sentence.start, own[-1], sentence.end)
            joined = f"{put} {forms.clean(fragment)}"
            yield Question(joined, own[-1], "question", sentence.end)
        elif asked:
            for mention in reversed(own[-2:]):
                for question in _completions(text, mention, sentence):
                    yield replace(question, kind="question", answered_from=sentence.end)
        stands_in = forms.with_slot(fragment)
        if stands_in is not None:
            for mention in dict.fromkeys((own[0], own[-1])):
                if forms.may_mean(fragment, text, mention):
                    yield Question(stands_in, mention, "pronoun", last.start)
        return


def _of_block(text: str, inside: Sequence[Mention], read: Sequence[Sentence]) -> Mention | None:
    """The name that a list of fields is about: the first of its block, else the last one above."""
    before = list(read[:-1])[-LINES:]
    if not before:
        return None
    end = read[-1].start
    block = max(text.rfind("\n\n", 0, end) + 2, before[0].start)
    own = _within(inside, block, end)
    above = _within(inside, before[0].start, end)
    return own[0] if own else above[-1] if above else None


# In the answer of a dialogue


def _in_answer(
    text: str, mentions: Sequence[Mention], spoken: Sequence[Turn]
) -> Iterator[Question]:
    """What is asked in an answer: by its own last sentence, or by who asked."""
    here = spoken[-1]
    inside = _within(mentions, here.start, here.end)
    field = _field(text, inside, here)
    if field is not None:
        yield field
        return
    read = _sentences(text, here, inside)
    last = read[-1]
    own = _within(inside, last.start, last.end)
    for mention in reversed(own[-2:]):
        yield from _completions(text, mention, last)
    place = next(
        (at for at in range(len(spoken) - 2, -1, -1) if spoken[at].role in ("asks", "text")), None
    )
    if place is None:
        if not own and inside:
            yield from _carried_on(text, inside, read)
        return
    put = list(_put(text, mentions, spoken, place))
    if not text[here.start : here.end].strip(_OPENING):
        for question in put:
            yield replace(question, answered_from=here.start, opens=question.kind != "statement")
    elif not own:
        yield from _answered(text, inside, read, put)


def _answered(
    text: str, inside: Sequence[Mention], read: Sequence[Sentence], put: Sequence[Question]
) -> Iterator[Question]:
    """What an answer has to say whose last sentence names nobody: what was asked, for as long as
    it has said nothing, or what its own words ask of a name."""
    last, start = read[-1], read[0].start
    fragment = text[last.start : last.end]
    bare = all(forms.says_nothing(text[one.start : one.end].rstrip(".!")) for one in read[:-1])
    nothing = forms.says_nothing(fragment)
    if bare and nothing:
        for question in put:
            yield replace(question, answered_from=start)
    named = inside[-1] if inside else (put[0].mention if put else None)
    stands_in = forms.with_slot(fragment)
    if stands_in is not None and named and forms.may_mean(fragment, text, named):
        yield Question(stands_in, named, "pronoun", last.start)
    if bare and not nothing:
        for question in [one for one in put if one.kind != "statement"][:1]:
            joined = f"{question.text} {forms.clean(fragment)}"
            yield Question(joined, question.mention, "question", start)
    elif forms.is_field(fragment) and named is not None:
        field = forms.field_text(fragment)
        yield Question(field, named, "record", last.start)


def _put(
    text: str, mentions: Sequence[Mention], spoken: Sequence[Turn], place: int
) -> Iterator[Question]:
    """The questions that a turn puts, in their order; where it names nobody, about the name of an
    earlier turn.

    "Who leads ACME?", "I work at ACME. Who is the CEO?", "Who is the CEO? I mean that of ACME."
    """
    turn = spoken[place]
    inside = _within(mentions, turn.start, turn.end)
    read = [one for one in _sentences(text, turn, inside) if one.end > one.start]
    if not inside:
        earlier = _earlier(mentions, spoken, place)
        if earlier is not None:
            yield from _about_earlier(text, read, *earlier)
        return
    spans = [_within(inside, one.start, one.end) for one in read]
    last_named = max(at for at, own in enumerate(spans) if own)
    for order, (sentence, own) in enumerate(zip(read, spans, strict=True)):
        said = text[sentence.start : sentence.end]
        if own:
            if not forms.is_statement(said):
                kind: Kind = "question"
            elif order == last_named:
                kind = "statement"
            else:
                continue
            for mention in reversed(own[-2:]):
                for one in _completions(text, mention, sentence):
                    yield replace(one, kind=kind, answered_from=sentence.end, order=order)
            continue
        if forms.is_courtesy(said):
            continue
        before = [one for one in inside if one.end <= sentence.start]
        for question in _nameless(said, before[-1] if before else inside[0]):
            yield replace(question, answered_from=sentence.end, order=order)


def _nameless(said: str, mention: Mention) -> Iterator[Question]:
    """A question that speaks of a name by a pronoun, or leaves it out."""
    if not forms.is_statement(said):
        stands_in = forms.with_slot(said)
        if stands_in is not None:
            yield Question(stands_in, mention, "pronoun", 0)
        elif forms.leaves_name_out(said):
            yield Question(f"{forms.clean(said).rstrip('?!. ')} {SLOT}?", mention, "ellipsis", 0)


def _earlier(
    mentions: Sequence[Mention], spoken: Sequence[Turn], place: int
) -> tuple[Mention, bool] | None:
    """The last name before a turn, and whether it stands in what introduces the turn ("Topic:",
    "Context:"). A system prompt's names are not spoken of."""
    for at in range(place - 1, -1, -1):
        turn = spoken[at]
        if turn.role == "other" and turn.marked:
            continue
        own = _within(mentions, turn.start, turn.end)
        if own:
            return own[-1], turn.role == "other" and at == place - 1
    return None


def _about_earlier(
    text: str, read: Sequence[Sentence], mention: Mention, introduced: bool
) -> Iterator[Question]:
    """The questions of a turn that names nobody: "And who is its CEO?", "What about the CEO?"."""
    for order, sentence in enumerate(read):
        said = text[sentence.start : sentence.end]
        if forms.is_courtesy(said) or forms.is_statement(said):
            continue
        stands_in = forms.with_slot(said)
        if stands_in is not None:
            yield Question(stands_in, mention, "pronoun", sentence.end, order=order)
        elif forms.goes_on(said) or (introduced and forms.leaves_name_out(said)):
            ellipsis = f"{forms.clean(said).rstrip('?!. ')} {SLOT}?"
            yield Question(ellipsis, mention, "ellipsis", sentence.end, order=order)
