"""Who speaks: chat templates, label frames and records are parted into turns."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from revisor.language.lexicon import lexicon
from revisor.language.words import fold

Role = Literal["text", "asks", "answers", "other"]

# Markers of the chat templates of Qwen and SmolLM (ChatML, Phi 4), Llama 3 and 4, Gemma, Phi 3,
# Zephyr, OLMo and GLM, Granite, Kimi, Mistral and Llama 2, Cohere, DeepSeek, EXAONE and gpt-oss;
# of templates that put roles in brackets; and what models put around thoughts, calls of tools and
# what a tool gives back.
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
  | <[|\uff5c](?P<bar>system|user|assistant|User|Assistant|observation|tool)[|\uff5c]>[ \t]*\n?
  | \[\|(?P<exaone>system|user|assistant)\|\][ \t]*\n?
  | (?P<inst>\[INST\]|<</SYS>>)\s*
  | (?P<reply>\[/INST\]|\[/TOOL_RESULTS\]|</think>)\s*
  | (?P<system><<SYS>>|\[SYSTEM_PROMPT\])\s*
  | (?P<aside><think>)\s*
  | (?P<tool><tool_(?:call|response)s?>|<\|python_tag\|>
      |\[(?:TOOL_(?:RESULTS|CALLS)|AVAILABLE_TOOLS)\])\s*
  | (?P<back></tool_(?:call|response)s?>|\[/AVAILABLE_TOOLS\])\s*
  | (?:(?<=\n)|^)\[(?P<bracket>system|user|assistant)\](?:[ ]|$)
  | (?P<end><\|\w+\|>|<\uff5c[\w\u2581]+\uff5c>|</?s>|<[be]os>|<pad>|<end_of_turn>|\[\|endofturn\|\]
      |\[gMASK\]|<sop>|\[/SYSTEM_PROMPT\])
    """,
    re.VERBOSE,
)
_MARKED = re.compile(
    r"<[|\uff5c/]|<s>|<[bes]os>|<pad>|<think>|<tool_|<start_of|\[\|?/?(?:INST|TOOL|AVAI|SYS|[suag])"
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
    (?P<sign>[ \u00a0\u202f]?[:\uff1a]|[.)](?=[ ]|$)|(?=\*\*|__)|(?=[ \t]*\n))
    (?(bold)(?:\*\*|__)?:?)
    [ \t]*
    """,
    re.VERBOSE,
)
_HEADING = re.compile(r"(?:(?<=\n)|^)[ \t]*\#{1,6}[ ]")
_INLINE = re.compile(
    r"(?<=[.?!\u3002\uff1f\uff01\"\u201d\u201c\u00bb)])\s*(?P<label>[^\W\d_]+(?:[ ][^\W\d_]+)?)"
    r"[ \u00a0\u202f]?[:\uff1a][ ]*"
)
# How a text ends where an answer may open: told in no time, and now and then where none opens.
_MAY_OPEN = re.compile(
    r"(?:[:\uff1a>\]\n]|\*\*|__|\bA[.)]|\b\d{1,2}[.)])[\s\"*_`:{\[(\u201c\u2018\u201e\u00ab\u300a\u300c#>]*$"
)
_TAIL = 64
_JSON = re.compile(r"[\"'](?P<key>\w+)[\"']\s*:\s*[\"']")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one party says, from `start` to `end` without its marker.

    `role` is `other` for a system prompt, a context, a tool's result or a model's thoughts, and
    `text` where nothing tells. `marked`: by a chat template's markers, which nobody types. `name`
    is what the marker or label calls the speaker, folded.
    """

    role: Role
    start: int
    end: int
    marked: bool = False
    name: str = ""

    @property
    def sets_up(self) -> bool:
        """It is a system prompt, which tells who is to answer."""
        return self.name in lexicon(self.name).system_labels

    @property
    def reports(self) -> bool:
        """It is what a tool gave back, or what it was called with."""
        return self.name in lexicon(self.name).tool_labels


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
    speaker: tuple[Role, str] | None = None  # who speaks, and what the marker says of them
    outer: tuple[Role, str] | None = None  # who spoke when a tool was called
    start = 0
    any_marker = False
    for match in _MARKERS.finditer(text):
        any_marker = True
        if speaker is not None:
            found.append(Turn(speaker[0], start, match.start(), True, speaker[1]))
        elif text[start : match.start()].strip():
            found.append(Turn("text", start, match.start()))
        if match.lastgroup == "tool":
            outer = speaker
        speaker = outer if match.lastgroup == "back" else _speaker_after(match)
        start = match.end()
    if not any_marker:
        return []
    if speaker is not None:
        found.append(Turn(speaker[0], start, len(text), True, speaker[1]))
    elif text[start:].strip() or not found:
        found.append(Turn("text", start, len(text)))
    else:
        found.append(Turn("other", start, len(text), True))
    return _without_shells(text, found)


