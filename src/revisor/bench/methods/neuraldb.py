"""NeuralDB as one of the methods: a bank that is built in memory (neuraldb/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from revisor.bench.firing import bank_fires
from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Fires
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.editor import BankEditor
from revisor.neuraldb.editing.settings import BuildSettings
from revisor.neuraldb.method import choose_layer


@dataclass(frozen=True, kw_only=True)
class BankOptions:
    """How the bank is built.

    Attributes:
        gamma: the cosine threshold; None for 0.65, or with whitened keys what calibration finds.
        layer: whose FFN the gate sits in; None for the one that was swept or is probed.
        whiten: compare whitened keys, not the paper's raw ones.
    """

    gamma: float | None = None
    layer: int | None = None
    whiten: bool = False


class BankMethod(BankEditor):
    """A bank with these settings.

    Args:
        binding: the model.
        options: hyperparameters.
        name: of the method.

    Raises:
        UsageError: the model has no such layer.
    """

    def __init__(self, binding: Binding, options: BankOptions, *, name: str) -> None:
        layer = layer_for(binding, options)
        binding.spec.ffn_projection(layer)
        settings = BuildSettings(layer=layer, gamma=options.gamma, whiten=options.whiten)
        super().__init__(binding.loaded, binding.spec, settings, name=name)

    def reword(self, prompt: str, fact: Fact | None = None) -> str:
        """The prompt as it is: the facts are in the bank."""
        return prompt

    def fires(self, ids: Sequence[int]) -> Fires:
        """The tokens at which a row fires."""
        view = self.view
        if view is None:
            return Fires(fires=())
        return bank_fires(self.loaded, self.spec, self.layer, view, self.facts, ids)


def layer_for(binding: Binding, options: BankOptions) -> int:
    """The layer of the options, else the one that was swept for the model, else a probed one."""
    if options.layer is not None:
        return options.layer
    chosen = choose_layer(binding.loaded.name, binding.loaded, binding.spec, whiten=options.whiten)
    return chosen if isinstance(chosen, int) else chosen.layer
