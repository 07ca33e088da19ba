"""MEMIT, RECT and AlphaEdit: target values spread over a range of layers by least squares; ROME.

A batch of facts is written on the model as edited so far: the residual that makes the last layer
say the object is optimised once; then, layer by layer, what is still missing there is divided by
the layers left and solved into that layer's weight (Meng et al. 2023, algorithm 1). The three
methods differ in the solve alone. ROME writes fact by fact: a rank-one update of one layer each.

Shapes: N facts, F key width, D hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from revisor.bench.methods.binding import Binding, check_layers, published_range
from revisor.bench.methods.closed import (
    alphaedit_update,
    keep_largest,
    memit_update,
    null_space,
    rome_update,
)
from revisor.bench.methods.common import ValueOptions, WeightEditor, leaving_at
from revisor.bench.methods.moments import second_moments
from revisor.bench.methods.targets import goals, kept_goals
from revisor.bench.methods.weights import EditedWeights, projection_weight
from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.keys import mean_keys
from revisor.neuraldb.editing.request import Request
from revisor.neuraldb.editing.residuals import compute_residuals
from revisor.progress import Progress

EDITED, UNEDITED = "edited", "unedited"


@dataclass(frozen=True, kw_only=True)
class LocateOptions(ValueOptions):
    """What the three methods have in common.

    Attributes:
        layers: whose FFN output projections are changed; None for the published range, scaled to
            the model's depth. Target values are optimised at the last of them.
        batch: facts a batch; None for all facts of a fit at once.
        targets: the model on which target values are optimised: `edited`, as the batches before
            have left it, or `unedited`, once for all methods and cached (targets.py).
    """

    layers: tuple[int, ...] | None = None
    batch: int | None = 100
    targets: str = EDITED


@dataclass(frozen=True, kw_only=True)
class MemitOptions(LocateOptions):
    """MEMIT; `weight` is λ, the weight of C against the keys of a batch."""

    weight: float = 1_000.0


@dataclass(frozen=True, kw_only=True)
class RectOptions(MemitOptions):
    """RECT; `keep` is the share of an update's entries that is kept, by relative change."""

    keep: float = 0.4


@dataclass(frozen=True, kw_only=True)
class AlphaEditOptions(LocateOptions):
    """AlphaEdit: eigenvalues of C below `threshold` times their median span the null space, and
    `ridge` is the weight of |Δ|² as a multiple of the batch's mean |P k|²."""

    threshold: float = 2.0
    ridge: float = 0.1


