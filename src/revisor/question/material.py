"""What in a text is told, quoted or handed over, so that nothing is asked by it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from revisor.language.lexicon import lexicon
from revisor.language.names import Mention
from revisor.language.sentences import Sentence
from revisor.language.turns import Turn
from revisor.language.words import words
from revisor.question import forms

Span = tuple[int, int]

_NEAR = 3  # sentences ahead of one within which it is handed over

_QUOTED = re.compile(
    r"(?<![\w.,!?\"])\"(?=\S)[^\"\n]*(?<=\S)\"(?!\w)|\u201c[^\u201d]*\u201d|\u201e[^\u201c\u201d]*[\u201c\u201d]"
    r"|\u00ab[^\u00bb]*\u00bb|\u300c[^\u300d]*\u300d"
    r"|(?<![\w.,!?'\u2019])(?:'|\u2018)(?=\S)(?:[^'\u2019\n]|\w['\u2019]\w)*(?<=\S)['\u2019](?!\w)"
)
_FENCED = re.compile(
    r"```.*?```|\"\"\".*?\"\"\"|<(?P<tag>[a-zA-Z][\w-]*)(?:\s[^<>]*)?>.*?</(?P=tag)>", re.DOTALL
)
_COMMENT = re.compile(r"^[ \t]*(?://|/\*|<!--|--[ ]|\#)")
_CODE = re.compile(r"[;{}]\s*$|^\s*(?:def|class|import|from|return|let|const|var|if|for|fn|func)\b")
_LINE = re.compile(r"(?<=[.?!:])\s+|\n")
_PARAGRAPH = re.compile(r"\n\s*\n")


def quotations(text: str, start: int, end: int) -> list[Span]:
    """Spans of the quotations that are closed between two places."""
    return [match.span() for match in _QUOTED.finditer(text, start, end)]


def is_told_of(text: str, sentence: Sentence, mention: Mention, quotes: Sequence[Span]) -> bool:
    """Whether a name stands in what a sentence only tells or works on: a quotation, or
    "Translate:"."""
    ahead = text[sentence.start : mention.start]
    return (":" in ahead and forms.handles(ahead)) or is_quoted(text, sentence, mention, quotes)


def is_quoted(text: str, sentence: Sentence, mention: Mention, quotes: Sequence[Span]) -> bool:
    """Whether a name stands in a quotation that a sentence only reports: "He asked: 'Who runs
    ACME?'", "Who wrote 'The Fall of ACME'?"; not "Answer the question 'Who runs ACME?'", nor where
    all is quoted, or only the name."""
    for begin, end in quotes:
        if not (begin <= mention.start and mention.end <= end):
            continue
        ahead = text[sentence.start : begin].rstrip()
        if not _is_speech(text[begin:end], text[begin : mention.start], ahead):
            continue
        around = f"{text[sentence.start : begin]} | {text[end : sentence.end]}"
        if words(around) and not _puts(around):
            return True
    return False


def _is_speech(quoted: str, before: str, ahead: str) -> bool:
    """Whether a quotation with a name is speech or a title, and not the name alone or words of the
    sentence itself ("The one who says "Welcome to ACME" is").

    `before` stands in it ahead of the name, `ahead` stands ahead of it.
    """
    rules, read = forms.parsed(quoted)
    ahead_of_name = [word for word in read if word.end <= len(before)]
    own = [word for word in ahead_of_name[1:] if word.text not in rules.function_words]
    title = own and all(quoted[word.start].isupper() for word in own)
    finished = quoted[-2:-1] in (".", "?", "!")
    return bool(title or (len(read) > 1 and (finished or ahead.endswith((":", ",")))))


def _puts(around: str) -> bool:
    """Whether the words around a quotation ask for its answer: "Answer the question"."""
    rules, said = forms.parsed(around)
    read = [word.text for word in said]
    first = next((word for word in read if word not in rules.polite), "")
    labels = rules.ask_labels & rules.text_nouns
    return first in rules.asking_verbs | rules.answering or not labels.isdisjoint(read[:4])


def told(text: str, turn: Turn, read: Sequence[Sentence]) -> list[bool]:
    """Which sentences of one who asks only tell or hand over text, and ask nothing.

    Those in fences and tags (but "<question>"), what is to be worked on ("Translate:"), and the
    questions of a document beside the one that is asked.
    """
    found = [False] * len(read)
    whole = text[turn.start : turn.end].strip()
    for match in _FENCED.finditer(text, turn.start, turn.end):
        tag = (match.group("tag") or "").casefold()
        if tag in lexicon(tag).ask_labels or match.group() == whole:
            continue
        for at, one in enumerate(read):
            if match.start() <= one.start and one.end <= match.end():
                found[at] = True
    said = [text[one.start : one.end] for one in read]
    for at, sentence in enumerate(said):
        if found[at] or not forms.hands_text(sentence):
            continue
        found[at] = True
        later = [place for place in range(at + 1, len(read)) if not forms.is_courtesy(said[place])]
        for place in later or range(at):
            found[place] = True
    for at in _of_documents(text, read, said, found):
        found[at] = True
    return found


def _of_documents(
    text: str, read: Sequence[Sentence], said: Sequence[str], found: Sequence[bool]
) -> list[int]:
    """Questions that a document answers itself, where another paragraph asks."""
    paragraphs = _paragraphs(text, read)
    asking = [at for at, one in enumerate(said) if not found[at] and forms.asks(one)]
    answered = {
        at
        for at in asking
        if at + 1 < len(said)
        and paragraphs[at + 1] == paragraphs[at]
        and forms.is_statement(said[at + 1])
        and _is_of_others(said[at + 1])
    }
    open_ = [at for at in asking if at not in answered]
    return [at for at in answered if any(paragraphs[one] != paragraphs[at] for one in open_)]


def _paragraphs(text: str, read: Sequence[Sentence]) -> list[int]:
    found, count = [], 0
    for at, one in enumerate(read):
        if at and _PARAGRAPH.search(text, read[at - 1].end - 1, one.start):
            count += 1
        found.append(count)
    return found


def _is_of_others(said: str) -> bool:
    """Whether a statement is not about those who talk: "I need it for a report." is."""
    rules, read = forms.parsed(said)
    own = rules.speakers | rules.addressees | rules.speaker_possessives
    return not forms.is_courtesy(said) and own.isdisjoint(word.text for word in read[:4])


def is_told(text: str, here: Turn, read: Sequence[Sentence]) -> bool:
    """Whether the last sentence of running text asks nothing: a title, a list of words, a comment
    in code, or what is to be translated."""
    last = read[-1]
    said = text[last.start : last.end]
    if not said and len(read) > 1:
        last = read[-2]
        said = text[last.start : last.end]
    if forms.is_title(said) or forms.is_list(said):
        return True
    begin = text.rfind("\n", here.start, last.start) + 1
    if _COMMENT.match(text[begin : last.end]) and _is_code(text, here, begin):
        return True
    # What hands a text over stands ahead of all of it, or just ahead of the sentence.
    near = [*read[:1], *read[1:-1][-_NEAR:]] if len(read) > 1 else []
    return any(forms.hands_text(text[one.start : one.end]) for one in near)


def _is_code(text: str, here: Turn, begin: int) -> bool:
    """Whether a comment's sign is one: "#" begins a heading, too."""
    if text[begin : here.end].lstrip()[:1] not in ("#", "-"):
        return True
    return any(_CODE.search(line) for line in text[here.start : begin].split("\n"))


def wants_no_answer(said: str) -> bool:
    """Whether one asks for something made up ("Write a poem about ACME.") or for another text
    ("Translate this:"), and not for an answer."""
    return any(forms.asks_for_fiction(one) or forms.hands_text(one) for one in _lines(said))


def hands_over(said: str) -> bool:
    """Whether an instruction ends by saying what is to be done with the text below it."""
    lines = _lines(said)
    return bool(lines) and forms.hands_text(lines[-1])


def _lines(said: str) -> list[str]:
    return [one for part in _LINE.split(said) if (one := part.strip())]


def converts(text: str, spoken: Sequence[Turn]) -> bool:
    """Whether a system prompt has questions only worked on: "Translate the user's messages."."""
    return any(
        turn.sets_up and any(map(_converts, _lines(text[turn.start : turn.end]))) for turn in spoken
    )


def _converts(said: str) -> bool:
    rules, parts = forms.parsed(said)
    read = [word.text for word in parts]
    return (
        read[:1] != []
        and read[0] in rules.handling_verbs
        and not rules.text_nouns.isdisjoint(read)
        and rules.answering.isdisjoint(read)
    )
