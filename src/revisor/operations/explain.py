"""What is decided at the end of a prompt, with everything that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from revisor.errors import UsageError
from revisor.gate.decide import Candidate, Decision, decide, explained, needed, window
from revisor.gate.gate import FactGate
from revisor.language.names import Mention, mentions
from revisor.models.load import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What is decided at the end of a prompt.

    Attributes:
        text: what the model reads, its chat template filled in.
        start: where the window of the text begins in which names are looked for.
        mentions: names in it, with their places in the text.
        candidates: facts about them, the nearest first; `silenced` says what keeps one back.
        is_due: whether the model's logits say that an answer is due; None if they were not asked.
        decision: the fact that is asked for, if one is.
        threshold: what a score has to reach.
    """

    text: str
    start: int
    mentions: tuple[Mention, ...]
    candidates: tuple[Candidate, ...]
    is_due: bool | None
    decision: Decision | None
    threshold: float

    @property
    def written(self) -> str | None:
        """The object that is written here; None if none is."""
        if self.decision is None or not (self.decision.fact.is_due or self.is_due):
            return None
        return self.decision.fact.object


def explain(
    gate: FactGate, prompt: str, *, chat: bool = False, loaded: LoadedModel | None = None
) -> Explanation:
    """Decide at the end of a prompt, and keep what was looked at.

    Args:
        chat: the prompt is a user's turn in the model's chat template.
        loaded: the model, to ask its logits whether an answer is due; None to leave that open.

    Raises:
        UsageError: `chat` with a model that has no chat template.
    """
    tokenizer = gate.tokenizer
    text = prompt
    if chat:
        if not getattr(tokenizer, "chat_template", None):
            raise UsageError("The model has no chat template.", "Leave --chat out.")
        turn = [{"role": "user", "content": prompt}]
        text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    view, start = gate.view(), window(text)
    part = text[start:]
    named = mentions(part, view)
    due = None
    if loaded is not None and gate.probe is not None:
        ids = tokenizer(text, add_special_tokens=not chat, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits_BTV: Any = loaded.model(ids.to(loaded.device)).logits
        due = bool(gate.probe.is_due(logits_BTV[:, -1])[0])
    return Explanation(
        text=text,
        start=start,
        mentions=tuple(named),
        candidates=tuple(explained(part, named, view, gate.encoder, threshold=gate.threshold)),
        is_due=due,
        decision=decide(part, named, view, gate.encoder, threshold=gate.threshold),
        threshold=gate.threshold,
    )


def as_json(found: Explanation) -> dict[str, Any]:
    """An explanation as `revisor explain --json` prints it."""
    return {
        "text": found.text,
        "mentions": [
            {
                "text": found.text[found.start + one.start : found.start + one.end],
                "start": found.start + one.start,
                "end": found.start + one.end,
                "facts": len(one.facts),
                "within_longer": one.within,
            }
            for one in found.mentions
        ],
        "candidates": [
            {
                "id": one.id,
                "subject": one.subject,
                "object": one.object,
                "question": one.question,
                "template": one.template,
                "score": round(one.score, 4),
                "threshold": round(needed(one, found.threshold), 4),
                "silenced": one.silenced,
            }
            for one in found.candidates
        ],
        "answer_due": found.is_due,
        "due_by_text": bool(found.decision and found.decision.fact.is_due),
        "fact": found.decision.fact.id if found.decision else None,
        "written": found.written,
    }
