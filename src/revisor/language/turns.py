"""Who speaks: chat templates, label frames and records are parted into turns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from revisor.language.lexicon import lexicon

Role = Literal["text", "asks", "answers", "other"]

# Markers of the chat templates of Qwen and SmolLM (ChatML), Llama 3, Gemma, Phi, Zephyr and GLM,
# Mistral and Llama 2, Cohere, DeepSeek and gpt-oss; and of templates that put roles in brackets.
_MARKERS = re.compile(
    r"""
    <\|im_start\|>\s*(?P<chatml>\w+)[ \t]*\n?
  | <\|start_header_id\|>\s*(?P<llama>\w+)\s*<\|end_header_id\|>\s*
  | <start_of_turn>\s*(?P<gemma>\w+)[ \t]*\n?
  | <\|start\|>(?P<oss>\w+)(?:<\|channel\|>\w+)?<\|message\|>
  | <\|START_OF_TURN_TOKEN\|><\|(?P<cohere>\w+?)_TOKEN\|>
  | <[|\uff5c](?P<bar>system|user|assistant|User|Assistant|observation)[|\uff5c]>[ \t]*\n?
  | (?P<inst>\[INST\])\s*
  | (?P<reply>\[/INST\])\s*
  | (?:(?<=\n)|^)\[(?P<bracket>system|user|assistant)\][ ]
  | (?P<end><\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|END_OF_TURN_TOKEN\|>|</s>
      |<\|endoftext\|>|<\uff5cend\u2581of\u2581sentence\uff5c>)
    """,
    re.VERBOSE,
)
_ROLES: dict[str, Role] = {
    "user": "asks",
    "human": "asks",
    "assistant": "answers",
    "model": "answers",
    "chatbot": "answers",
    "gpt": "answers",
}
_LABEL = re.compile(
    r"""
    (?:(?<=\n)|^)[ \t]*(?:\#{1,6}[ ]*|[-*>][ ]+)?(?P<bold>\*\*|__)?
    (?P<label>[^\W\d_]+(?:[ ][^\W\d_]+){0,4}?)[ ]?\d{0,3}
    (?P<sign>[ ]?[:\uff1a]|[.)](?=[ ]|$)|(?=\*\*|__)|(?=[ \t]*\n))
    (?(bold)(?:\*\*|__)?:?)
    [ \t]*
    """,
    re.VERBOSE,
)
_HEADING = re.compile(r"(?:(?<=\n)|^)[ \t]*\#{1,6}[ ]")
_INLINE = re.compile(
    r"(?<=[.?!\u3002\uff1f\"\u201d)])\s*(?P<label>[^\W\d_]+(?:[ ][^\W\d_]+)?)[:\uff1a][ ]*"
)
_JSON = re.compile(r"[\"'](?P<key>\w+)[\"']\s*:\s*[\"']")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one party says.

    Attributes:
        role: `asks` and `answers` where a template or a label tells; `text` where nothing does;
            `other` of a system prompt, a context, a tool's result.
        start, end: where its words stand, without the marker.
        marked: by a chat template's markers, which no writer of a text types.
    """

    role: Role
    start: int
    end: int
    marked: bool = False


def turns(text: str) -> list[Turn]:
    """The turns of a text, in order; the last is the one in which the text ends."""
    marked = _marked(text)
    if not marked:
        return _labelled(text, Turn("text", 0, len(text)))
    found: list[Turn] = []
    for turn in marked:
        # Within a chat, labels part only what a user or a completion model is shown.
        parts = _labelled(text, turn) if turn.role in ("asks", "text") else [turn]
        opens = len(parts) > 1 and parts[-1].role == "answers"
        if turn.role == "asks" and turn is not marked[-1] and opens and not _words(text, parts[-1]):
            parts = [part for part in parts if part is not parts[-1]] or [turn]
        found.extend(parts)
    return found


def _words(text: str, turn: Turn) -> str:
    return text[turn.start : turn.end].strip()


def _marked(text: str) -> list[Turn]:
    """Turns by the markers of chat templates; empty where there are none."""
    found: list[Turn] = []
    role: Role | None = None
    start = 0
    for match in _MARKERS.finditer(text):
        if role is not None:
            found.append(Turn(role, start, match.start(), True))
        elif text[start : match.start()].strip():
            found.append(Turn("text", start, match.start()))
        kind = match.lastgroup
        start = match.end()
        if kind == "end":
            role = None
        elif kind == "inst":
            role = "asks"
        elif kind == "reply":
            role = "answers"
        else:
            role = _ROLES.get(str(match.group(kind or "end")).casefold(), "other")
    if not found and role is None:
        return []
    if role is not None:
        found.append(Turn(role, start, len(text), True))
    elif text[start:].strip():
        found.append(Turn("text", start, len(text)))
    return found


def _labelled(text: str, whole: Turn) -> list[Turn]:
    """Turns by labels at the beginnings of lines ("Q:", "**Answer:**", "### Answer"), by one
    behind a sentence ("Answer briefly: ... Answer:"), and by the keys of a JSON record."""
    marks: list[tuple[int, int, Role]] = []
    for match in _LABEL.finditer(text, whole.start, whole.end):
        role = _role_of(match.group("label"), match)
        if role is not None:
            marks.append((match.start(), match.end(), role))
    for match in _INLINE.finditer(text, whole.start, whole.end):
        role = _role_by_word(match.group("label"))
        if role == "answers" or (role == "asks" and marks):
            marks.append((match.start(), match.end(), role))
    for match in _JSON.finditer(text, whole.start, whole.end):
        role = _role_by_word(match.group("key"))
        if role in ("asks", "answers"):
            marks.append((match.start(), match.end(), role))
    if not marks:
        return [whole]
    marks.sort()
    found = []
    if text[whole.start : marks[0][0]].strip():
        found.append(Turn(whole.role, whole.start, marks[0][0], whole.marked))
    for place, (_, end, role) in enumerate(marks):
        stop = marks[place + 1][0] if place + 1 < len(marks) else whole.end
        if end <= stop:
            found.append(Turn(role, end, stop, False))
    return found


def _role_of(label: str, match: re.Match[str]) -> Role | None:
    """The role that a label at the beginning of a line gives."""
    sign = match.group("sign").strip()
    heading = bool(_HEADING.match(match.string, match.start()))
    if not sign and not heading and not match.group("bold"):
        return None
    if sign in (".", ")") and label not in ("Q", "A"):
        return None
    if len(label) == 1 and not label.isupper():
        return None
    return _role_by_word(label)


def _role_by_word(label: str) -> Role | None:
    rules = lexicon()
    folded = label.casefold()
    first = folded.split(" ")[0]
    for role, labels in (
        ("asks", rules.ask_labels),
        ("answers", rules.answer_labels),
        ("other", rules.other_labels),
    ):
        if folded in labels:
            return role  # type: ignore[return-value]
    # "Answer briefly:", "Answer the following question:" ask; "Answer:" answers.
    return "asks" if " " in folded and first in rules.asking_verbs else None
