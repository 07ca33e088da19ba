"""What could be asked at the end of a text: names and the words around them, as templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence, sentences
from revisor.language.turns import Turn, turns
from revisor.language.words import fold, words

SLOT = "{}"
Kind = Literal["completion", "question", "pronoun", "ellipsis", "record"]

FIELD = 5  # words of a field's name
BACK = 3  # sentences back in which a pronoun's name is looked for
_CLAUSE = re.compile(r"[,;:\u2014\u2013]\s")
_APPOSITION = re.compile(
    r"^\s*,\s+(?:the|a|an|ein|eine|der|die|das)\s[^,.?!]{1,48},", re.IGNORECASE
)
_KEY = re.compile(r"[\"'](?P<key>[^\"'\n]{1,60})[\"']\s*:\s*[\"']?$")
_CELL = re.compile(r"^\s*\|.*$", re.MULTILINE)
_TIME = re.compile(
    r"\d{3,4}|\b(?:before|after|until|since|former|formerly|earlier|bis|vor|nach|seit)\b", re.I
)
_MARKUP = re.compile(r"[*_`#>|\"\u201c\u201d]+")


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked where a text ends.

    Attributes:
        text: in the form of a template: `{}` stands for the name.
        mention: the name that it is about.
        kind: how it was read: a sentence to be completed, a question that was put, one whose name
            a pronoun stands for, one that goes on with an earlier one, a field of a record.
        answered_from: where in the text its answer may have begun.
        opens: an answer is to begin here, whatever the model: the turn of who answers has just
            opened, and who asks has put this question.
    """

    text: str
    mention: Mention
    kind: Kind
    answered_from: int
    opens: bool = False


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
    fields = list(_records(text, inside, here))
    if fields:
        yield from fields
        return
    read = _sentences(text, here, inside)
    last = read[-1]
    own = _within(inside, last.start, last.end)
    if own:
        for mention in reversed(own[-2:]):
            yield from _completions(text, mention, last)
        return
    if not inside:
        return
    yield from _carried_on(text, inside, read)


def _sentences(text: str, turn: Turn, inside: Sequence[Mention]) -> list[Sentence]:
    spans = [(mention.start, mention.end) for mention in inside]
    return sentences(text, turn.start, turn.end, whole=spans)


def _within(mentions: Sequence[Mention], start: int, end: int) -> list[Mention]:
    return [mention for mention in mentions if start <= mention.start and mention.end <= end]


def _completions(text: str, mention: Mention, sentence: Sentence) -> Iterator[Question]:
    """A sentence about a name, from its beginning and from its clause's.

    "Jane Roe is the CEO of ACME" has its answer ahead of the name.
    """
    whole = _filled(text, sentence.start, mention, sentence.end)
    yield Question(whole, mention, "completion", sentence.start)
    plain = _without_apposition(text, mention, sentence.end)
    if plain is not None:
        shorter = text[sentence.start : mention.start] + SLOT + plain
        yield Question(_clean(shorter), mention, "completion", sentence.start)
    begin = _clause(text, sentence.start, mention)
    if begin is not None:
        shorter = _filled(text, begin, mention, sentence.end)
        yield Question(shorter, mention, "completion", sentence.start)


def _clause(text: str, start: int, mention: Mention) -> int | None:
    """Where the clause of a name begins, if what stands ahead of it may be left out."""
    ahead = text[start : mention.start]
    cut = None
    for match in _CLAUSE.finditer(ahead):
        cut = match.end()
    if cut is None or _TIME.search(ahead[:cut]):
        return None
    return start + cut


def _without_apposition(text: str, mention: Mention, end: int) -> str | None:
    match = _APPOSITION.match(text[mention.end : end])
    return text[mention.end + match.end() : end] if match else None


