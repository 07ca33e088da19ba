"""What is decided at the end of a prompt, with everything that was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch

from revisor.errors import UsageError
from revisor.gate.choice import Candidate, Decision, needed
from revisor.gate.decide import Facts, decide, window
from revisor.gate.explained import explained
from revisor.gate.gate import FactGate
from revisor.language.names import Mention, mentions, name_words
from revisor.models.load import LoadedModel
from revisor.operations.why import what_helps, why_not
from revisor.question.reading import Question, questions

SPELLINGS = 8  # facts about a name whose spellings are compared with what a text has


@dataclass(frozen=True, kw_only=True)
class Named:
    """A name of a fact in a text.

    Attributes:
        text: as it stands there.
        start, end: its place in the text.
        facts: how many facts are about it.
        name: the subject or alias that it is taken for.
        how: `exact`; `folded`: but for letters, signs and spaces; `form`: a company's form stands
            behind it; `near`: in another spelling.
        within: the rule by which it is part of a longer name; None if it is not.
        inner: names of other facts within it, which it covers.
    """

    text: str
    start: int
    end: int
    facts: int
    name: str
    how: str
    within: str | None
    inner: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What is decided at the end of a prompt.

    Attributes:
        prompt: as it was given; of a chat the last message.
        text: what the model reads, its chat template filled in.
        start: where the window of the text begins in which names are looked for.
        names: names of facts in it.
        questions: what could be asked where it ends, the likeliest reading first.
        candidates: facts about the names, the nearest first; `silenced` says what keeps one back.
        is_due: whether the model's logits say that an answer is due; None if they were not asked.
        never_due: they never are: the store goes by the text alone.
        decision: the fact that is asked for, if one is.
        threshold: what a score has to reach.
        has_facts: there are facts at all.
    """

    prompt: str
    text: str
    start: int
    names: tuple[Named, ...]
    questions: tuple[Question, ...]
    candidates: tuple[Candidate, ...]
    is_due: bool | None
    never_due: bool
    decision: Decision | None
    threshold: float
    has_facts: bool

    @property
    def due_by_text(self) -> bool:
        """Whether the text by itself tells that an answer is due."""
        return self.decision is not None and self.decision.fact.is_due

    @property
    def written(self) -> str | None:
        """The object that is written here; None if none is."""
        if self.decision is None or not (self.due_by_text or self.is_due):
            return None
        return self.decision.fact.object

    def shown(self, mention: Mention) -> str:
        """A name as it stands in the text."""
        return self.text[self.start + mention.start : self.start + mention.end]


def explain(
    gate: FactGate,
    prompt: str | Sequence[Mapping[str, str]],
    *,
    chat: bool = False,
    loaded: LoadedModel | None = None,
    leave_open: bool = False,
) -> Explanation:
    """Decide at the end of a prompt, and keep what was looked at.

    Args:
        prompt: a text, or the messages of a chat.
        chat: the prompt is a user's turn in the model's chat template.
        loaded: the model, to ask its logits whether an answer is due.
        leave_open: the gate has no probe because nobody wants to know.

    Raises:
        UsageError: there is nothing to read, or a message is none of a chat.
    """
    _check_prompt(prompt)
    text = _rendered(gate.tokenizer, prompt, chat=chat)
    view, start = gate.view(), window(text)
    part = text[start:]
    named = mentions(part, view)
    whole = [mention for mention in named if mention.within is None]
    return Explanation(
        prompt=prompt if isinstance(prompt, str) else prompt[-1]["content"],
        text=text,
        start=start,
        names=tuple(_named(text, start, mention, view) for mention in named),
        questions=tuple(questions(part, whole)),
        candidates=tuple(explained(part, named, view, gate.encoder, threshold=gate.threshold)),
        is_due=_is_due(gate, text, loaded, special=isinstance(prompt, str) and not chat),
        never_due=gate.probe is None and not leave_open,
        decision=decide(part, named, view, gate.encoder, threshold=gate.threshold),
        threshold=gate.threshold,
        has_facts=view.longest > 0,
    )


