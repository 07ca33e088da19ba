"""A second device, simulated: tensors that lie on the CPU and say that they lie elsewhere.

What comes in: a model. What goes out: the same model on a device of its own, on which operations
give what the CPU gives, and on which an operation over tensors of both devices fails as it does on
a GPU. So where tensors lie can be tested on a machine without a GPU. What it does not do: be fast,
or round as a GPU does.

The device is called `meta`, which torch knows without any driver; real meta tensors have no data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
# These take an index, or a source, that lies on the CPU.
_FROM_THE_CPU = {"_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Elsewhere(torch.Tensor):
    """A tensor of the simulated device; `inner` is where it really lies."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


def _outer(value: Any) -> Any:
    plain = isinstance(value, torch.Tensor) and not isinstance(value, Elsewhere)
    return Elsewhere(value) if plain else value


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation, on the CPU.

    Raises:
        RuntimeError: its tensors lie on two devices.
    """
    name = str(func).split(".")[1]
    flat, _ = tree_flatten((args, kwargs))
    there = [x for x in flat if isinstance(x, Elsewhere)]
    here = [
        x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere) and x.dim()
    ]
    if there and here:
        indexed_here = name in _INDEXED and not isinstance(args[0], Elsewhere)
        if name not in _FROM_THE_CPU or indexed_here:
            raise RuntimeError(f"{func}: its tensors lie on two devices")
    device = kwargs.get("device")
    outside = bool(there) if device is None else torch.device(device) == DEVICE
    on_cpu = {k: "cpu" if k == "device" and v is not None else v for k, v in kwargs.items()}
    found = func(*tree_map(_inner, args), **tree_map(_inner, on_cpu))
    if name.endswith("_") and not name.startswith("_"):
        return args[0]
    if "out" in kwargs:
        return kwargs["out"]
    if not outside or name == "_local_scalar_dense":
        return found
    return tree_map(_outer, found)


class _Operations(TorchDispatchMode):
    """Operations without any tensor, such as `torch.zeros(3, device=...)`."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _index(index: Any) -> Any:
    """Lists as tensors: torch would make some of the device's own, which have no data."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(index, dtype=torch.long) if isinstance(index, list) else index


class _Functions(TorchFunctionMode):
    """What does not reach an operation: tensors made of numbers, and numbers made of tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if func is torch.Tensor.tolist:
            return _inner(args[0]).tolist()
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], _index(args[1]), *args[2:])
        if func is torch.tensor and device is not None and torch.device(device) == DEVICE:
            return Elsewhere(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


@contextmanager
def elsewhere(model: nn.Module) -> Iterator[None]:
    """Have a model lie on the simulated device for the length of a block, for good."""
    with _Operations(), _Functions():
        for module in model.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = nn.Parameter(
                        Elsewhere(weight.data), requires_grad=False
                    )
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = Elsewhere(buffer)
        yield
