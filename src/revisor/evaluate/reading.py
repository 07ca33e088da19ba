"""What the gate costs while a model reads and writes: the figures of `revisor bench read`.

What comes in: a loaded model and a bank on disk. What goes out: speeds with and without the gate,
the time of a lookup, memory, and how far lookups agree with an exact search. What it does not do:
make banks (synthetic.py), or print.

The gated model and the plain one are two trees of modules over the same weights, in one process.
They take turns step by step over the same tokens, so that whatever else the machine does slows both
down alike; each figure is the lower quartile of its steps, and an overhead is the median over pairs
of neighbouring steps.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from revisor import data
from revisor.evaluate.cost import resident_mb
from revisor.evaluate.synthetic import save_synthetic
from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import load_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.names import WINDOW, NameIndex, name_hashes
from revisor.neuraldb.bank.search import nearest
from revisor.neuraldb.editing.calibration import calibrate
from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.gate.module import MISS, gate, match
from revisor.progress import Progress

PROMPT_TOKENS = 512  # of a prefill, over its whole batch
DECODED = 64  # steps, at most; and a fair number of them at any batch
STEPS = 512  # rows times steps of decoding
ROUNDS = 5  # prefills
SPAN = 64  # tokens of a text whose keys are taken
POOLED = 4096  # tokens in all
LOOKUPS = 256  # tokens of a text that are looked up one by one
REPEATS = 3  # of each the fastest counts
COMPARED = 1 << 36  # numbers that the exact search may look at


def bench_read(
    loaded: LoadedModel,
    layer: int,
    *,
    rows: Sequence[int],
    batches: Sequence[int],
    named: bool,
    bits: int,
) -> dict[str, Any]:
    """The figures of `revisor bench read` for synthetic banks of these many rows.

    Raises:
        UsageError: the model has no such layer.
        CannotWrite: a bank does not fit into the temporary folder.
    """
    spec = spec_of(loaded.model)
    spec.ffn_projection(layer)
    calibration = calibrate(loaded, spec, layer) if named else None
    encoder = KeyEncoder() if calibration is None else calibration.encoder
    text = [token for line in data.background() for token in loaded.tokenizer(line)["input_ids"]]
    with torch.inference_mode():
        keys_TF = torch.cat(
            [
                ffn_inputs(loaded.model, spec, layer, [text[first : first + SPAN]])[0].float()
                for first in range(0, min(len(text), POOLED), SPAN)
            ]
        ).cpu()
    results = []
    reader = Reader(loaded, layer, text)
    with Progress("Reading", len(rows), "banks") as progress:
        for count in rows:
            with tempfile.TemporaryDirectory(prefix="revisor-bench-") as scratch:
                folder = save_synthetic(
                    Path(scratch),
                    count,
                    keys_TF,
                    encoder,
                    hidden_width=spec.hidden_width,
                    named=named,
                    bits=bits,
                    text=text,
                    kind_V=None if calibration is None else calibration.kind_V,
                )
                results += reader.measure(folder, batches)
            progress.advance(1)
    return {
        "model": loaded.name,
        "layer": layer,
        "preset": "revisor" if named else "paper",
        "bits": bits,
        "dtype": str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        "torch_threads": torch.get_num_threads(),
        "results": results,
    }


class Reader:
    """A model twice over one set of weights: plain, and with a gate.

    Args:
        loaded, layer: the model and where its gate is.
        text: token ids that both read.
    """

    def __init__(self, loaded: LoadedModel, layer: int, text: Sequence[int]) -> None:
        self.loaded, self.layer, self.text = loaded, layer, text
        self.plain = twin(loaded.model)
        self.spec: Spec = spec_of(loaded.model)

    def measure(self, folder: Path, batches: Sequence[int]) -> list[dict[str, Any]]:
        """One result a batch size for the bank in a folder."""
        self._warm(max(batches))
        before = resident_mb()
        began = time.perf_counter()
        view = load_bank(folder).view()
        weight = next(self.spec.ffn_projection(self.layer).parameters())
        view = view.to(weight.device, weight.dtype)
        open_ms = 1000 * (time.perf_counter() - began)
        manifest = read_manifest(folder)
        keys_TF = self._keys()
        lookup_us = self._lookup_us(view, keys_TF)
        common: dict[str, Any] = {
            "rows": manifest.rows,
            "lookup_us": round(lookup_us, 1),
            "lookups_per_second": round(1e6 / lookup_us),
            "bytes_per_fact": manifest.bytes_per_fact,
            "open_ms": round(open_ms, 1),
        }
        results = []
        for batch in batches:
            with attach(self.loaded.model, self.spec, self.layer, view):
                speeds = self._speeds(batch)
            after = resident_mb()
            grown = None if before is None or after is None else round(after - before, 1)
            results.append(common | {"batch": batch, **speeds, "peak_rss_mb": grown})
        agreement = round(agreement_with_exact(view, keys_TF, self.text), 6)
        return [result | {"agreement": agreement} for result in results]

    @torch.inference_mode()
    def _warm(self, batch: int) -> None:
        """Have the plain model take the memory that it needs by itself."""
        length = self._length(batch, 1)
        self._call(0, self._texts(batch, length), DynamicCache())()

    @torch.inference_mode()
    def _keys(self) -> torch.Tensor:
        """Raw keys of the text's first tokens."""
        ids = [list(self.text[:PROMPT_TOKENS])]
        return ffn_inputs(self.loaded.model, self.spec, self.layer, ids)[0]

    @torch.inference_mode()
    def _lookup_us(self, view: View, keys_TF: torch.Tensor) -> float:
        """Microseconds of the gate for one more token of a text, in the mean over tokens."""
        text_1T = torch.tensor([list(self.text[: len(keys_TF)])], device=keys_TF.device)
        times = []
        for end in range(max(1, len(keys_TF) - LOOKUPS), len(keys_TF)):
            ids_1T = text_1T[:, : end + 1]
            gate(keys_TF[end - 1 : end], view, ids_1T[:, :-1])
            calls = [
                _seconds(lambda: gate(keys_TF[end : end + 1], view, ids_1T))  # noqa: B023
                for _ in range(REPEATS)
            ]
            times.append(min(calls))
        return 1e6 * sum(times) / max(1, len(times))

    @torch.inference_mode()
    def _speeds(self, batch: int) -> dict[str, float]:
        steps = max(8, min(DECODED, STEPS // batch))
        length = self._length(batch, steps)
        ids_BT = self._texts(batch, length + steps)
        prefill: tuple[list[float], list[float]] = ([], [])
        caches: list[DynamicCache] = []
        for turn in range(ROUNDS + 1):
            caches = [DynamicCache(), DynamicCache()]
            for which in _order(turn):
                call = self._call(which, ids_BT[:, :length], caches[which])
                if turn:  # the first warms up
                    prefill[which].append(_seconds(call))
                else:
                    call()
        decode: tuple[list[float], list[float]] = ([], [])
        for step in range(steps):
            for which in _order(step):
                place = length + step
                call = self._call(which, ids_BT[:, place : place + 1], caches[which])
                decode[which].append(_seconds(call))
        return {
            "prompt_tokens": length,
            "prefill_overhead": _overhead(prefill),
            "prefill_tokens_per_second": round(batch * length / _low(prefill[1]), 1),
            "prefill_tokens_per_second_without": round(batch * length / _low(prefill[0]), 1),
            "decode_overhead": _overhead(decode),
            "decode_tokens_per_second": round(batch / _low(decode[1]), 2),
            "decode_tokens_per_second_without": round(batch / _low(decode[0]), 2),
        }

    def _length(self, batch: int, steps: int) -> int:
        """Tokens of a prompt that is followed by so many steps."""
        room = int(getattr(self.loaded.model.config, "max_position_embeddings", 1 << 20)) - steps
        return min(room, max(8, PROMPT_TOKENS // batch))

    def _call(self, which: int, ids_BS: torch.Tensor, cache: DynamicCache) -> Callable[[], object]:
        model: Any = self.loaded.model if which else self.plain

        def run() -> None:
            with contiguous_head(model):
                model(input_ids=ids_BS, past_key_values=cache, use_cache=True, logits_to_keep=1)

        return run

    def _texts(self, batch: int, length: int) -> torch.Tensor:
        """Texts that begin at different places."""
        text = list(self.text)
        while len(text) < length + batch:
            text += self.text
        step = max(1, (len(text) - length) // batch)
        rows = [text[row * step : row * step + length] for row in range(batch)]
        return torch.tensor(rows, device=self.loaded.device)


def twin(model: nn.Module) -> nn.Module:
    """A second tree of modules over the same weights: hooks on one are not on the other."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def agreement_with_exact(view: View, keys_TF: torch.Tensor, text: Sequence[int]) -> float:
    """The share of tokens at which the gate decides as a search through all rows does.

    Where keys alone decide: of as many of the text's last tokens as `COMPARED` allows.
    """
    count = len(keys_TF)
    if view.names is None:
        count = max(
            1, min(count, COMPARED // max(1, view.keys_ME.shape[0] * view.keys_ME.shape[1]))
        )
    ids_1T = torch.tensor([list(text[: len(keys_TF)])], device=keys_TF.device)
    asked_TF = keys_TF[-count:]
    found = match(asked_TF, view, ids_1T).row_T
    if view.names is None:
        cosine_T, entry_T = nearest(view.encoder.encode(asked_TF), view.keys_ME)
        exact = torch.where(cosine_T > view.gamma_M[entry_T], view.row_M[entry_T].long(), MISS)
    else:
        few = _only_ending_here(view, view.names, text[: len(keys_TF)])
        exact = match(asked_TF, few, ids_1T).row_T
    return float((found == exact).float().mean())


def _only_ending_here(view: View, names: NameIndex, text: Sequence[int]) -> View:
    """The view with those names alone that a look at every hash finds in the text."""
    spelled = {
        tuple(text[start:end])
        for end in range(1, len(text) + 1)
        for start in range(max(0, end - WINDOW), end)
    }
    here = torch.isin(names.hash_H, name_hashes(sorted(spelled)).to(names.hash_H.device))
    few = NameIndex.of_rows(
        names.hash_H[here], names.row_H[here], names.count_N, names.after_N, names.kind_V
    )
    return replace(view, names=few)


def _order(turn: int) -> tuple[int, int]:
    """Who goes first changes: which caches are warm should not."""
    return (0, 1) if turn % 2 else (1, 0)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _low(times: Sequence[float]) -> float:
    return quantiles(times, n=4)[0]


def _overhead(times: tuple[list[float], list[float]]) -> float:
    return round(median(b / a for a, b in zip(*times, strict=True)) - 1, 4)
