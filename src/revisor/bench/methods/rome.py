"""ROME: a rank-one update of one FFN output projection for each fact, one after another.

Shapes: F key width, D hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from revisor.bench.methods.binding import Binding, check_layers, published_range
from revisor.bench.methods.closed import rome_update
from revisor.bench.methods.common import ValueOptions, WeightEditor, unsaid
from revisor.bench.methods.moments import second_moments
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.bench.protocol import Failure
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.keys import mean_keys
from revisor.neuraldb.editing.residuals import compute_residuals
from revisor.progress import Progress


@dataclass(frozen=True, kw_only=True)
class RomeOptions(ValueOptions):
    """ROME.

    Attributes:
        layer: whose FFN output projection is changed; None for the middle of MEMIT's range.
    """

    layer: int | None = None


class RomeEditor(WeightEditor):
    """ROME; see the file's first lines.

    Args:
        binding: the model, and the folder of the background corpus.
        options: hyperparameters.
        name: of the method.
    """

    def __init__(self, binding: Binding, options: RomeOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        range_ = published_range(binding)
        layer = range_[len(range_) // 2] if options.layer is None else options.layer
        (self.layer,) = check_layers(binding, (layer,))

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Write facts one by one."""
        if not facts:
            return []
        options, model, spec = self.options, self.loaded.model, self.spec
        module = spec.ffn_projection(self.layer)
        # Of the unedited model: the cache is keyed by its weights.
        moments = second_moments(self.binding, (self.layer,), tokens=options.moment_tokens)
        if self.weights is None:
            self.weights = EditedWeights([projection_weight(module)])
        values, requests = options.values(), options.requests(facts, self.loaded.tokenizer)
        with self.weights.swapped(), Progress(self.name, len(facts), "facts") as progress:
            for request in requests:
                told = [context for context in request.contexts if context.target]
                residual = compute_residuals(model, spec, self.layer, [request], values)
                (k_F,) = mean_keys(model, spec, self.layer, [told])
                self.weights.add(module, rome_update(k_F, residual.R_ND[0], moments[self.layer]))
                progress.advance()
        return unsaid(self.loaded, facts, self.attached)
