"""The facts of one answer on its way: its gate, its tokens, and what was written into it.

Letters: B answers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from revisor.gate.gate import FactGate
from revisor.gate.row import Action, Row
from revisor.gate.tokens import Tokens
from revisor.gate.trace import Used


@dataclass(frozen=True, kw_only=True)
class Written:
    """A fact that was written into an answer.

    Attributes:
        used: the fact and the decision.
        namespace: of the fact.
        end: index behind the last of its tokens, in prompt and answer together.
    """

    used: Used
    namespace: str
    end: int

    def told(self, *, with_question: bool = True) -> dict[str, Any]:
        """As JSON; the question is of the asker's own words, which logs do not keep."""
        used = self.used
        return {
            "id": used.fact_id,
            "subject": used.subject,
            "object": used.object,
            "score": used.score,
            "threshold": used.threshold,
            "position": used.position,
            "end": self.end,
            "via": list(used.via),
        } | ({"question": used.question} if with_question else {})


class RowGate:
    """Writes facts into the logits of one answer.

    Args:
        gate: its `view` has to give the same `View` always.
        prompt: token ids.

    Attributes:
        names_any: whether the text names anything, without which nothing is ever written.
    """

    def __init__(self, gate: FactGate, prompt: Sequence[int]) -> None:
        self._gate, facts = gate, gate.view()
        self._has_facts = facts.longest > 0
        self._tokens = Tokens.of(gate.tokenizer)
        self._row = Row(self._tokens, facts, gate.encoder, gate.threshold)
        self._written: dict[tuple[str, int], Written] = {}
        self.names_any = False
        self.read(prompt)

    def fork(self) -> RowGate:
        """The same for another answer that has begun alike."""
        other = RowGate.__new__(RowGate)
        other.__dict__ |= self.__dict__
        other._row, other._written = self._row.fork(), self._written.copy()
        return other

    def read(self, ids: Sequence[int]) -> None:
        """Tokens were chosen."""
        if self._has_facts:
            self._row.read(ids)
            self.names_any = self._row.names_any

    def write(self, logits_V: torch.Tensor, *, due: bool) -> torch.Tensor:
        """The logits of the next token, with a fact written where one is asked for.

        Args:
            due: see `due_in`.

        Returns:
            The very tensor that came where nothing is written.
        """
        action = self._row.action(due=due) if self.names_any else None
        if action is None:
            return logits_V
        if action.token is None:
            held_V = self._tokens.carrying(len(logits_V), logits_V.device, action.behind)
            return logits_V.masked_fill(held_V, -torch.inf)
        self._note(action)
        written_V = torch.full_like(logits_V, -torch.inf)
        written_V[action.token] = 0.0
        return written_V

    def due_in(self, logits_BV: torch.Tensor) -> list[bool]:
        """In which of some logits an answer is due, of this answer or of others."""
        probe = self._gate.probe
        due: list[bool] = [] if probe is None else probe.is_due(logits_BV).tolist()
        return due or [False] * len(logits_BV)

    @property
    def written(self) -> Sequence[Written]:
        """The facts so far, in the order of their places."""
        return tuple(self._written.values())

    def _note(self, action: Action) -> None:
        fact, end = action.decision.fact, len(self._row.ids) + 1
        key = (fact.id, action.begin)
        before = self._written.get(key)
        used = Used.of(action.decision, action.begin) if before is None else before.used
        self._written[key] = Written(used=used, namespace=fact.namespace, end=end)


def due_of(gates: Sequence[RowGate | None], logits_BV: torch.Tensor) -> list[bool]:
    """For each of some answers whether one is due, asked of their logits at once.

    Args:
        gates: those of one model; None for an answer without facts.
    """
    due = [False] * len(gates)
    # Answers that name nobody leave nothing to ask the logits, which are on the device.
    named = [(place, gate) for place, gate in enumerate(gates) if gate and gate.names_any]
    if named:
        places = [place for place, _ in named]
        asked_BV = logits_BV if len(named) == len(gates) else logits_BV[places]
        for place, one in zip(places, named[0][1].due_in(asked_BV), strict=True):
            due[place] = one
    return due
