"""LoRA: low-rank adapters on every linear map, trained on the facts, by peft."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from revisor.bench.extra import need
from revisor.bench.methods.binding import Binding
from revisor.bench.methods.common import WeightEditor
from revisor.bench.methods.training import TrainOptions, train
from revisor.bench.methods.weights import EditedWeights
from revisor.facts.fact import Fact


@dataclass(frozen=True, kw_only=True)
class LoraOptions(TrainOptions):
    """LoRA (Hu et al. 2022) on every linear map of the decoder, with updates alpha / rank · B A."""

    rank: int = 16
    alpha: int = 32


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an adapted module stands, and the base's own module."""

    parent: nn.Module
    name: str
    base: nn.Module
    adapted: nn.Module


class LoraEditor(WeightEditor):
    """LoRA; see the module. NotSupported if peft is not installed."""

    def __init__(self, binding: Binding, options: LoraOptions, *, name: str) -> None:
        super().__init__(binding, name)
        need("peft")
        self.options = options
        self._places: list[_Place] = []

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [
            parameter
            for place in self._places
            for name, parameter in place.adapted.named_parameters()
            if "lora_" in name
        ]

    def _changed(self) -> list[nn.Parameter]:
        return []

    def _write(self, facts: Sequence[Fact], weights: EditedWeights) -> None:
        """Train the adapters on these facts alone, from their present state."""
        if not self._places:
            self._places = self._inject()
        parameters = self._parameters
        requests = self.options.requests(facts, self.loaded.tokenizer)
        with self.attached():
            train(self.loaded, requests, parameters, parameters, self.options, title=self.name)

    def _inject(self) -> list[_Place]:
        """Let peft make its modules, and restore the base's at once."""
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = self.loaded.model
        config = LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            inject_adapter_in_model(config, model)
        places = []
        for path, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                parent, _, name = path.rpartition(".")
                places.append(
                    _Place(
                        parent=model.get_submodule(parent),
                        name=name,
                        base=module.get_base_layer(),
                        adapted=model.get_submodule(path),
                    )
                )
        for place in places:
            setattr(place.parent, place.name, place.base)
        if "peft_config" in vars(model):
            del model.peft_config
        model.requires_grad_(False)
        for place in places:
            place.adapted.eval().requires_grad_(False)
            for name, parameter in place.adapted.named_parameters():
                if "lora_" in name:
                    parameter.data = parameter.data.float()
        return places

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The model with the adapters; on exit it has its own modules again."""
        for place in self._places:
            setattr(place.parent, place.name, place.adapted)
        try:
            yield
        finally:
            for place in self._places:
                setattr(place.parent, place.name, place.base)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the adapters."""
        return sum(p.numel() * p.element_size() for p in self._parameters)
