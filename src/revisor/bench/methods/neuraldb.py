"""Our own bank as two of the methods: as published, and as revisor has it.

What comes in: a binding and options. What goes out: a `BankEditor`. What it does not do: anything
that editing/editor.py does.
"""

from __future__ import annotations

from dataclasses import dataclass

from revisor.baselines.binding import Binding
from revisor.neuraldb.editing.editor import BankEditor
from revisor.neuraldb.editing.presets import preset_settings


@dataclass(frozen=True, kw_only=True)
class BankOptions:
    """How the bank is built.

    Attributes:
        preset: `paper` or `revisor`.
        gamma: the cosine threshold; None for the preset's own.
        layer: whose FFN the gate sits in; None for the binding's.
        scope: of a subject's only fact, `question` or `subject`.
    """

    preset: str = "revisor"
    gamma: float | None = None
    layer: int | None = None
    scope: str = "question"


def bank_editor(binding: Binding, options: BankOptions, *, name: str) -> BankEditor:
    """The bank with a preset's settings."""
    layer = binding.layer if options.layer is None else options.layer
    settings = preset_settings(options.preset, layer, options.gamma, options.scope)
    return BankEditor(binding.loaded, binding.spec, settings, name=name)
