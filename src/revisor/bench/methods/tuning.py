"""Fine-tuning: of one FFN output projection (`ft`), or of all weights (`retrain`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from revisor.bench.methods.binding import Binding, check_layers, layer_at
from revisor.bench.methods.common import WeightEditor, unsaid
from revisor.bench.methods.training import TrainOptions, train
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.bench.protocol import Failure
from revisor.facts.fact import Fact

FT_SHARE = 0.6  # of the depth; see the sweep in benchmarks/sweep_baselines.py


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(TrainOptions):
    """Continued training of all weights; the rate is relative."""

    relative: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class FtOptions(RetrainOptions):
    """Fine-tuning of one layer; the rate is relative.

    Attributes:
        layer: whose FFN output projection moves; None for one at 0.6 of the depth.
    """

    layer: int | None = None
    rate: float = 0.04
    epochs: int = 30


class TuningEditor(WeightEditor):
    """Fine-tuning of one layer or of all weights, by the kind of its options.

    Args:
        binding: the model.
        options: `FtOptions` or `RetrainOptions`.
        name: of the method.
    """

    def __init__(self, binding: Binding, options: RetrainOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        self.layer: int | None = None
        if isinstance(options, FtOptions):
            layer = layer_at(binding, FT_SHARE) if options.layer is None else options.layer
            (self.layer,) = check_layers(binding, (layer,))

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Train on these facts alone, from the weights as they are now."""
        if not facts:
            return []
        if self.weights is None:
            self.weights = EditedWeights(
                self.loaded.model.parameters()
                if self.layer is None
                else [projection_weight(self.spec.ffn_projection(self.layer))]
            )
        weights, requests = self.weights, self.options.requests(facts, self.loaded.tokenizer)
        with weights.swapped():
            train(
                self.loaded,
                requests,
                weights.parameters,
                weights.masters,
                weights.publish,
                self.options,
                title=self.name,
            )
        return unsaid(self.loaded, facts, self.attached)
