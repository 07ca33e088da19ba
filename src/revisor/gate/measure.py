"""What a gate costs a model: its time beside the model's own, measured step by step.

Letters: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from revisor.gate.decide import Facts
from revisor.gate.gate import FactGate
from revisor.language.names import name_words
from revisor.models.load import LoadedModel

_WARM = 2  # steps that are not counted: caches fill, kernels are chosen
_ASKED = 1_000  # names that are looked up

# Ordinary text around a name: most of what a model writes asks for nothing.
_TEXTS = (
    "The report speaks of {}, and of the weather in the north, where it rained for two days and",
    "Last week {} was in the papers again. The people of the town talked about little else, while",
    "We had never been to the sea before. My sister, who works with {}, took us there and",
    "There was no light in the house when we came back, and nobody had fed the dog or",
)


@dataclass(frozen=True, kw_only=True)
class GateCost:
    """A gate's time beside the model's: medians of a step in microseconds, and their ratio."""

    batch: int
    overhead: float
    model_us: float
    gate_us: float


def decode_overhead(
    loaded: LoadedModel, gate: FactGate, names: Sequence[str], *, batch: int = 1, steps: int = 24
) -> GateCost:
    """What a gate adds to each generated token, in text with names and without.

    Each step of the model and of the gate is timed one after the other, so that other load on the
    machine falls on both.
    """
    model, device = loaded.model, loaded.device
    ids_BT = _prompts(loaded, names, batch)
    state = gate.batch()
    models, gates = [], []
    cache: Any = None
    feed_BT = ids_BT
    with torch.inference_mode():
        for step in range(_WARM + steps):
            start = _now(device)
            out = model(input_ids=feed_BT, past_key_values=cache, use_cache=True)
            logits_BV, cache = out.logits[:, -1], out.past_key_values
            done = _now(device)
            logits_BV = state.step(ids_BT, logits_BV)
            end = _now(device)
            feed_BT = logits_BV.argmax(-1, keepdim=True)
            ids_BT = torch.cat([ids_BT, feed_BT], dim=1)
            if step >= _WARM:
                models.append(done - start)
                gates.append(end - done)
    return _cost(batch, models, gates)


def prefill_overhead(
    loaded: LoadedModel,
    gate: FactGate,
    names: Sequence[str],
    *,
    batch: int = 1,
    length: int = 256,
    times: int = 3,
) -> GateCost:
    """What a gate adds to reading a prompt of `length` tokens, as the median of `times` prompts."""
    device = loaded.device
    models, gates = [], []
    with torch.inference_mode():
        for turn in range(times + 1):
            ids_BT = _prompts(loaded, names[turn:], batch, length=length)
            start = _now(device)
            logits_BV = loaded.model(input_ids=ids_BT, logits_to_keep=1).logits[:, -1]
            done = _now(device)
            gate.batch().step(ids_BT, logits_BV)
            end = _now(device)
            if turn:
                models.append(done - start)
                gates.append(end - done)
    return _cost(batch, models, gates)


def lookup_us(facts: Facts, names: Sequence[str]) -> float:
    """Median microseconds to find a name's facts, over at most the first thousand `names`."""
    some = [words for words in map(name_words, names[:_ASKED]) if words]
    return _median_us(facts.find, some)


def _prompts(
    loaded: LoadedModel, names: Sequence[str], batch: int, *, length: int | None = None
) -> torch.Tensor:
    """Ids (B, T) of texts with names, without padding; as long as the shortest, or of a length."""
    rows: list[list[int]] = []
    for row in range(batch):
        parts = [
            text.format(names[(row + place) % len(names)] if names else "it")
            for place, text in enumerate(_TEXTS[row % len(_TEXTS) :] + _TEXTS[: row % len(_TEXTS)])
        ]
        text = parts[0] if length is None else " ".join(parts * (1 + (length or 0) // 60))
        rows.append(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    width = min(map(len, rows)) if length is None else min(length, *map(len, rows))
    return torch.tensor([row[-width:] for row in rows], device=loaded.device)


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def _median_us(call: Callable[[Any], object], given: Sequence[Any]) -> float:
    times = []
    for one in given:
        start = time.perf_counter()
        call(one)
        times.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(times), 2) if times else 0.0


def _cost(batch: int, models: Sequence[float], gates: Sequence[float]) -> GateCost:
    return GateCost(
        batch=batch,
        overhead=round(sum(gates) / sum(models), 5),
        model_us=round(1e6 * statistics.median(models), 1),
        gate_us=round(1e6 * statistics.median(gates), 1),
    )
