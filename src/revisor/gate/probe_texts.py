"""Labelled texts on which the probe is fitted: where in them an answer is due, and where not.

Every text is made of shipped parts: a frame, a wording of a relation and the name of a subject.
A caret (MARK) in a frame stands where an answer is due; it is taken out of the text. A quarter of
the relations, subjects and pairs is kept for measuring and is in no text that is fitted.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from revisor import data

MARK = "\N{CARET}"
OPEN = "\N{LOZENGE}"  # at the end of a question, where an answer may be due or its label comes
TURN = "\N{SYMBOL FOR RECORD SEPARATOR}"  # between the turns of a chat while slots are filled
HELD_OUT = 4  # one in so many
ORDINARY = "ordinary text"
LONGEST = 200  # characters of an ordinary text: many short ones teach more than few long ones

# Slots: {q} a question, {s} an unfinished statement, {n} a name, {h} what a statement of the form
# "The {h} of {n} is" asks for, {pq} {ps} {pa} question, statement and answer of a pair, {e} a
# sentence.
FRAMES: dict[str, tuple[str, ...]] = {
    "completion": ("{s}^",),
    "behind a sentence": ("{e} {s}^", "{ps}^ {pa}. {s}^", "{ps}^ {pa}, and {s}^"),
    "completion, in a frame": (
        "Complete the sentence: {s}^",
        "- {s}^",
        "Fill in the blank.\n{s}^",
        "{ps}^ {pa}.\n{s}^",
        "Fact: {s}^",
        "{s}:^",
        "{s} ^",
    ),
    "quoted": ('The {h} of "{n}" is^', "The {h} of **{n}** is^", "The {h} of *{n}* is ^"),
    "question": ("{q}^", "{q}^", "{q}\n^", "{q}\n\n^", "{q} ^", "{e} {q}^"),
    "question, in a frame": (
        "{q} Answer:^",
        "{q} The answer is^",
        "{q} It is^",
        "{q}\nAnswer:^",
        "Tell me: {q}\n\n^",
    ),
    "Q: A:": ("Q: {q}\nA:^", "Q: {q} A:^", "Q: {q}\n\nA:^", "Q. {q}\nA.^", "{e}\nQ: {q}\nA: ^"),
    "Question: Answer:": (
        "Question: {q}\nAnswer:^",
        "Question: {q} Answer:^",
        "question: {q}\nanswer:^",
        "Question:\n{q}\nAnswer:^\n^",
    ),
    "User: Assistant:": (
        "User: {q}\nAssistant:^",
        "Human: {q}\n\nAssistant:^",
        "user: {q}\nassistant:^",
        "User: {s}\nAssistant:^",
        "User: {pq}\nAssistant:^ {pa}\nUser: {q}\nAssistant:^",
        "User: {q}\nBot:^",
    ),
    "few-shot": (
        "Q: {pq}\nA:^ {pa}\n\nQ: {pq2}\nA:^ {pa2}\n\nQ: {q}\nA:^",
        "Question: {pq}\nAnswer:^ {pa}\nQuestion: {q}\nAnswer:^",
        "{pq}^ {pa}\n{pq2}^ {pa2}\n{q}^",
        "{ps}^ {pa}\n{ps2}^ {pa2}\n{s}^",
        "Input: {pq}\nOutput:^ {pa}\n\nInput: {q}\nOutput:^",
        "{pq} ->^ {pa}\n{q} ->^",
    ),
    "answer briefly": (
        "Answer briefly: {q} Answer:^",
        "Answer in a few words.\n\n{q}\n\nAnswer:^",
        "Answer the question.\nQuestion: {q}\nAnswer:^",
        "{q} Answer briefly.\n^",
    ),
    "Markdown": (
        "### Question\n{q}\n\n### Answer\n^",
        "**Question:** {q}\n\n**Answer:**^",
        "## {q}\n\n^",
        "### Instruction:\n{q}\n\n### Response:\n^",
        "# Question: {q}\n# Answer:^",
        "**Q:** {q}\n**A:**^",
        "**{h}** of {n}:^",
    ),
    "JSON": (
        '{{"question": "{q}", "answer": "^',
        '{{"prompt": "{s}", "completion": "^',
        '{{\n  "question": "{q}",\n  "answer": "^',
        '[{{"q": "{pq}", "a": "^{pa}"}}, {{"q": "{q}", "a": "^',
        '{{"name": "{n}", "{h}": "^',
        "question: {q}\nanswer: ^",
    ),
    "table": (
        "| Question | Answer |\n|---|---|\n| {pq} |^ {pa} |\n| {q} |^",
        "| Name | {n} |\n| {h} |^",
        "| {n} | |\n|---|---|\n| {h} | ^",
        "{n}\n{h}:^",
        "{n} - {h}:^",
    ),
}
# Turns of a chat, user's and assistant's in turn; the assistant's last one goes on.
CHATS: dict[str, tuple[tuple[str, ...], ...]] = {
    "chat": (
        ("{q}", "^"),
        ("{pq}", "^{pa}", "{q}", "^"),
        ("{s}", "^"),
        ("{pq}", "^{ps}^ {pa}.", "{q}", "^"),
    ),
    "chat, opening words": (
        ("{q}", "^{s}^"),
        ("{q}", "^The answer is^"),
        ("{pq}", "^{ps}^ {pa}.", "{q}", "^It is^"),
        ("{q}", "^The {h} of {n} is^"),
        ("{q}", "^Sure! The {h} of {n} is^"),
        ("{q}", "^The {h} of {n} is **^"),
    ),
}
HEAD = re.compile(r"The (.+) of \{\} is")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text and the offsets in it at which an answer is due.

    Attributes:
        frame: a key of FRAMES or CHATS, or ORDINARY.
        open: offsets at which an answer might begin, so that neither label would be right.
        chat: made by a chat template, so the special tokens are in it.
        held_out: for measuring, not for fitting.
    """

    frame: str
    text: str
    due: tuple[int, ...]
    open: tuple[int, ...] = ()
    chat: bool = False
    held_out: bool = False


