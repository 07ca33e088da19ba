"""What a gate decided, position by position: read by `--why`, hit logs, figures and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from revisor.gate.choice import Decision


@dataclass(frozen=True, kw_only=True)
class Used:
    """A fact whose object was written.

    Attributes:
        fact_id, subject, object: of the fact.
        question: what was asked, with `{}` for the name.
        score, threshold: of the decision.
        position: index of the first token of the object, in the row's own tokens.
        via: ids of the facts by which the question describes whom the fact is about.
    """

    fact_id: str
    subject: str
    object: str
    question: str
    score: float
    threshold: float
    position: int
    via: tuple[str, ...] = ()

    @classmethod
    def of(cls, decision: Decision, position: int) -> Used:
        """A decision as it is kept."""
        fact = decision.fact
        return cls(
            fact_id=fact.id,
            subject=fact.subject,
            object=fact.object,
            question=fact.question,
            score=round(fact.score, 4),
            threshold=decision.threshold,
            position=position,
            via=fact.via,
        )


@dataclass
class Trace:
    """The facts used by each row of a batch, of one: give each call of `generate` its own.

    Attributes:
        rows: by the row's index, in the order of their positions; each once a position.
    """

    rows: dict[int, list[Used]] = field(default_factory=dict)

    def note(self, row: int, decision: Decision, position: int) -> None:
        """Remember a decision; the same one again is not kept twice."""
        used = self.rows.setdefault(row, [])
        if not any(one.fact_id == decision.fact.id and one.position == position for one in used):
            used.append(Used.of(decision, position))

    def of(self, row: int) -> list[Used]:
        """The facts used by a row."""
        return self.rows.get(row, [])


def ids_told(entry: Mapping[str, Any]) -> set[str]:
    """The ids of all facts that an entry of a hit log tells of."""
    return {one for used in entry["facts_used"] for one in (used["id"], *used.get("via", ()))}
