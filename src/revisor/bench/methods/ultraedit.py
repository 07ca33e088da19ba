"""UltraEdit: one backward pass a batch, then a ridge regression a layer; no optimisation.

After Gu et al. 2025. For each layer, h is what enters the projection and g the gradient of the
loss by its output; both are normalised by the mean and deviation of all edits so far (lifelong
normalisation). The wanted change of output is v = -rate · (|ĥ|² / F) · s · ĝ, and
Δ = argmin |Δ h - v|² + ridge · |Δ|². The published step has no s / F (s: deviation of the output)
and a ridge of 1, which suits the scale of the models it was tuned on; here both are relative.

Shapes: T target positions of a batch, F key width, D hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from revisor.bench.methods.binding import Binding, check_layers
from revisor.bench.methods.closed import ridge_update
from revisor.bench.methods.common import WeightEditor
from revisor.bench.methods.training import target_losses, target_places
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.facts.fact import Fact
from revisor.models.hooks import rewritten
from revisor.neuraldb.editing.request import Context, ContextPlan, make_requests
from revisor.progress import Progress

FIRST, LAST = 0.5, 0.8  # of the depth: the published layers are 11 to 24 of 32


@dataclass(frozen=True, kw_only=True)
class UltraEditOptions:
    """UltraEdit.

    Attributes:
        layers: whose FFN output projections are changed; None for 0.5 to 0.8 of the depth.
        batch: facts a turn.
        rate: step of the wanted output, relative to the output's deviation.
        ridge: weight of |Δ|², as a multiple of the mean |h|².
    """

    layers: tuple[int, ...] | None = None
    batch: int = 100
    rate: float = 1.0
    ridge: float = 0.1


@dataclass
class RunningStats:
    """Mean and deviation over all rows seen so far, merged batch by batch."""

    count: int = 0
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    def update(self, rows: torch.Tensor) -> None:
        """Include a batch of rows."""
        mean, squares = rows.mean(0), (rows - rows.mean(0)).square().sum(0)
        total = self.count + len(rows)
        apart = mean - self.mean
        self.squares = self.squares + squares + apart.square() * self.count * len(rows) / total
        self.mean = self.mean + apart * len(rows) / total
        self.count = total

    def normalise(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows with mean 0 and deviation 1, by what was seen so far."""
        deviation = (self.squares / max(1, self.count - 1)).sqrt()
        return (rows - self.mean) / deviation.clamp(min=1e-12 + 1e-6 * float(deviation.mean()))


class UltraEditor(WeightEditor):
    """UltraEdit; see the module."""

    def __init__(self, binding: Binding, options: UltraEditOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        top = binding.spec.depth - 1
        default = tuple(range(round(FIRST * top), round(LAST * top) + 1))
        self.layers = check_layers(binding, options.layers or default)
        self._states = {layer: RunningStats() for layer in self.layers}
        self._slopes = {layer: RunningStats() for layer in self.layers}

    def _changed(self) -> list[nn.Parameter]:
        return [projection_weight(self.spec.ffn_projection(layer)) for layer in self.layers]

    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        """Write facts in turns of `batch`, each on the model as edited before it."""
        modules = {layer: self.spec.ffn_projection(layer) for layer in self.layers}
        requests = make_requests(facts, self.loaded.tokenizer, ContextPlan())
        with weights.swapped(), Progress(self.name, len(facts), "facts") as progress:
            for start in range(0, len(requests), self.options.batch):
                part = requests[start : start + self.options.batch]
                contexts = [context for request in part for context in request.contexts]
                for layer, delta_DF in self._updates(modules, contexts).items():
                    weights.add(modules[layer], delta_DF)
                progress.advance(len(part))

    def _updates(
        self, modules: dict[int, nn.Module], contexts: Sequence[Context]
    ) -> dict[int, torch.Tensor]:
        """One update a layer, all from the same backward pass."""
        row_T, column_T = target_places(contexts)
        traces: dict[int, _Trace] = {}
        with ExitStack() as stack:
            for layer, module in modules.items():
                traces[layer] = stack.enter_context(_traced(module))
            nll_B, _ = target_losses(self.loaded, contexts)
            slopes = torch.autograd.grad(nll_B.sum(), [t.probe for t in traces.values()])
        updates = {}
        for (layer, trace), slope in zip(traces.items(), slopes, strict=True):
            at = (row_T.to(slope.device), column_T.to(slope.device))
            h_TF, g_TD = trace.key[at].float(), slope[at].float()
            self._states[layer].update(h_TF)
            self._slopes[layer].update(g_TD)
            length_T1 = self._states[layer].normalise(h_TF).square().mean(1, keepdim=True)
            scale = self.options.rate * trace.output[at].float().std()
            v_TD = -scale * length_T1 * self._slopes[layer].normalise(g_TD)
            ridge = self.options.ridge * float(h_TF.square().sum(1).mean())
            updates[layer] = ridge_update(h_TF, v_TD, ridge)
        return updates


class _Trace:
    """What one projection saw: its input, its output, and a zero whose gradient is the output's."""

    key: torch.Tensor
    output: torch.Tensor
    probe: torch.Tensor


@contextmanager
def _traced(module: nn.Module) -> Iterator[_Trace]:
    trace = _Trace()

    def watch(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        trace.key, trace.output = key.detach(), value.detach()
        trace.probe = torch.zeros_like(value, requires_grad=True)
        return value + trace.probe

    with rewritten(module, watch):
        yield trace