@dataclass(frozen=True, kw_only=True)
class _Relation:
    statements: Sequence[str]
    questions: Sequence[str]
    heads: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class _Parts:
    relations: Sequence[_Relation]
    names: Sequence[str]
    pairs: Sequence[Sequence[str]]
    sentences: Sequence[str]

    def fill(self, frame: str, draw: random.Random) -> str:
        """The frame with parts drawn for its slots; a caret of the frame becomes MARK."""
        relations = [r for r in self.relations if r.heads] if "{h}" in frame else self.relations
        relation, name = draw.choice(relations), draw.choice(self.names)
        pair, pair2 = draw.sample(self.pairs, 2)
        return frame.replace("^", MARK).format(
            q=draw.choice(relation.questions).replace("{}", name) + OPEN,
            s=draw.choice(relation.statements).replace("{}", name),
            h=draw.choice(relation.heads or [""]),
            n=name,
            e=draw.choice(self.sentences),
            pq=pair[0] + OPEN,
            ps=pair[1],
            pa=pair[2],
            pq2=pair2[0] + OPEN,
            ps2=pair2[1],
            pa2=pair2[2],
        )


def labelled_texts(
    tokenizer: Any, *, each: int = 9, ordinary: int = 270, statements: int = 150
) -> list[Labelled]:
    """All texts, the same ones every time; chats only if the tokenizer has a chat template.

    Args:
        each: texts of each kind of frame to fit on, and as many to measure on.
        ordinary: texts without a question, a quarter of them held out.
        statements: further completions without a frame, a quarter of them held out.
    """
    texts = []
    for held_out in (False, True):
        draw = random.Random(held_out)
        parts = _parts(held_out)
        share = 1 / HELD_OUT if held_out else 1 - 1 / HELD_OUT
        for name, frames in FRAMES.items():
            more = round(share * statements) if name == "completion" else 0
            for place in range(each + more):
                text = parts.fill(frames[place % len(frames)], draw)
                texts.append(_labelled(name, text, held_out=held_out))
        if getattr(tokenizer, "chat_template", None):
            for name, chats in CHATS.items():
                for place in range(each):
                    turns = parts.fill(TURN.join(chats[place % len(chats)]), draw).split(TURN)
                    text = _chat(tokenizer, turns)
                    texts.append(_labelled(name, text, chat=True, held_out=held_out))
        lines = [text for place, text in enumerate(_ordinary()) if _is_held(place) == held_out]
        texts += [
            _labelled(ORDINARY, text, held_out=held_out)
            for text in draw.sample(lines, min(len(lines), round(share * ordinary)))
        ]
    return texts


def _parts(held_out: bool) -> _Parts:
    return _Parts(
        relations=[_relation(wordings) for wordings in _kept(data.relations(), held_out)],
        names=_kept([record["subject"] for record in data.records("probe.jsonl")], held_out),
        pairs=_kept([line.split(" | ") for line in data.lines("probe_pairs.txt")], held_out),
        sentences=_kept(data.prefixes(), held_out),
    )


def _relation(wordings: Sequence[str]) -> _Relation:
    heads = [match[1] for match in map(HEAD.fullmatch, wordings) if match]
    asked = [wording for wording in wordings if wording.endswith("?")]
    return _Relation(
        statements=[wording for wording in wordings if not wording.endswith("?")],
        questions=[*asked, *(f"What is the {head} of {{}}?" for head in heads[:1])],
        heads=heads,
    )


def _kept(items: Sequence[Any], held_out: bool) -> list[Any]:
    return [item for place, item in enumerate(items) if _is_held(place) == held_out]


def _is_held(place: int) -> bool:
    return place % HELD_OUT == HELD_OUT - 1


def _ordinary() -> Iterator[str]:
    """Lines of ordinary text, and blocks of several lines: lists, code, letters, tables."""
    blocks = (files(data) / "probe_ordinary.txt").read_text(encoding="utf-8").split("\n%%\n")
    for text in (*blocks, *data.background()):
        yield text[:LONGEST]


def _labelled(frame: str, text: str, *, chat: bool = False, held_out: bool) -> Labelled:
    """A text without its marks, and where they stood."""
    offsets: dict[str, list[int]] = {MARK: [], OPEN: []}
    kept: list[str] = []
    for character in text:
        if character in offsets:
            offsets[character].append(len(kept))
        else:
            kept.append(character)
    return Labelled(
        frame=frame,
        text="".join(kept),
        due=tuple(offsets[MARK]),
        open=tuple(place for place in offsets[OPEN] if place not in offsets[MARK]),
        chat=chat,
        held_out=held_out,
    )


def _chat(tokenizer: Any, turns: Sequence[str]) -> str:
    """The turns in the model's own chat template; the last one has begun but not ended."""
    roles = ("user", "assistant")
    messages = [
        {"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns[:-1])
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text) + turns[-1]
