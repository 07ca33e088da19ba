"""Which rows are run together: batches of requests, cut into parts, and what a pass costs.

Costs are counted in suffix tokens of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import Context, Request

SPLIT_GAIN = 0.85  # rows are run in two parts where that leaves this share of their cost
READ = 0.03  # cost of a column that is only attended to, a suffix token's being 1
LAUNCHED = 3e12  # parameters times tokens that a GPU works off while one pass is being launched
BEGUN = 64.0  # cost on a CPU of a pass beside its tokens: all weights come from memory
MORE = 3  # times the tokens of a batch on the CPU that one on a GPU may have
TOO_MUCH = 100.0  # times the cost of rows that do not fit into one pass
SHARE = 0.25  # of a GPU's memory for what a batch remembers of its columns

Part = tuple[int, Context]  # a row: index of its request, and the text


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How much is run at once.

    Attributes:
        tokens: most suffix tokens in a batch, all contexts counted.
        columns: most columns in a batch, those only attended to included, and in a pass, padding
            included, unless it has one row.
        launch: what a pass costs beside its tokens, in suffix tokens. Rows of other lengths share
            a pass where that costs less than padding them.
    """

    tokens: int
    columns: float = float("inf")
    launch: float = 0.0


def pace(model: nn.Module, spec: Spec, layer: int, batch_tokens: int) -> Pace:
    """The pace for the device of the layer.

    A pass over a few rows makes a CPU read all weights from memory. A GPU waits for the launches of
    a pass over a small model, and is soon full of a large one's keys and values.
    """
    weight = next(spec.layers[layer].parameters())
    config: Any = model.config
    if weight.device.type == "cpu":
        return Pace(tokens=batch_tokens, launch=BEGUN)
    above = spec.layers[layer:]
    read = sum(p.numel() for part in above for p in part.parameters())
    read += next(model.get_output_embeddings().parameters()).numel()  # type: ignore[operator]
    heads = getattr(config, "num_attention_heads", 1)
    shared = heads / (getattr(config, "num_key_value_heads", None) or heads)
    # K and V of every layer, and once more for each head where a gradient runs through them.
    kept = 2 * spec.hidden_width * weight.element_size() * (len(spec.layers) / shared + len(above))
    return Pace(
        tokens=MORE * batch_tokens,
        columns=SHARE * _memory(weight.device) / kept,
        launch=LAUNCHED / read,
    )


def _memory(device: torch.device) -> float:
    """A device's total memory in bytes, so that batches do not depend on what else it holds."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(1 << 34)


def grouped(requests: Sequence[Request], at: Pace) -> list[list[int]]:
    """Indices grouped so that rows of one batch have suffixes of about one length."""

    def cost(index: int) -> tuple[int, int]:
        contexts = requests[index].contexts
        return max(c.suffix for c in contexts), max(len(c.ids) for c in contexts)

    batches: list[list[int]] = []
    tokens = columns = 0
    for index in sorted(range(len(requests)), key=lambda i: (*cost(i), requests[i].fact.id)):
        contexts = requests[index].contexts
        suffix = sum(context.suffix for context in contexts)
        read = sum(len(context.ids) + len(context.target) for context in contexts)
        if not batches or tokens + suffix > at.tokens or columns + read > at.columns:
            batches.append([])
            tokens = columns = 0
        batches[-1].append(index)
        tokens += suffix
        columns += read
    return batches


def parts(requests: Sequence[Request], at: Pace) -> list[list[Part]]:
    """The rows of a batch, cut where that saves padding."""
    rows = [(i, c) for i, request in enumerate(requests) for c in request.contexts]
    return _cut(rows, at)


def _cut(rows: list[Part], at: Pace) -> list[list[Part]]:
    whole = _cost(rows, at)
    best, halves = whole, (rows, rows[:0])
    for length in (_suffix, _total):
        ranked = sorted(rows, key=length)  # stable: rows of a request stay in order
        for cut in range(1, len(ranked)):
            if length(ranked[cut]) == length(ranked[cut - 1]):
                continue
            cost = _cost(ranked[:cut], at) + _cost(ranked[cut:], at)
            if cost < best:
                best, halves = cost, (ranked[:cut], ranked[cut:])
    if best > SPLIT_GAIN * whole:
        return [sorted(rows, key=_suffix)]
    return [part for half in halves for part in _cut(half, at)]


def _cost(rows: Sequence[Part], at: Pace) -> float:
    """What a step over some rows costs, in suffix tokens; far more if they do not fit into a
    pass."""
    total = max(map(_total, rows))
    cost = at.launch + len(rows) * (max(map(_suffix, rows)) + READ * total)
    return cost * TOO_MUCH if len(rows) * total > at.columns else cost


def _suffix(row: Part) -> int:
    return row[1].suffix


def _total(row: Part) -> int:
    return len(row[1].ids) + len(row[1].target)