class LocateEditor(WeightEditor):
    """MEMIT, RECT or AlphaEdit, by its options; `spared_seconds` is what cached target values had
    taken.

    Raises:
        UsageError: layers that the model does not have, or a batch of no facts.
    """

    def __init__(self, binding: Binding, options: LocateOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        self.layers = check_layers(binding, options.layers or published_range(binding))
        if options.batch is not None and options.batch < 1:
            raise UsageError(f"A batch of {options.batch} facts edits nothing.", "Give 1 or more.")
        if isinstance(options, RectOptions) and not 0 < options.keep <= 1:
            raise UsageError(f"RECT cannot keep a share of {options.keep}.", "Give 0 < keep <= 1.")
        if options.targets not in (EDITED, UNEDITED):
            raise UsageError(
                f"There is no model '{options.targets}' to optimise target values on.",
                f"Give targets '{EDITED}' or '{UNEDITED}'.",
            )
        self.spared_seconds = 0.0
        self._batches = 0
        self._moments: dict[int, torch.Tensor] = {}
        self._projections: dict[int, torch.Tensor] = {}
        self._earlier: dict[int, torch.Tensor] = {}

    def _changed(self) -> list[nn.Parameter]:
        """The parameters; also measures what is needed of the unedited model."""
        tokens = self.options.moment_tokens
        self._moments = second_moments(self.binding, self.layers, tokens=tokens)
        if isinstance(self.options, AlphaEditOptions):
            for layer, C_FF in self._moments.items():
                P_FF = null_space(C_FF.to(self._solver), self.options.threshold)
                self._projections[layer] = P_FF.cpu()
                self._earlier[layer] = torch.zeros_like(C_FF, dtype=torch.float64)
        return [projection_weight(self.spec.ffn_projection(layer)) for layer in self.layers]

    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        """Write facts in batches, each on the model as edited before it."""
        size = self.options.batch or len(facts)
        requests = self.options.requests(facts, self.loaded.tokenizer)
        with Progress(self.name, total=len(facts), unit="facts") as progress:
            for start in range(0, len(facts), size):
                self._write_batch(requests[start : start + size], weights, progress)

    def _write_batch(
        self, requests: Sequence[Request], weights: EditedWeights, progress: Progress
    ) -> None:
        last = self.layers[-1]
        bare = [request.contexts[0] for request in requests]
        told = [[c for c in request.contexts if c.target] for request in requests]
        values, done = self.options.values(), progress.advance
        goal_ND = None
        if self.options.targets == UNEDITED or not self._batches:
            goal_ND, spared = kept_goals(self.binding, last, requests, values, done)
            self.spared_seconds += spared
        with weights.swapped():
            if goal_ND is None:
                goal_ND = goals(self.binding, last, requests, values, done)
            for left, layer in zip(range(len(self.layers), 0, -1), self.layers, strict=True):
                K_NF = mean_keys(self.loaded.model, self.spec, layer, told)
                gap_ND = goal_ND - leaving_at(self.loaded, self.spec, last, bare)
                delta_DF = self._solve(layer, K_NF, gap_ND / left, weights)
                weights.add(self.spec.ffn_projection(layer), delta_DF)
        self._batches += 1

    @property
    def _solver(self) -> torch.device:
        """The device that solves systems: the model's GPU if it is one with fp64, else the CPU."""
        device = self.loaded.device
        return device if device.type == "cuda" else torch.device("cpu")

    def _solve(
        self, layer: int, K_NF: torch.Tensor, R_ND: torch.Tensor, weights: EditedWeights
    ) -> torch.Tensor:
        options, device = self.options, self._solver
        K_NF, R_ND = K_NF.to(device, torch.float64), R_ND.to(device, torch.float64)
        if isinstance(options, AlphaEditOptions):
            P_FF, earlier_FF = self._projections[layer].to(device), self._earlier[layer].to(device)
            ridge = options.ridge * float((K_NF @ P_FF).square().sum(1).mean())
            delta_DF = alphaedit_update(K_NF, R_ND, P_FF, earlier_FF, ridge)
            self._earlier[layer] = (earlier_FF + K_NF.T @ K_NF).cpu()
            return delta_DF
        assert isinstance(options, MemitOptions)
        delta_DF = memit_update(K_NF, R_ND, self._moments[layer].to(device), options.weight)
        if isinstance(options, RectOptions):
            W_DF = weights.current_DF(self.spec.ffn_projection(layer))
            return keep_largest(delta_DF, W_DF.to(delta_DF), options.keep)
        return delta_DF


@dataclass(frozen=True, kw_only=True)
class RomeOptions(ValueOptions):
    """ROME; `layer` is that of the changed projection, None for the middle of MEMIT's range."""

    layer: int | None = None


class RomeEditor(WeightEditor):
    """ROME, a rank-one update for each fact."""

    def __init__(self, binding: Binding, options: RomeOptions, *, name: str) -> None:
        super().__init__(binding, name)
        self.options = options
        range_ = published_range(binding)
        layer = range_[len(range_) // 2] if options.layer is None else options.layer
        (self.layer,) = check_layers(binding, (layer,))

    def _changed(self) -> list[nn.Parameter]:
        return [projection_weight(self.spec.ffn_projection(self.layer))]

    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        options, model, spec, layer = self.options, self.loaded.model, self.spec, self.layer
        # Of the unedited model: the cache is keyed by its weights.
        C_FF = second_moments(self.binding, (layer,), tokens=options.moment_tokens)[layer]
        values, requests = options.values(), options.requests(facts, self.loaded.tokenizer)
        with weights.swapped(), Progress(self.name, len(facts), "facts") as progress:
            for request in requests:
                told = [context for context in request.contexts if context.target]
                residual = compute_residuals(model, spec, layer, [request], values)
                (k_F,) = mean_keys(model, spec, layer, [told])
                delta_DF = rome_update(k_F, residual.R_ND[0], C_FF)
                weights.add(spec.ffn_projection(layer), delta_DF)
                progress.advance()
