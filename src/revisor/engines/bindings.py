"""Which gates a running model writes with, and how several of them agree on one row.

Letters: B rows of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

if TYPE_CHECKING:
    from revisor.gate.gate import BatchGate, FactGate
    from revisor.gate.trace import Trace

# Marks padding in the ids handed to a gate: no tokenizer has it, so it is no token of a text.
PAD = -1


@dataclass(eq=False, kw_only=True)
class Binding:
    """One gate on one model, for the calls of one `thread` or (None) all; not `enabled` while the
    model is to answer by itself."""

    gate: FactGate
    trace: Trace | None = None
    thread: int | None = None
    enabled: bool = True


class Bindings:
    """The gates of every model that has some, innermost block last. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stacks: WeakKeyDictionary[nn.Module, tuple[Binding, ...]] = WeakKeyDictionary()

    def add(self, model: nn.Module, binding: Binding, first: Callable[[], None]) -> None:
        """Push a gate; `first` runs, under the lock, if it is the model's only one."""
        with self._lock:
            stack = self._stacks.get(model, ())
            if not stack:
                first()
            self._stacks[model] = (*stack, binding)

    def remove(self, model: nn.Module, binding: Binding, last: Callable[[], None]) -> None:
        """Remove a gate, wherever in the stack; `last` runs, under the lock, if none is left."""
        with self._lock:
            stack = tuple(one for one in self._stacks[model] if one is not binding)
            if stack:
                self._stacks[model] = stack
                return
            del self._stacks[model]
            last()

    def of(self, model: nn.Module) -> tuple[Binding, ...]:
        """The gates in force for a call of this thread, innermost first, each gate once."""
        here = threading.get_ident()
        found: list[Binding] = []
        for one in reversed(self._stacks.get(model, ())):
            mine = one.enabled and one.thread in (None, here)
            if mine and all(one.gate is not other.gate for other in found):
                found.append(one)
        return tuple(found)


# One table for the process: a model has to be found from its own methods, and may hold nothing.
BINDINGS = Bindings()


@dataclass(kw_only=True)
class Call:
    """A call under way, maybe of beams; `before` are ids and mask (B, P) of the cached text ahead
    of its own ids."""

    model: nn.Module
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    beams: bool = False


class _Calls(threading.local):
    def __init__(self) -> None:
        self.stack: list[Call] = []


_CALLS = _Calls()


def enter(call: Call) -> None:
    """Note a call, so that the model's inner calls in this thread count as parts of it."""
    _CALLS.stack.append(call)


def leave() -> None:
    """Forget the call noted last in this thread."""
    _CALLS.stack.pop()


@contextmanager
def under_way(call: Call) -> Iterator[Call]:
    """`enter` and `leave` around a block."""
    enter(call)
    try:
        yield call
    finally:
        leave()


def current(model: nn.Module) -> Call | None:
    """The innermost call of this model that this thread is in, or None."""
    return next((call for call in reversed(_CALLS.stack) if call.model is model), None)


@dataclass(kw_only=True)
class Writing:
    """The gates of one call, innermost first; if `traced`, their decisions go to the bindings'
    traces, which know rows by their index."""

    bindings: Sequence[Binding]
    traced: bool = True
    _batches: list[BatchGate] = field(init=False)

    def __post_init__(self) -> None:
        self._batches = [
            one.gate.batch(trace=one.trace if self.traced else None) for one in self.bindings
        ]

    def step(self, ids_BT: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) of the next token; the same tensor where no gate writes in any row."""
        return self._merged(logits_BV, lambda batch: batch.step(ids_BT, logits_BV, pad=PAD))

    def score(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, logits_BKV: torch.Tensor
    ) -> torch.Tensor:
        """Logits (B, K, V) of the last K positions of the ids, all of them finite."""
        return self._merged(logits_BKV, lambda batch: batch.score(ids_BT, mask_BT, logits_BKV))

    def _merged(self, logits: torch.Tensor, write: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """The logits of the innermost gate that writes; every gate sees the model's own."""
        out = logits
        taken: torch.Tensor | None = None
        for number, batch in enumerate(self._batches):
            new = write(batch)
            if new is logits:
                continue
            if taken is None:
                out = new
                if number + 1 < len(self._batches):
                    taken = changed(new, logits)
                continue
            free = changed(new, logits) & ~taken
            out = torch.where(free[..., None], new, out)
            taken = taken | free
        return out


def changed(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Which rows (..., V) of logits differ: bool (...)."""
    return (new != old).any(dim=-1)
