"""LoRA: low-rank adapters on every linear map, trained on the facts, by peft."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from revisor.bench.methods.binding import Binding
from revisor.bench.methods.common import WeightEditor, trained_plan, unsaid
from revisor.bench.methods.training import TrainSettings, train
from revisor.bench.protocol import Failure
from revisor.errors import NotSupported
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.request import make_requests


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """LoRA (Hu et al. 2022) on every linear map of the decoder.

    Attributes:
        rank, alpha: the update is alpha / rank · B A, A of `rank` rows.
        rate, epochs, batch, stop_nll, decay, clip: see `TrainSettings`.
        prefixed: prefixed contexts of a fact beside its bare prompt.
        chat: also train on the prompt inside the model's chat template.
    """

    rank: int = 16
    alpha: int = 32
    rate: float = 1e-3
    epochs: int = 20
    batch: int = 8
    stop_nll: float = 0.05
    decay: float = 0.0
    clip: float = 1.0
    prefixed: int = 1
    chat: bool = False


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an adapted module stands, and the base's own module."""

    parent: nn.Module
    name: str
    base: nn.Module
    adapted: nn.Module


class LoraEditor(WeightEditor):
    """LoRA; see the file's first lines.

    Args:
        binding: the model.
        options: hyperparameters.
        name: of the method.

    Raises:
        NotSupported: peft is not installed.
    """

    def __init__(self, binding: Binding, options: LoraOptions, *, name: str) -> None:
        super().__init__(binding, name)
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise NotSupported(
                "The method 'lora' needs peft, which is not installed.",
                "Install the extra: pip install 'revisor[eval]'",
            ) from error
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

    def fit(self, facts: Sequence[Fact]) -> list[Failure]:
        """Train the adapters on these facts alone, from what they are now."""
        if not facts:
            return []
        if not self._places:
            self._places = self._inject()
        options = self.options
        requests = make_requests(
            facts, self.loaded.tokenizer, trained_plan(options.prefixed, chat=options.chat)
        )
        settings = TrainSettings(
            rate=options.rate,
            epochs=options.epochs,
            batch=options.batch,
            stop_nll=options.stop_nll,
            decay=options.decay,
            clip=options.clip,
        )
        parameters = self._parameters
        with self.attached():
            train(
                self.loaded, requests, parameters, parameters, _nothing, settings, title=self.name
            )
        return unsaid(self.loaded, facts, self.attached)

    def _inject(self) -> list[_Place]:
        """Let peft make its modules, and put the base's back at once."""
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
        """Of the adapters."""
        return sum(p.numel() * p.element_size() for p in self._parameters)


def _nothing() -> None:
    """The adapters are trained where they stand."""
