"""Texts that ship with revisor, all of our own writing.

`background` is ordinary text without purpose: keys are whitened on it. `relations` are unfinished
sentences about any subject: what a fact about it must not be mistaken for. `question_encoder.npz`
is the question encoder and `question_encoder_languages.npz` that for languages other than English
(made by `tools/train_question_encoder.py`).
`probe` are subjects with a prompt, a paraphrase and a neighbour: layers are compared on it.
`probe_pairs` (question, statement, answer) and `probe_ordinary` are for fitting the gate's probe;
`probes` holds those of packaged models, made by `python -m revisor.gate.probe --out FOLDER`.
`questions/facts` are made-up facts, and `questions/cases` texts that ask for them or nearly do: the
suite `questions` asks them, and the shipped encoder is not trained on them.
`prefixes` are sentences that may stand before any prompt. `demo` is what `revisor demo` shows.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a shipped text, such as `background.txt`."""
    text = (files(__package__) / name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


def background() -> tuple[str, ...]:
    """Lines of ordinary text in many registers."""
    return lines("background.txt")


def prefixes() -> tuple[str, ...]:
    """Neutral sentences."""
    return lines("prefixes.txt")


def relations() -> tuple[tuple[str, ...], ...]:
    """Relations, each in several wordings with a place for the subject; most of them are
    unfinished sentences, the first one always is."""
    return tuple(tuple(line.split(" | ")) for line in lines("relations.txt"))


def records(name: str) -> list[dict[str, Any]]:
    """The records of a shipped JSONL file, such as `probe.jsonl`."""
    return [json.loads(line) for line in lines(name)]
