"""From facts to what a model reads: token ids, the subject's last token, the target.

The subject is found by character offsets, never by adding token counts, because a tokenizer may
merge its edges with what stands beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from revisor.errors import UsageError
from revisor.facts.fact import PLACEHOLDER, Fact


@dataclass(frozen=True, kw_only=True)
class Context:
    """One text about a fact, as the token ids of its prompt; `position` is that of the subject's
    last token.

    `target` are the object's ids, as they follow this prompt; empty for a text whose next token
    shall stay what the unedited model says.
    """

    ids: tuple[int, ...]
    position: int
    target: tuple[int, ...]

    @property
    def suffix(self) -> int:
        """Positions that depend on a residual at `position`, those of the target included."""
        return len(self.ids) + len(self.target) - self.position


@dataclass(frozen=True, kw_only=True)
class Request:
    """One fact as a build sees it; the first context is always the bare prompt."""

    fact: Fact
    contexts: tuple[Context, ...]


@dataclass(frozen=True, kw_only=True)
class ContextPlan:
    """Which texts a fact is written in.

    Attributes:
        prefixes: sentences that may stand before the prompt; each fact takes `per_fact` of them,
            chosen by a hash of its id, so that the choice does not depend on other facts.
        wordings: most of the fact's own `paraphrases`.
        aliases: most of the subject's other names, in the prompt.
        essence: also keep the continuation of "{subject} is a" (the paper's KL term).
    """

    prefixes: Sequence[str] = ()
    per_fact: int = 1
    wordings: int = 4
    aliases: int = 4
    essence: bool = False


def make_requests(
    facts: Iterable[Fact], tokenizer: Any, plan: ContextPlan | None = None
) -> list[Request]:
    """Tokenise facts for a build; UsageError for a prompt without its subject, or an object without
    tokens."""
    plan = plan or ContextPlan()
    return [_request(fact, tokenizer, plan) for fact in facts]


def _request(fact: Fact, tokenizer: Any, plan: ContextPlan) -> Request:
    texts = [("", fact.prompt, fact.subject)]
    texts += [
        (prefix, fact.prompt, fact.subject)
        for prefix in choose_prefixes(fact, plan.prefixes, plan.per_fact)
    ]
    texts += [
        ("", wording, fact.subject)
        for wording in fact.paraphrases[: plan.wordings]
        if PLACEHOLDER in wording or fact.subject in wording
    ]
    if PLACEHOLDER in fact.prompt:
        texts += [("", fact.prompt, alias) for alias in fact.aliases[: plan.aliases]]
    contexts = [
        text_context(tokenizer, template, name, fact.object, before=before)
        for before, template, name in texts
    ]
    if not all(context.target for context in contexts):
        raise UsageError(
            f"The model's tokenizer makes no token of the object '{fact.object}' of "
            f"'{fact.subject}'.",
            "Give an object that the tokenizer can write.",
        )
    if plan.essence:
        contexts.append(text_context(tokenizer, "{} is a", fact.subject, ""))
    return Request(fact=fact, contexts=tuple(contexts))


def choose_prefixes(fact: Fact, prefixes: Sequence[str], count: int) -> list[str]:
    """Some of the prefixes, by the fact's id alone: the same in every build."""

    def rank(text: str) -> bytes:
        return hashlib.sha256(f"{fact.id}\x1f{text}".encode()).digest()

    return sorted(prefixes, key=rank)[:count]


def fill(template: str, subject: str) -> tuple[str, int]:
    """A template with the subject in it, and the character index just after its last occurrence;
    UsageError if the template has neither `{}` nor the subject."""
    if PLACEHOLDER in template:
        head, _, tail = template.rpartition(PLACEHOLDER)
        head = head.replace(PLACEHOLDER, subject)
        return head + subject + tail, len(head) + len(subject)
    start = template.rfind(subject)
    if start < 0:
        raise UsageError(
            f"The prompt '{template}' does not contain its subject '{subject}'.",
            "Write {} where the subject stands.",
        )
    return template, start + len(subject)


def text_context(
    tokenizer: Any, template: str, subject: str, target: str, *, before: str = ""
) -> Context:
    """A plain text, behind the sentences `before`, with the tokenizer's own special tokens."""
    text, end = fill(f"{before} {template}" if before else template, subject)
    ids, position = encode_with_position(tokenizer, text, end)
    joined = text + _joiner(text) + target
    return Context(
        ids=ids,
        position=position,
        target=_target(tokenizer, ids, joined, _joiner(text) + target) if target else (),
    )


def asked_context(tokenizer: Any, text: str, target: str, *, chat: bool = False) -> Context:
    """Any text as it is asked, about no subject: its position is its last token. With `chat` it is
    a user's turn in the model's chat template, and the target opens the answer."""
    if chat:
        turn = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        ids = tuple(tokenizer(turn, add_special_tokens=False)["input_ids"])
        spoken = tuple(tokenizer(target, add_special_tokens=False)["input_ids"]) if target else ()
    else:
        ids = tuple(tokenizer(text)["input_ids"])
        piece = _joiner(text) + target
        spoken = _target(tokenizer, ids, text + piece, piece) if target else ()
    return Context(ids=ids, position=len(ids) - 1, target=spoken)


def encode_with_position(tokenizer: Any, text: str, end: int) -> tuple[tuple[int, ...], int]:
    """Token ids of `text`, and the index of the last token that covers character `end - 1`, since
    several tokens may share one multi-byte character."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    position = -1
    for index, (start, stop) in enumerate(encoded["offset_mapping"]):
        if start < end <= stop:
            position = index
    if position < 0:  # the character is in no token (a stripped space): the last one before it
        for index, (start, stop) in enumerate(encoded["offset_mapping"]):
            if start < stop <= end:
                position = index
    if position < 0:
        raise UsageError(
            f"The model's tokenizer makes no token of '{text[:end]}'.",
            "Name the subject with letters that the tokenizer keeps.",
        )
    return tuple(encoded["input_ids"]), position


def _joiner(text: str) -> str:
    """The separator of a prompt and its object."""
    return "" if not text or text[-1].isspace() or text[-1] in "([{\"'“‘«/-" else " "


def _target(tokenizer: Any, ids: tuple[int, ...], joined: str, piece: str) -> tuple[int, ...]:
    """The object's ids as they follow exactly `ids`."""
    whole = tuple(tokenizer(joined)["input_ids"])
    if whole[: len(ids)] == ids and len(whole) > len(ids):
        return whole[len(ids) :]
    return tuple(tokenizer(piece, add_special_tokens=False)["input_ids"])
