"""Fine-tuning: of one FFN output projection (`ft`), or of all weights (`retrain`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from revisor.bench.methods.binding import Binding, check_layers, layer_at
from revisor.bench.methods.common import WeightEditor, trained_plan, unsaid
from revisor.bench.methods.training import TrainSettings, train
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.bench.protocol import Failure
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.request import make_requests

FT_SHARE = 0.6  # of the depth; see the sweep in benchmarks/sweep_baselines.py


@dataclass(frozen=True, kw_only=True)
class FtOptions:
    """Fine-tuning of one layer.

    Attributes:
        layer: whose FFN output projection moves; None for one at 0.6 of the depth.
        rate: Adam's step, as a multiple of each parameter's root mean square.
        epochs, batch, stop_nll, decay, clip, reach: see `TrainSettings`.
        prefixed: prefixed contexts of a fact beside its bare prompt.
        chat: also train on the prompt inside the model's chat template.
    """

    layer: int | None = None
    rate: float = 0.04
    epochs: int = 30
    batch: int = 8
    stop_nll: float = 0.05
    decay: float = 0.0
    clip: float = 1.0
    prefixed: int = 1
    chat: bool = False
    reach: float | None = None


@dataclass(frozen=True, kw_only=True)
class RetrainOptions:
    """Continued training of all weights.

    Attributes:
        rate: Adam's step, as a multiple of each parameter's root mean square.
        epochs, batch, stop_nll, decay, clip, reach: see `TrainSettings`.
        prefixed: prefixed contexts of a fact beside its bare prompt.
        chat: also train on the prompt inside the model's chat template.
    """

    rate: float = 1e-3
    epochs: int = 20
    batch: int = 8
    stop_nll: float = 0.05
    decay: float = 0.0
    clip: float = 1.0
    prefixed: int = 1
    chat: bool = False
    reach: float | None = None


class TuningEditor(WeightEditor):
    """Fine-tuning of one layer or of all weights, by the kind of its options.

    Args:
        binding: the model.
        options: `FtOptions` or `RetrainOptions`.
        name: of the method.
    """

    def __init__(self, binding: Binding, options: FtOptions | RetrainOptions, *, name: str) -> None:
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
        options, weights = self.options, self.weights
        requests = make_requests(
            facts, self.loaded.tokenizer, trained_plan(options.prefixed, chat=options.chat)
        )
        settings = TrainSettings(
            rate=options.rate,
            relative=True,
            epochs=options.epochs,
            batch=options.batch,
            stop_nll=options.stop_nll,
            decay=options.decay,
            clip=options.clip,
            reach=options.reach,
        )
        with weights.swapped():
            train(
                self.loaded,
                requests,
                weights.parameters,
                weights.masters,
                weights.publish,
                settings,
                title=self.name,
            )
        return unsaid(self.loaded, facts, self.attached)
