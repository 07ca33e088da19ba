"""What a preset's name means for a build.

What comes in: `revisor` or `paper`, and a layer. What goes out: `BuildSettings`. What it does not
do: read a store's settings (config.py).
"""

from __future__ import annotations

from revisor import data
from revisor.config import PAPER_GAMMA
from revisor.neuraldb.editing.build import BuildSettings
from revisor.neuraldb.editing.request import ContextPlan
from revisor.neuraldb.editing.values import ValueSettings

FEW_BITS = 8  # costs rows of names two answers of 1,246 (docs/scale.md)
PAPER_CLAMP = 3.0  # the published multiple of |h|, as measured on this method before


def preset_settings(
    preset: str, layer: int, gamma: float | None = None, scope: str = "question"
) -> BuildSettings:
    """The settings of a preset.

    Args:
        preset: `paper` for one averaged raw key a fact under one threshold, written in the bare
            prompt, five prefixed ones and the KL prompt (Fei et al. 2026, section 5.1); else ours.
        layer: whose FFN the gate sits in.
        gamma: the threshold of entries, if not the preset's own.
        scope: of a subject's only fact, `question` or `subject`; the paper's rows are at the name.
    """
    if preset != "paper":
        return BuildSettings(layer=layer, gamma=gamma, scope=scope, bits=FEW_BITS)
    return BuildSettings(
        layer=layer,
        whiten=False,
        gamma=PAPER_GAMMA if gamma is None else gamma,
        named=False,
        finished=False,
        averaged_only=True,
        values=ValueSettings(clamp=PAPER_CLAMP),
        contexts=ContextPlan(prefixes=data.prefixes(), per_fact=5, chat=False, essence=True),
    )