def _carried_on(
    text: str, inside: Sequence[Mention], read: Sequence[Sentence]
) -> Iterator[Question]:
    """The last sentence names nobody: it answers a question that was put, or speaks of a name by a
    pronoun."""
    last = read[-1]
    fragment = text[last.start : last.end]
    before = list(read[:-1])[-BACK:]
    for sentence in reversed(before):
        own = _within(inside, sentence.start, sentence.end)
        if not own:
            continue
        mention = own[-1]
        asks = sentence.is_question or _requests(text, sentence)
        if _is_field(fragment):
            yield Question(f"{_clean(fragment).rstrip(': ')} {SLOT}", mention, "record", last.start)
        if asks and sentence is before[-1] and _says_nothing(fragment):
            yield Question(
                _filled(text, sentence.start, mention, sentence.end),
                mention,
                "question",
                sentence.end,
            )
        stands_in = _with_slot(fragment)
        if stands_in is not None:
            yield Question(stands_in, mention, "pronoun", last.start)
        elif asks and sentence is before[-1] and not _says_nothing(fragment):
            asked = _filled(text, sentence.start, mention, sentence.end)
            yield Question(f"{asked} {_clean(fragment)}", mention, "question", sentence.end)
        return


def _is_field(fragment: str) -> bool:
    """Whether a sentence is the name of a field that is to be filled in: "CEO:"."""
    said = _clean(fragment)
    return said.endswith(":") and 0 < len(words(said)) <= FIELD


def _requests(text: str, sentence: Sentence) -> bool:
    """Whether a sentence asks without a question mark: "Tell me who leads ACME."."""
    first = words(text[sentence.start : sentence.end])[:2]
    return any(word.text in lexicon().asking_verbs for word in first)


def _says_nothing(fragment: str) -> bool:
    """Whether the beginning of an answer has no word of its own: "The answer is", "It's"."""
    rules = lexicon()
    said = " ".join(word.text for word in words(fragment))
    if not said:
        return True
    leads = {" ".join(word.text for word in words(lead)) for lead in rules.lead_ins}
    while said:
        lead = max((one for one in leads if f"{said} ".startswith(f"{one} ")), key=len, default="")
        if not lead:
            return all(word in rules.function_words for word in said.split())
        said = said[len(lead) :].strip()
    return True


def _with_slot(fragment: str) -> str | None:
    """A sentence with `{}` for the pronoun that stands for a name, None without one."""
    rules = lexicon()
    read = words(fragment)
    for place, word in enumerate(read[:12]):
        behind = fragment[word.end :]
        if word.text in rules.possessive_pronouns and place + 1 < len(read):
            return _clean(f"{fragment[: word.start]}{SLOT}'s{behind}")
        if word.text in rules.pronouns:
            return _clean(f"{fragment[: word.start]}{SLOT}{behind}")
        if (
            word.text in rules.generic_nouns
            and place
            and read[place - 1].text
            in (
                "the",
                "this",
                "that",
                "die",
                "das",
                "der",
            )
        ):
            return _clean(f"{fragment[: read[place - 1].start]}{SLOT}{behind}")
    return None


# In the answer of a dialogue


def _in_answer(
    text: str, mentions: Sequence[Mention], spoken: Sequence[Turn]
) -> Iterator[Question]:
    """What is asked in an answer: by its own last sentence, or by who asked."""
    here = spoken[-1]
    inside = _within(mentions, here.start, here.end)
    read = _sentences(text, here, inside)
    last = read[-1]
    own = _within(inside, last.start, last.end)
    asking = next((turn for turn in reversed(spoken[:-1]) if turn.role in ("asks", "text")), None)
    for mention in reversed(own[-2:]):
        yield from _completions(text, mention, last)
    if asking is None:
        if not own and inside:
            yield from _carried_on(text, inside, read)
        return
    opening = not text[here.start : here.end].strip(' \n\t"*_`:{[')
    put = list(_put(text, mentions, spoken, asking))
    fragment = text[last.start : last.end]
    bare = len(read) == 1 or not any(
        text[one.start : one.end].strip()
        for one in read[:-1]
        if not _says_nothing(text[one.start : one.end].rstrip(".!"))
    )
    for question in put:
        if opening or (bare and not own and _says_nothing(fragment)):
            yield Question(
                question.text, question.mention, question.kind, here.start, opens=opening
            )
    if opening or own:
        return
    stands_in = _with_slot(fragment)
    named = inside[-1] if inside else (put[0].mention if put else None)
    if stands_in is not None and named is not None:
        yield Question(stands_in, named, "pronoun", last.start)
    if bare and not _says_nothing(fragment):
        for question in put[:1]:
            yield Question(
                f"{question.text} {_clean(fragment)}", question.mention, "question", here.start
            )