def _check_prompt(prompt: Any) -> None:
    """Refuse what no model can read."""
    if not isinstance(prompt, str) and not isinstance(prompt, Sequence):
        raise UsageError(
            f"A {type(prompt).__name__} is no prompt.", "Give a text, or the messages of a chat."
        )
    if not prompt:
        raise UsageError("The prompt is empty.", "Write something for the model to read.")
    if isinstance(prompt, str):
        return
    for number, turn in enumerate(prompt, start=1):
        if not isinstance(turn, Mapping) or not {"role", "content"} <= set(turn):
            raise UsageError(
                f"Message {number} of the chat, {turn!r}, has no role and content.",
                "Write messages like {'role': 'user', 'content': 'Who runs ACME?'}.",
            )


def _rendered(tokenizer: Any, prompt: str | Sequence[Mapping[str, str]], *, chat: bool) -> str:
    """What the model reads."""
    if isinstance(prompt, str) and not chat:
        return prompt
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError("The model has no chat template.", "Leave --chat out.")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _is_due(gate: FactGate, text: str, loaded: LoadedModel | None, *, special: bool) -> bool | None:
    """Whether the model's logits say that an answer is due; None if they are not asked."""
    if loaded is None or gate.probe is None:
        return None
    read = gate.tokenizer(text, add_special_tokens=special, return_tensors="pt")
    with torch.inference_mode():
        logits_BTV: Any = loaded.model(read["input_ids"].to(loaded.device)).logits
    return bool(gate.probe.is_due(logits_BTV[:, -1])[0])


def _named(text: str, start: int, mention: Mention, facts: Facts) -> Named:
    said = text[start + mention.start : start + mention.end]
    name, how = _taken_for(said, mention, facts)
    return Named(
        text=said,
        start=start + mention.start,
        end=start + mention.end,
        facts=len(mention.facts),
        name=name,
        how=how,
        within=mention.within,
        inner=tuple(text[start + first : start + end] for first, end, _ in mention.inner),
    )


def _taken_for(said: str, mention: Mention, facts: Facts) -> tuple[str, str]:
    """The subject or alias that a text names, and how it is written there."""
    spellings = [name for one in mention.facts[:SPELLINGS] for name in facts.spellings(one)]
    if said in spellings:
        return said, "exact"
    read = name_words(said)
    for name in spellings:
        if "".join(name_words(name)) == "".join(read):
            return name, "folded"
    for name in sorted(spellings, key=len, reverse=True):
        own = name_words(name)
        if read[: len(own)] == own:
            return name, "form"
    return max(spellings, key=lambda name: _likeness(said, name)), "near"


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one.casefold(), other.casefold()).ratio()


def as_json(found: Explanation) -> dict[str, Any]:
    """An explanation as `revisor explain --json` prints it."""
    runner_up = found.decision.runner_up if found.decision else None
    return {
        "prompt": found.prompt,
        "text": found.text,
        "why_not": why_not(found),
        "helps": what_helps(found),
        "mentions": [
            {
                "text": one.text,
                "start": one.start,
                "end": one.end,
                "facts": one.facts,
                "name": one.name,
                "how": one.how,
                "within_longer": one.within,
                "inner": list(one.inner),
            }
            for one in found.names
        ],
        "questions": [
            {"text": one.text, "name": found.shown(one.mention), "kind": one.kind}
            for one in found.questions
        ],
        "candidates": [
            {
                "id": one.id,
                "subject": one.subject,
                "object": one.object,
                "namespace": one.namespace,
                "question": one.question,
                "template": one.template,
                "score": round(one.score, 4),
                "threshold": round(needed(one, found.threshold), 4),
                "silenced": one.silenced,
                "via": list(one.via),
            }
            for one in found.candidates
        ],
        "runner_up": runner_up.id if runner_up else None,
        "answer_due": found.is_due,
        "due_by_text": found.due_by_text,
        "fact": found.decision.fact.id if found.decision else None,
        "written": found.written,
    }
