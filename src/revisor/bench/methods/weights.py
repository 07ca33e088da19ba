"""Changed weights beside a model: kept in fp32, swapped in while attached, swapped out again.

Only `Parameter.data` is exchanged, so ties, hooks and optimiser references stay, and on exit every
parameter has the very tensor that it had before. A later small change is not lost in bf16: the
fp32 copies add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


def projection_weight(module: nn.Module) -> nn.Parameter:
    """The weight of an FFN output projection."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def as_DF(tensor: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """A projection's weight as (D, F) and back: the `Conv1D` of transformers (GPT-2) holds (F,
    D)."""
    return tensor.T if type(module).__name__ == "Conv1D" else tensor


class EditedWeights:
    """fp32 copies (`masters`, changed in place) of parameters, and the model with them in place; a
    parameter given twice (tied) counts once."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list({id(parameter): parameter for parameter in parameters}.values())
        self.masters = [p.detach().float().clone() for p in self.parameters]
        self._placed = [p.detach().clone() for p in self.parameters]

    def index(self, parameter: nn.Parameter) -> int:
        """A parameter's place in `parameters` and `masters`."""
        return next(i for i, mine in enumerate(self.parameters) if mine is parameter)

    @torch.no_grad()
    def publish(self) -> None:
        """Write the fp32 copies into what is swapped in, in the model's dtype."""
        for placed, master in zip(self._placed, self.masters, strict=True):
            placed.copy_(master)

    @torch.no_grad()
    def add(self, module: nn.Module, delta_DF: torch.Tensor) -> None:
        """Add an update to a projection's weight and publish that weight."""
        index = self.index(projection_weight(module))
        master = self.masters[index]
        master += as_DF(delta_DF, module).to(master)
        self._placed[index].copy_(master)

    def current_DF(self, module: nn.Module) -> torch.Tensor:
        """A projection's weight as edited so far, fp32, as (D, F)."""
        return as_DF(self.masters[self.index(projection_weight(module))], module)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model with the changed weights; on exit it has its own tensors again."""
        before = [parameter.data for parameter in self.parameters]
        for parameter, placed in zip(self.parameters, self._placed, strict=True):
            parameter.data = placed
        try:
            yield
        finally:
            for parameter, own in zip(self.parameters, before, strict=True):
                parameter.data = own

    @property
    def stored_bytes(self) -> int:
        """Bytes of the changed weights in the model's dtype."""
        return sum(placed.numel() * placed.element_size() for placed in self._placed)
