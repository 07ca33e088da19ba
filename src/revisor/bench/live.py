"""What live facts cost at some number of them: the figures of `revisor bench live`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.gate.gate import FactGate
from revisor.gate.measure import decode_overhead, prefill_overhead
from revisor.gate.probe import Probe
from revisor.index import FactIndex
from revisor.index.measure import IndexFigures, measure
from revisor.models.load import LoadedModel
from revisor.question.encoder import default_encoder

CHUNK = 50_000  # facts of one transaction
NAMES = 1_000  # in the texts that are generated from
STEPS = 512  # rows times steps of decoding, and of a prompt rows times tokens
MOST_STEPS, LEAST_STEPS = 24, 8
LEAST_LENGTH = 16


def bench_live(
    loaded: LoadedModel, probe: Probe | None, facts: Iterable[Fact], batches: Sequence[int]
) -> list[dict[str, Any]]:
    """Put facts into a temporary ledger and measure it: a result for each batch size.

    Each has `rows` (facts in the ledger), `batch`; `index_seconds`, `open_ms`, `bytes_per_fact`,
    `peak_rss_mb` (of the process that makes the index), `resident_mb` (growth of one that opens
    it), `commit_ms`, `commit_to_live_ms` (in the process that commits; `other_process_ms` in
    another), `lookup_us` (of a name with facts; `lookup_miss_us` without); `decode_overhead` and
    `prefill_overhead`, the gate's time as a share of the model's.
    """
    with tempfile.TemporaryDirectory(prefix="revisor-bench-") as scratch:
        place, folder = Path(scratch) / "ledger.sqlite", Path(scratch) / "index"
        with Ledger.open(place, create=True) as ledger:
            for some in _chunks(facts):
                ledger.apply(map(Put, some), actor="bench", reason="measured")
        common = _of_index(measure(place, folder))
        with Ledger.open(place) as ledger, FactIndex.open(ledger, folder) as index:
            names = list({fact.subject: None for fact in ledger.facts(limit=NAMES)})
            gate = FactGate(
                view=index.view,
                tokenizer=loaded.tokenizer,
                encoder=default_encoder(),
                probe=probe,
            )
            return [
                {**common, "batch": batch, **_of_gate(loaded, gate, names, batch)}
                for batch in batches
            ]


def described(loaded: LoadedModel, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results as they are printed, with what they were measured on."""
    return {
        "model": loaded.name,
        "method": "revisor",
        "dtype": str(next(loaded.model.parameters()).dtype).removeprefix("torch."),
        "torch_threads": torch.get_num_threads(),
        "results": list(results),
    }


def _of_index(found: IndexFigures) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "commit_ms": found.commit_ms,
        "commit_to_live_ms": found.commit_to_live_ms["same_process"],
        "other_process_ms": found.commit_to_live_ms["other_process"],
        "index_seconds": found.index_seconds,
        "open_ms": found.open_ms,
        "bytes_per_fact": found.bytes_per_fact,
        "lookup_us": found.lookup_us["hit"],
        "lookup_miss_us": found.lookup_us["miss"],
        "peak_rss_mb": found.peak_rss_mb,
        "resident_mb": found.resident_mb,
    }


def _of_gate(
    loaded: LoadedModel, gate: FactGate, names: Sequence[str], batch: int
) -> dict[str, Any]:
    steps = max(LEAST_STEPS, min(MOST_STEPS, STEPS // batch))
    length = max(LEAST_LENGTH, STEPS // batch)
    decode = decode_overhead(loaded, gate, names, batch=batch, steps=steps)
    prefill = prefill_overhead(loaded, gate, names, batch=batch, length=length)
    return {
        "decode_overhead": decode.overhead,
        "decode_gate_us": decode.gate_us,
        "decode_model_us": decode.model_us,
        "prefill_overhead": prefill.overhead,
        "prompt_tokens": length,
    }


def _chunks(facts: Iterable[Fact]) -> Iterator[list[Fact]]:
    rest = iter(facts)
    while some := list(islice(rest, CHUNK)):
        yield some
