"""What the operations of a bank work on: the folders, the model, the facts.

PATH/banks/FINGERPRINT/gen-0000007/...        rows: a product of facts, model and settings
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from revisor.facts.ledger import Ledger
from revisor.models.load import LoadedModel, fingerprint, wrap_model
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.editing.settings import PAPER_GAMMA, BuildSettings

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class NeuralDBSettings:
    """What a bank is built with.

    Attributes:
        model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
        dtype: of the weights: fp32, bf16 or fp16.
        layer: the decoder layer whose FFN holds the gate.
        device: `auto` or a torch device.
        gamma: the cosine threshold; None for the paper's.
        layers_path, projection_path: where the FFN is, for a family that is not in the table.
        search: how the nearest key is found: `exact`, among all; `coarse`, over an index; `auto`,
            over an index where there are many. An index that decides otherwise is never used.
    """

    model: str
    dtype: str
    layer: int
    device: str = "auto"
    gamma: float | None = None
    layers_path: str | None = None
    projection_path: str | None = None
    search: str = "auto"

    @classmethod
    def of(cls, settings: Any) -> NeuralDBSettings:
        """The settings among an object's attributes; defaults for those it lacks."""
        names = [field.name for field in fields(cls) if hasattr(settings, field.name)]
        return cls(**{name: getattr(settings, name) for name in names})

    def build(self) -> BuildSettings:
        """The settings of a build."""
        gamma = PAPER_GAMMA if self.gamma is None else self.gamma
        return BuildSettings(layer=self.layer, gamma=gamma)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The facts, the model and the store's folder that a bank belongs to.

    `open_model` is called at the first use of `loaded`; `clock` tells which facts hold; `note` is
    what the audit notes of each build beside its figures.
    """

    path: Path
    settings: NeuralDBSettings
    ledger: Ledger
    open_model: Callable[[], LoadedModel]
    clock: Clock = system_clock
    note: Callable[[], dict[str, Any]] = dict

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model."""
        return self.open_model()

    @cached_property
    def spec(self) -> Spec:
        """Where its FFN is."""
        return spec_of(
            self.loaded.model,
            layers_path=self.settings.layers_path,
            projection_path=self.settings.projection_path,
        )

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the model with its layer."""
        return fingerprint(self.loaded, layer=self.settings.layer)

    @property
    def root(self) -> Path:
        """The folder of the banks of all models."""
        return self.path / "banks"

    @property
    def banks(self) -> Path:
        """The folder of this model's banks."""
        return self.root / self.fingerprint

    def with_model(self, model: Any, tokenizer: Any = None) -> Workspace:
        """The same for a user's model, of whatever kind; by default with the store's tokenizer."""

        def wrapped() -> LoadedModel:
            own = self.loaded.tokenizer if tokenizer is None else tokenizer
            return wrap_model(self.settings.model, model, own)

        return replace(self, open_model=wrapped)
