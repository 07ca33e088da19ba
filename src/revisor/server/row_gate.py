"""The facts of one answer on its way: its gate, its tokens, and what was written into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from revisor.gate.decide import Decision
from revisor.gate.gate import BatchGate, FactGate
from revisor.gate.trace import Trace, Used
from revisor.index.view import View


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
        } | ({"question": used.question} if with_question else {})


class _Places(Trace):
    """A trace of one row that also keeps where each object ends, and the fact's namespace."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self.length = 0  # tokens that the row has read
        self.ends: dict[tuple[str, int], int] = {}
        self.namespaces: dict[str, str] = {}

    def note(self, row: int, decision: Decision, position: int) -> None:
        super().note(row, decision, position)
        fact = decision.fact
        self.ends[fact.id, position] = self.length + 1
        if fact.id not in self.namespaces:
            self.namespaces[fact.id] = self.view.fact(fact.handle).namespace

    def fork(self) -> _Places:
        other = _Places(self.view)
        other.rows = {row: list(used) for row, used in self.rows.items()}
        other.length, other.ends = self.length, dict(self.ends)
        other.namespaces = dict(self.namespaces)
        return other


class RowGate:
    """Writes facts into the logits of one answer.

    Args:
        gate: its `view` has to give the same `View` always.
        prompt: token ids.
        room: tokens that prompt and answer can come to.
    """

    def __init__(self, gate: FactGate, prompt: Sequence[int], room: int) -> None:
        view = gate.view()
        assert isinstance(view, View)
        self._trace = _Places(view)
        self._batch: BatchGate = gate.batch(trace=self._trace)
        self._ids_1T = torch.zeros(1, room + 1, dtype=torch.long)
        self._ids_1T[0, : len(prompt)] = torch.tensor(list(prompt))
        self._length = len(prompt)

    def fork(self) -> RowGate:
        """The same for another answer that has begun alike."""
        other = RowGate.__new__(RowGate)
        other._trace = self._trace.fork()
        other._batch = self._batch.fork(trace=other._trace)
        other._ids_1T = self._ids_1T.clone()
        other._length = self._length
        return other

    def read(self, token: int) -> None:
        """A token was chosen."""
        self._ids_1T[0, self._length] = token
        self._length += 1

    def step(self, logits_V: torch.Tensor) -> torch.Tensor:
        """The logits (V,) of the next token, with a fact written where one is asked for."""
        self._trace.length = self._length
        return self._batch.step(self._ids_1T[:, : self._length], logits_V[None])[0]

    @property
    def written(self) -> Sequence[Written]:
        """The facts so far, in the order of their places."""
        trace = self._trace
        return [
            Written(
                used=used,
                namespace=trace.namespaces[used.fact_id],
                end=trace.ends[used.fact_id, used.position],
            )
            for used in trace.of(0)
        ]
