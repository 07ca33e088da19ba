"""How facts become rows: the paper's settings (Fei et al. 2026, section 5.1).

The paper leaves open what it writes a fact in; here that is the bare prompt, five prefixed ones and
the prompt of the KL term, as MEMIT has it, whose optimisation it follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from revisor import data
from revisor.neuraldb.bank.vectors import WHOLE
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.request import ContextPlan
from revisor.neuraldb.editing.residuals import ValueSettings

PAPER_GAMMA = 0.65
PREFIXED = 5


def paper_contexts() -> ContextPlan:
    """The texts a fact is written in."""
    return ContextPlan(prefixes=data.prefixes(), per_fact=PREFIXED, essence=True)


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How facts become rows.

    Attributes:
        layer: whose FFN the gate sits in.
        whiten: compare whitened keys, not the paper's raw ones.
        gamma: threshold of entries; None for the paper's 0.65 with raw keys, and for what
            calibration finds with whitened ones.
        contexts: texts a fact is written in.
        values: how residuals are optimised.
        bits: in which rows are stored (bank/vectors.py); the check through the gate asks them so.
    """

    layer: int
    whiten: bool = False
    gamma: float | None = None
    contexts: ContextPlan = field(default_factory=paper_contexts)
    values: ValueSettings = field(default_factory=ValueSettings)
    bits: int = WHOLE

    def threshold(self, calibration: Calibration) -> float:
        """γ of new entries."""
        if self.gamma is not None:
            return self.gamma
        return calibration.score.gamma if self.whiten else PAPER_GAMMA