def _without_shells(text: str, found: list[Turn]) -> list[Turn]:
    """The turns without a user's that hold nothing but a tool's result or a system prompt."""
    kept = []
    for place, turn in enumerate(found):
        beside = found[max(0, place - 1) : place + 2]
        empty = turn.role == "asks" and not _words(text, turn) and turn is not found[-1]
        if not (empty and any(one.reports or one.sets_up for one in beside)):
            kept.append(turn)
    return kept


def _speaker_after(match: re.Match[str]) -> tuple[Role, str] | None:
    """Who speaks behind a marker; None where nobody is named."""
    named = {name: found for name, found in match.groupdict().items() if found is not None}
    if "end" in named:
        return None
    if "inst" in named:
        return "asks", "user"
    if "reply" in named:
        return "answers", "assistant"
    for kind in ("system", "tool", "aside"):
        if kind in named:
            return "other", kind
    channel = named.pop("channel", named.pop("channel_only", None))
    if channel not in (None, "final"):
        return "other", str(channel)
    said = next(iter(named.values()), "assistant").casefold()
    return _ROLES.get(said, "other"), said


def _labelled(text: str, whole: Turn) -> list[Turn]:
    """Turns by labels that begin a line ("Q:", "**Answer:**", "### Answer") or follow a sentence
    ("Answer briefly: ... Answer:"), and by the keys of a JSON record."""
    marks: list[tuple[int, int, Role, str]] = []
    part = text[whole.start : whole.end]

    def mark(match: re.Match[str], role: Role, label: str) -> None:
        begin, end = whole.start + match.start(), whole.start + match.end()
        marks.append((begin, end, role, label.casefold()))

    for match in _LABEL.finditer(part):
        role = _role_of(match.group("label"), match)
        if role is not None:
            mark(match, role, match.group("label"))
    for match in _INLINE.finditer(part):
        role = _role_by_word(match.group("label"), part)
        if role == "answers" or (role == "asks" and marks):
            mark(match, role, match.group("label"))
    for match in _JSON.finditer(part):
        role = _role_by_word(match.group("key"), part)
        if role in ("asks", "answers"):
            mark(match, role, match.group("key"))
    if not marks:
        return [whole]
    marks.sort()
    found = []
    if text[whole.start : marks[0][0]].strip():
        found.append(replace(whole, end=marks[0][0]))
    for place, (_, end, role, label) in enumerate(marks):
        stop = marks[place + 1][0] if place + 1 < len(marks) else whole.end
        if end <= stop:
            found.append(Turn(role, end, stop, False, label))
    return _with_questions_below(text, whole, found)


def _with_questions_below(text: str, whole: Turn, parts: list[Turn]) -> list[Turn]:
    """The parts, with a question below a passage as asked, whatever label the passage has:
    "Context: ACME makes anvils.\n\nWho leads ACME?"."""
    found: list[Turn] = []
    for place, part in enumerate(parts):
        last = place + 1 == len(parts)
        answered = not last and parts[place + 1].role == "answers"
        pasted = part.role == "other" or (part.role == "answers" and last)
        begin = text.rstrip().rfind("\n\n", part.start, part.end)
        asked = pasted and begin >= 0 and (whole.role == "asks" or answered)
        if asked and _reads_as_question(text[begin : part.end].strip()):
            found.append(replace(part, end=begin))
            found.append(Turn("asks", begin, part.end, whole.marked, whole.name))
        else:
            found.append(part)
    return found


def _reads_as_question(said: str) -> bool:
    """Whether a paragraph is a question by its last sign or its first word."""
    rules = lexicon(said)
    first = next((word.text for word in rules.terms(said)), "")
    asking = rules.question_words - rules.auxiliaries | rules.asking_verbs
    return said.endswith(("?", "\uff1f")) or (first in asking and "\n" not in said)


def _role_of(label: str, match: re.Match[str]) -> Role | None:
    sign = match.group("sign").strip()
    heading = bool(_HEADING.match(match.string, match.start()))
    if not sign and not heading and not match.group("bold"):
        return None
    if sign in (".", ")") and label not in ("Q", "A"):
        return None
    if len(label) == 1 and label.islower():
        return None
    return _role_by_word(label, match.string)


def _role_by_word(label: str, text: str) -> Role | None:
    """The role that a label gives in a text, by whose language "P" and "R" are labels or none."""
    rules, folded = lexicon(text), fold(label)
    labels: tuple[tuple[Role, frozenset[str]], ...] = (
        ("asks", rules.ask_labels | rules.ask_letters),
        ("answers", rules.answer_labels | rules.answer_letters),
        ("other", rules.other_labels | rules.system_labels | rules.tool_labels),
    )
    for role, some in labels:
        if folded in some:
            return role
    # "Answer briefly:", "Answer the following question:" ask; "Answer:" answers, and "Tell me about
    # ACME:" is of the question itself.
    parts = folded.split(" ")
    own = lexicon(label)
    if len(parts) == 1 or own.asking_verbs.isdisjoint(parts[:2]):
        return None
    named = any(part[0].isupper() for part in label.split(" ")[1:]) and label != label.title()
    return None if named or not own.topic_links.isdisjoint(parts) else "asks"
