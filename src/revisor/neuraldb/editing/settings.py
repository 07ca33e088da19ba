"""How facts become rows: the paper's settings (Fei et al. 2026, section 5.1).

The paper does not say in which texts it writes a fact; here they are the bare prompt, five prefixed
ones and the prompt of the KL term, as in MEMIT, whose optimisation it follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from revisor import data
from revisor.neuraldb.editing.request import ContextPlan
from revisor.neuraldb.editing.residuals import ValueSettings

VERSION = 26  # counts up when the shipped texts or the recipe change
PAPER_GAMMA = 0.65
PREFIXED = 5


def paper_contexts() -> ContextPlan:
    """The texts a fact is written in."""
    return ContextPlan(prefixes=data.prefixes(), per_fact=PREFIXED, essence=True)


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How facts become rows: the layer of the gate, the threshold γ of entries, the texts that a
    fact is written in, and how residuals are optimised."""

    layer: int
    gamma: float = PAPER_GAMMA
    contexts: ContextPlan = field(default_factory=paper_contexts)
    values: ValueSettings = field(default_factory=ValueSettings)
