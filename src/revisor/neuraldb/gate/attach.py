"""Put a gate into a model and take it out again.

On exit the model is what it was: no hook, no copy, no changed weight is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from revisor.errors import WrongModel
from revisor.models.hooks import ffn_rewritten
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.match import MISS, match
from revisor.neuraldb.gate.watch import Watch


@dataclass
class Gated:
    """A model with facts, while it has them.

    Attributes:
        view: the rows in force; assign another view to switch between two forward passes.
        enabled: set to False to have the unedited model, bit for bit.
        watch: collects hits, or None. Under `torch.compile` leave it None: the compiled graph
            records nothing.
        follow: gives the present view, asked before every forward pass of the layer; None to stay
            with `view`. Not followed inside a compiled graph.
    """

    view: View
    enabled: bool = True
    watch: Watch | None = None
    follow: Callable[[], View] | None = None
    _followed: View | None = None

    def _catch_up(self, device: torch.device) -> None:
        """Take the present view to the layer's device; it is moved only if necessary."""
        if self.follow is not None and (now := self.follow()) is not self._followed:
            self._followed = now
            self.view = now.to(device, self.view.R_ND.dtype)
        elif self.view.R_ND.device != device:  # the model was moved
            self.view = self.view.to(device, self.view.R_ND.dtype)

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
    spec: Spec,
    layer: int,
    view: View,
    *,
    watch: Watch | None = None,
    follow: Callable[[], View] | None = None,
) -> Iterator[Gated]:
    """Give a model the facts of a view: v = W_out k + g(k) at every token (Fei et al. 2026, eq. 5).

    Where nothing fires the output is the FFN's own, bit for bit; a view without rows, or a disabled
    gate, does not touch it at all. See `Gated` for `watch` and `follow`.

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
        k_TF = key.reshape(-1, key.shape[-1])
        v_TD = value.reshape(-1, value.shape[-1])
        hits = match(k_TF, gated.view)
        if torch.compiler.is_compiling():  # no shape or branch here may depend on the data
            edited_TD = v_TD + gated.view.R_ND[hits.row_T.clamp(min=0)].to(v_TD.dtype)
            return torch.where((hits.row_T != MISS)[:, None], edited_TD, v_TD).view_as(value)
        if gated.watch is not None:
            gated.watch.ids = gated.view.ids
            gated.watch.see(hits, tuple(key.shape[:-1]))
        token_H = hits.fired()
        if not len(token_H):
            return value
        delta_HD = gated.view.R_ND[hits.row_T[token_H]].to(v_TD.dtype)
        return v_TD.index_add(0, token_H.to(value.device), delta_HD).view_as(value)

    with ffn_rewritten(spec, layer, add):
        yield gated


def _check_widths(spec: Spec, view: View) -> None:
    widths = view.keys_ME.shape[1], view.R_ND.shape[1]
    if widths != (spec.key_width, spec.hidden_width):
        raise WrongModel(
            f"The bank's rows have widths {widths}, the model's FFN has "
            f"({spec.key_width}, {spec.hidden_width}).",
            "It was built for another model. Run: revisor build",
        )
