"""Facts in a transformers model: its own `generate`, its forward calls, continuous batching.

While facts are attached the model's class is a subclass that writes at the logits. No module, hook,
attribute or weight is touched, so hidden states and caches are the model's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from revisor.engines.bindings import BINDINGS, Binding
from revisor.engines.methods import WithFacts, class_with_facts
from revisor.engines.processors import FactLogitsProcessor, check_tokenizer
from revisor.errors import NotSupported, UsageError, WrongModel

if TYPE_CHECKING:
    from revisor.gate.gate import FactGate
    from revisor.gate.trace import Trace

__all__ = ["Attached", "FactLogitsProcessor", "attached"]


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A model with facts, while it has them.

    Attributes:
        model: the causal model that writes them; of a wrapped model the one inside.
        gate: what decides and writes.
        trace: receives the decisions, or None.
    """

    model: nn.Module
    gate: FactGate
    trace: Trace | None
    _binding: Binding = field(repr=False)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The model by itself for the length of a block; for calls that begin in it."""
        before, self._binding.enabled = self._binding.enabled, False
        try:
            yield
        finally:
            self._binding.enabled = before


@contextmanager
def attached(
    model: Any,
    tokenizer: Any,
    gate: FactGate,
    *,
    trace: Trace | None = None,
    this_thread: bool = False,
) -> Iterator[Attached]:
    """Give a model facts for the length of a block.

    Covers `generate` with all its options, pipelines, `generate_batch`, and forward calls, in any
    thread. Of nested blocks the innermost gate that writes at a position counts. `model.forward`,
    called by name, stays the model's own.

    Args:
        model: a causal model of transformers, or a PEFT model, compiled model or
            `DistributedDataParallel` around one.
        trace: receives the decisions.
        this_thread: leave the calls of other threads alone.

    Raises:
        UsageError: not a causal model of transformers, or one with a learned prompt.
        NotSupported: an encoder-decoder model.
        WrongModel: the gate is for another tokenizer.
    """
    base = causal_model(model)
    _check_tokenizer(base, tokenizer, gate)
    here = threading.get_ident() if this_thread else None
    binding = Binding(gate=gate, trace=trace, thread=here)

    def first() -> None:
        kind: Any = type(base)
        if not issubclass(kind, WithFacts):
            base.__class__ = class_with_facts(kind)

    def last() -> None:
        # Another library may have put its own class on top: without gates ours does nothing.
        if "original" in vars(type(base)):
            base.__class__ = base.original

    BINDINGS.add(base, binding, first)
    try:
        yield Attached(model=base, gate=gate, trace=trace, _binding=binding)
    finally:
        BINDINGS.remove(base, binding, last)


def causal_model(model: Any) -> Any:
    """The causal model inside wrappers.

    Raises:
        UsageError: there is none, or a learned prompt stands before every text.
        NotSupported: it has an encoder.
    """
    while True:
        if (compiled := getattr(model, "_orig_mod", None)) is not None:
            model = compiled
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            _check_adapter(model)
            model = model.get_base_model()
        else:
            break
    if not isinstance(model, nn.Module) or not hasattr(model, "_get_logits_processor"):
        raise UsageError(
            f"A {type(model).__name__} cannot be given facts.",
            "Pass a causal language model of transformers, then its tokenizer.",
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise NotSupported(
            f"{type(model).__name__} is an encoder-decoder model.",
            "Facts need a model that continues its prompt (a causal language model).",
        )
    return model


def _check_adapter(model: Any) -> None:
    adapter = model.active_peft_config
    kind = getattr(adapter.peft_type, "value", adapter.peft_type)
    if adapter.is_prompt_learning and kind != "PREFIX_TUNING":
        raise UsageError(
            f"The adapter of this model ({kind}) puts learned embeddings, which are no text, "
            "before every prompt.",
            "Use an adapter in the weights, such as LoRA, or attach the facts to the base model.",
        )


def _check_tokenizer(model: Any, tokenizer: Any, gate: FactGate) -> None:
    check_tokenizer(tokenizer)
    if tokenizer is not gate.tokenizer and tokenizer.get_vocab() != gate.tokenizer.get_vocab():
        raise WrongModel(
            f"The gate is for another tokenizer than that of {type(model).__name__}.",
            "Pass the tokenizer of the model that is given facts.",
        )
