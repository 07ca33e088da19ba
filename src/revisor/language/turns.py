"""Who speaks: chat templates, label frames and records are parted into turns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from revisor.language.lexicon import lexicon

Role = Literal["text", "asks", "answers", "other"]

# Markers of the chat templates of Qwen and SmolLM (ChatML, Phi 4), Llama 3 and 4, Gemma, Phi 3,
# Zephyr, OLMo and GLM, Granite, Kimi, Mistral and Llama 2, Cohere, DeepSeek, EXAONE and gpt-oss;
# of templates that put roles in brackets; and what models that think put around their thoughts.
_MARKERS = re.compile(
    r"""
    <\|im_start\|>\s*(?P<chatml>\w+)(?:[ \t]*\n|<\|im_sep\|>\n?)
  | <\|(?:start_header_id|header_start)\|>\s*(?P<llama>\w+)\s*<\|(?:end_header_id|header_end)\|>\s*
  | <start_of_turn>\s*(?P<gemma>\w+)[ \t]*\n
  | <\|start\|>(?P<oss>\w+)(?:<\|channel\|>(?P<channel>\w+))?[^<\n]{0,80}<\|message\|>
  | <\|channel\|>(?P<channel_only>\w+)[^<\n]{0,80}<\|message\|>
  | <\|START_OF_TURN_TOKEN\|><\|(?P<cohere>\w+?)_TOKEN\|>
  | <\|start_of_role\|>(?P<granite>\w+)<\|end_of_role\|>
  | <\|im_(?:user|assistant|system)\|>(?P<kimi>\w+)<\|im_middle\|>
  | <[|\uff5c](?P<bar>system|user|assistant|User|Assistant|observation)[|\uff5c]>[ \t]*\n?
  | \[\|(?P<exaone>system|user|assistant)\|\][ \t]*\n?
  | (?P<inst>\[INST\]|<</SYS>>)\s*
  | (?P<reply>\[/INST\]|</think>)\s*
  | (?P<aside><<SYS>>|\[SYSTEM_PROMPT\]|<think>)\s*
  | (?:(?<=\n)|^)\[(?P<bracket>system|user|assistant)\](?:[ ]|$)
  | (?P<end><\|\w+\|>|<\uff5c[\w\u2581]+\uff5c>|</?s>|<[be]os>|<pad>|<end_of_turn>|\[\|endofturn\|\]
      |\[gMASK\]|<sop>|\[/SYSTEM_PROMPT\])
    """,
    re.VERBOSE,
)
_MARKED = re.compile(r"<[|\uff5c/]|<s>|<[bes]os>|<pad>|<think>|<start_of|\[\|?/?[IsuagS]")
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
    r"(?<=[.?!\u3002\uff1f\"\u201d)])\s*(?P<label>[^\W\d_]+(?:[ ][^\W\d_]+)?)[ ]?[:\uff1a][ ]*"
)
# How a text ends where an answer may open: told in no time, and now and then where none opens.
_MAY_OPEN = re.compile(r"(?:[:\uff1a>\]\n]|\*\*|__|\bA[.)])[\s\"*_`:{\[(\u201c\u2018\u300c#>]*$")
_TAIL = 64
_JSON = re.compile(r"[\"'](?P<key>\w+)[\"']\s*:\s*[\"']")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one party says.

    Attributes:
        role: `asks` and `answers` where a template or a label tells; `text` where nothing does;
            `other` of a system prompt, a context, a tool's result, a model's thoughts.
        start, end: where its words stand, without the marker.
        marked: by a chat template's markers, which no writer of a text types.
    """

    role: Role
    start: int
    end: int
    marked: bool = False


def may_open_answer(text: str) -> bool:
    """Whether a text may end where the turn of who answers opens. Never False where one does."""
    return bool(_MAY_OPEN.search(text[-_TAIL:]))


@lru_cache(maxsize=64)
def turns(text: str) -> tuple[Turn, ...]:
    """The turns of a text, in order; the last is the one in which the text ends."""
    marked = _marked(text)
    if not marked:
        return tuple(_labelled(text, Turn("text", 0, len(text))))
    found: list[Turn] = []
    for turn in marked:
        # Within a chat, labels part only what a user or a completion model is shown.
        parts = _labelled(text, turn) if turn.role in ("asks", "text") else [turn]
        opens = len(parts) > 1 and parts[-1].role == "answers"
        if turn.role == "asks" and turn is not marked[-1] and opens and not _words(text, parts[-1]):
            parts = [part for part in parts if part is not parts[-1]] or [turn]
        found.extend(parts)
    return tuple(found)


def _words(text: str, turn: Turn) -> str:
    return text[turn.start : turn.end].strip()


def _marked(text: str) -> list[Turn]:
    """Turns by the markers of chat templates; empty where there are none."""
    if not _MARKED.search(text):
        return []
    found: list[Turn] = []
    role: Role | None = None
    start = 0
    any_marker = False
    for match in _MARKERS.finditer(text):
        any_marker = True
        if role is not None:
            found.append(Turn(role, start, match.start(), True))
        elif text[start : match.start()].strip():
            found.append(Turn("text", start, match.start()))
        role = _role_after(match)
        start = match.end()
    if not any_marker:
        return []
    if role is not None:
        found.append(Turn(role, start, len(text), True))
    elif text[start:].strip() or not found:
        found.append(Turn("text", start, len(text)))
    else:
        found.append(Turn("other", start, len(text), True))
    return found


def _role_after(match: re.Match[str]) -> Role | None:
    """Who speaks behind a marker; None where nobody is named."""
    named = {name: found for name, found in match.groupdict().items() if found is not None}
    if "end" in named:
        return None
    if "inst" in named:
        return "asks"
    if "reply" in named:
        return "answers"
    if "aside" in named:
        return "other"
    channel = named.pop("channel", named.pop("channel_only", None))
    if channel not in (None, "final"):
        return "other"
    said = next(iter(named.values()), "assistant")
    return _ROLES.get(said.casefold(), "other")


def _labelled(text: str, whole: Turn) -> list[Turn]:
    """Turns by labels at the beginnings of lines ("Q:", "**Answer:**", "### Answer"), by one
    behind a sentence ("Answer briefly: ... Answer:"), and by the keys of a JSON record."""
    marks: list[tuple[int, int, Role]] = []
    part = text[whole.start : whole.end]

    def mark(match: re.Match[str], role: Role) -> None:
        marks.append((whole.start + match.start(), whole.start + match.end(), role))

    for match in _LABEL.finditer(part):
        role = _role_of(match.group("label"), match)
        if role is not None:
            mark(match, role)
    for match in _INLINE.finditer(part):
        role = _role_by_word(match.group("label"))
        if role == "answers" or (role == "asks" and marks):
            mark(match, role)
    for match in _JSON.finditer(part):
        role = _role_by_word(match.group("key"))
        if role in ("asks", "answers"):
            mark(match, role)
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
    for role, labels in (
        ("asks", rules.ask_labels),
        ("answers", rules.answer_labels),
        ("other", rules.other_labels),
    ):
        if folded in labels:
            return role  # type: ignore[return-value]
    # "Answer briefly:", "Answer the following question:" ask; "Answer:" answers.
    parts = folded.split(" ")
    return "asks" if len(parts) > 1 and not rules.asking_verbs.isdisjoint(parts[:2]) else None
