"""Put a gate into a model and take it out again.

What comes in: a model, its `Spec`, a layer and a `View`. What goes out: a context in which the
model has the view's facts, and a `Gated` handle on it. What it does not do: choose or build rows.

On exit the model is what it was: no hook, no copy, no changed weight is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from revisor.errors import WrongModel
from revisor.models.history import History, token_history
from revisor.models.hooks import ffn_rewritten
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.module import MISS, gate, match, residuals
from revisor.neuraldb.gate.watch import Watch


@dataclass
class Gated:
    """A model with facts, while it has them.

    Attributes:
        view: the rows in force; assign another view of the same kind, named or not, to switch
            between two forward passes.
        enabled: set to False to have the unedited model, bit for bit.
        watch: collects hits, or None. Under `torch.compile` leave it None: the compiled graph
            records nothing.
        follow: tells the view of each moment, asked before every forward pass of the layer; None
            to stay with `view`. Not followed inside a compiled graph.
    """

    view: View
    enabled: bool = True
    watch: Watch | None = None
    follow: Callable[[], View] | None = None
    _followed: View | None = None

    def _catch_up(self, device: torch.device) -> None:
        """Take the view of this moment, to where the layer is; it is moved only if it has to be."""
        if self.follow is not None and (now := self.follow()) is not self._followed:
            self._followed = now
            self.view = now.to(device, self.view.dtype)
        elif self.view.device != device:  # the model was moved
            self.view = self.view.to(device, self.view.dtype)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The unedited model for the length of a block."""
        before, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = before


@contextmanager
def attach(
    model: nn.Module,
    spec: Spec,
    layer: int,
    view: View,
    *,
    watch: Watch | None = None,
    follow: Callable[[], View] | None = None,
) -> Iterator[Gated]:
    """Give a model the facts of a view: v = W_out k + g(k) at every token (eq. 5).

    Where nothing fires the output is the FFN's own, bit for bit; a view without rows, or a
    disabled gate, does not touch it at all.

    Raises:
        WrongModel: the view's widths are not this layer's.
        UsageError: the model has no such layer.
    """
    projection = spec.ffn_projection(layer)
    weight = next(projection.parameters())
    if not view.empty:
        _check_widths(spec, view)
    shown = view.to(weight.device, weight.dtype)
    gated = Gated(view=shown, watch=watch, follow=follow, _followed=view)

    def add(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            gated._catch_up(key.device)
        if not gated.enabled or gated.view.empty:
            return value
        ids = history()
        ids_BT = None if ids is None else ids[0]
        k_TF = key.reshape(-1, key.shape[-1])
        flat_TD = value.reshape(-1, value.shape[-1])
        if torch.compiler.is_compiling():
            delta_TD, hits = gate(k_TF, gated.view, ids_BT)
            edited_TD = flat_TD + delta_TD.to(flat_TD.dtype)
            fired_T1 = (hits.row_T != MISS)[:, None]
            return torch.where(fired_T1, edited_TD, flat_TD).view_as(value)
        hits = match(k_TF, gated.view, ids_BT)
        if gated.watch is not None:
            gated.watch.ids = gated.view.ids
            gated.watch.see(hits, tuple(key.shape[:-1]))
        token_H = hits.fired()
        if not len(token_H):
            return value
        delta_HD = residuals(hits, gated.view, token_H).to(flat_TD.dtype)
        return flat_TD.index_add(0, token_H.to(value.device), delta_HD).view_as(value)

    if view.names is None:
        history: History = _no_history
        with ffn_rewritten(spec, layer, add):
            yield gated
        return
    with token_history(model, spec, layer) as history, ffn_rewritten(spec, layer, add):
        yield gated


def _no_history() -> None:
    """Keys alone decide: nobody takes note of the text."""


def _check_widths(spec: Spec, view: View) -> None:
    matrix_FE = view.encoder.matrix_FE
    key_width = view.keys_ME.shape[1] if matrix_FE is None else matrix_FE.shape[0]
    if key_width != spec.key_width or view.R_ND.shape[1] != spec.hidden_width:
        raise WrongModel(
            f"The bank's rows have widths ({key_width}, {view.R_ND.shape[1]}), the model's FFN "
            f"has ({spec.key_width}, {spec.hidden_width}).",
            "It was built for another model. Run: revisor build",
        )
