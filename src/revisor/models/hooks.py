"""Context managers that change a running model; the only place that does, each leaving no trace.

They collect inputs and outputs, change outputs, skip lower layers, and compute logits at chosen
positions only; callers bring the tensors and functions. On exit, also after an exception, every
manager removes what it put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from revisor.models.spec import Spec

# A function of (input, output) of a projection that returns the new output.
Rewrite = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class StopForward(Exception):  # noqa: N818  (a signal, not an error)
    """Raised inside a hook to end a forward pass whose remaining layers nobody needs."""


@contextmanager
def inputs_of(module: nn.Module, *, stop: bool = False) -> Iterator[list[torch.Tensor]]:
    """Collect the first input of every call of `module` (for an FFN output projection, the key);
    with `stop` the forward pass ends there, by a `StopForward` that this manager swallows."""
    seen: list[torch.Tensor] = []

    def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).detach())
        if stop:
            raise StopForward

    handle = module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    except StopForward:
        pass
    finally:
        handle.remove()


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the output of every call of `module` (the first element where it is a tuple)."""
    seen: list[torch.Tensor] = []

    def look(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output).detach())

    handle = module.register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def rewritten(module: nn.Module, rewrite: Rewrite) -> Iterator[None]:
    """Replace the output of `module` by `rewrite(input, output)`."""

    def change(_module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        return rewrite(args[0], output)

    handle = module.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def ffn_rewritten(spec: Spec, layer: int, rewrite: Rewrite) -> Iterator[None]:
    """Replace what a layer's FFN adds to the residual stream by `rewrite(key, output)`.

    The key is the projection's input; the output is the projection's, or that of the norm which
    some families put behind it (`Family.output`).
    """
    projection, output = spec.ffn_projection(layer), spec.ffn_output(layer)
    if output is projection:
        with rewritten(projection, rewrite):
            yield
        return
    with inputs_of(projection) as keys:

        def change(_key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return rewrite(keys.pop(), value)

        with rewritten(output, change):
            yield


@contextmanager
def replayed(spec: Spec, layer: int, hidden: Callable[[], torch.Tensor]) -> Iterator[None]:
    """Skip the layers below `layer`, whose input is then `hidden()`.

    The layers' `forward` is shadowed on the instances, so that masks, rotary embeddings, final norm
    and head remain the model's own, whatever its family. Some families take a layer's output as a
    tensor and some its first element; a hook on `layer` makes either immaterial.
    """

    def passed(*_args: Any, **_kwargs: Any) -> torch.Tensor:
        return hidden()

    def enter(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (hidden(), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": hidden()}

    skipped = [spec.layers[index] for index in range(layer)]
    handle = spec.layers[layer].register_forward_pre_hook(enter, with_kwargs=True)
    for module in skipped:
        module.forward = passed
    try:
        yield
    finally:
        handle.remove()
        for module in skipped:
            del module.forward


@contextmanager
def head_at(
    model: nn.Module, pick: Callable[[], tuple[torch.Tensor, torch.Tensor]]
) -> Iterator[None]:
    """Compute logits at the positions (rows_M, columns_M) that `pick()` gives: they are (1, M, V).

    The hidden states reach the head as one contiguous block; of a strided slice, which
    `logits_to_keep` makes, torch would copy the head once a row.
    """
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]

    def gather(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        rows, columns = pick()
        return (args[0][rows, columns][None], *args[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def contiguous_head(model: nn.Module) -> Iterator[None]:
    """Hand the LM head contiguous hidden states.

    `generate` slices the last position out of a batch's prefill; torch multiplies such a strided
    (B, 1, D) view by copying the head once a row, which for 64 rows costs more than the layers.
    """
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]

    def densify(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    handle = head.register_forward_pre_hook(densify)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def attention(model: nn.Module, implementation: str) -> Iterator[None]:
    """Run with another attention implementation of transformers, such as `eager`."""
    config = model.config
    before = config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    try:
        yield
    finally:
        model.set_attn_implementation(before)  # type: ignore[operator]


def hook_count(model: nn.Module) -> int:
    """The number of hooks in a model: equal before and after every manager here."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