def _put(
    text: str, mentions: Sequence[Mention], spoken: Sequence[Turn], asking: Turn
) -> Iterator[Question]:
    """The questions that a turn puts: of its last sentence about a name, or, where it names
    nobody, about the name of an earlier turn."""
    inside = _within(mentions, asking.start, asking.end)
    read = [one for one in _sentences(text, asking, inside) if one.end > one.start]
    if inside:
        for sentence in reversed(read):
            own = _within(inside, sentence.start, sentence.end)
            if not own:
                continue
            behind = [one for one in read if one.start >= sentence.end]
            for mention in reversed(own[-2:]):
                for question in _completions(text, mention, sentence):
                    yield Question(question.text, mention, "question", sentence.end)
            for later in behind:
                stands_in = _with_slot(text[later.start : later.end])
                if stands_in is not None:
                    yield Question(stands_in, own[-1], "pronoun", later.end)
            return
        return
    if not read:
        return
    earlier = [
        mention
        for turn in spoken
        if turn.end <= asking.start and turn.role != "other"
        for mention in _within(mentions, turn.start, turn.end)
    ]
    if not earlier:
        return
    mention = earlier[-1]
    for sentence in reversed(read[-2:]):
        said = text[sentence.start : sentence.end]
        stands_in = _with_slot(said)
        if stands_in is not None:
            yield Question(stands_in, mention, "pronoun", sentence.end)
            return
        first = fold(" ".join(word.text for word in words(said)[:2]))
        if any(f"{first} ".startswith(f"{one} ") for one in lexicon().ellipses):
            yield Question(f"{_clean(said)} {SLOT}", mention, "ellipsis", sentence.end)
            return


# In records: JSON and tables


def _records(text: str, inside: Sequence[Mention], here: Turn) -> Iterator[Question]:
    """A field of a record that names somebody in another field."""
    if not inside:
        return
    part = text[here.start : here.end]
    key = _KEY.search(part)
    if key:
        begin = max(part.rfind("{", 0, key.start()), part.rfind("\n\n", 0, key.start()))
        own = [one for one in inside if one.start >= here.start + max(begin, 0)]
        if own:
            field = re.sub(r"[_\-]+", " ", key.group("key"))
            yield Question(f"{field} {SLOT}", own[-1], "record", own[-1].end)
        return
    line = part[part.rfind("\n") + 1 :]
    if not line.lstrip().startswith("|"):
        return
    own = [one for one in inside if one.start >= here.end - len(line)]
    rows = _CELL.findall(part)
    column = line.count("|") - 1
    if not own or len(rows) < 2 or column < 1:
        return
    header = [cell.strip() for cell in rows[0].strip().strip("|").split("|")]
    if column < len(header):
        yield Question(f"{header[column]} {SLOT}", own[-1], "record", own[-1].end)


# Forms


def _filled(text: str, start: int, mention: Mention, end: int) -> str:
    """A part of a text with `{}` for a name."""
    start = min(start, mention.start)
    return _clean(text[start : mention.start] + SLOT + text[mention.end : end])


def _clean(text: str) -> str:
    """Without markup, with single spaces."""
    return " ".join(_MARKUP.sub(" ", text).split())
