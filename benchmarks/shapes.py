"""What building rows costs in the shape of a large model, as one JSON line a figure.

    REVISOR_DATA=folder python benchmarks/shapes.py --facts 384

The model has the shape of a Llama 3 of 8 billion parameters (Grattafiori et al. 2024, table 3),
weights drawn at random and the tokenizer of the packaged model, so that nothing need be fetched:
what it says means nothing, what it costs is what a trained one would. On a GPU if there is one.

Rows are made from CounterFact facts, shard by shard, as a build by one process makes them (its own
check through the gate included). A random model need not learn its facts, so the steps are what
`--steps` says at most, in each of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from revisor.facts.fact import Fact
from revisor.facts.load import load_facts
from revisor.models.load import LoadedModel, default_device, default_dtype, wrap_model
from revisor.models.packaged import smollm2_folder
from revisor.models.spec import spec_of
from revisor.neuraldb.build.shards import RowBuilder, cut
from revisor.neuraldb.editing.calibration import calibrate
from revisor.neuraldb.editing.settings import BuildSettings

SHAPES: dict[str, dict[str, Any]] = {
    "llama-3-8b": {
        "vocab_size": 128_256,
        "hidden_size": 4_096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8_192,
        "rope_theta": 500_000.0,
    },
    "tiny": {
        "vocab_size": 49_152,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8_192,
    },
}


def drawn(shape: str, tokenizer_folder: str) -> LoadedModel:
    """A model of this shape with random weights."""
    device = default_device()
    torch.manual_seed(0)
    torch.set_default_dtype(default_dtype(device))
    try:
        with torch.device(device):
            model = LlamaForCausalLM(LlamaConfig(**SHAPES[shape]))
    finally:
        torch.set_default_dtype(torch.float32)
    return wrap_model(shape, model, AutoTokenizer.from_pretrained(tokenizer_folder))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    began = time.perf_counter()
    found = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, time.perf_counter() - began


def building(loaded: LoadedModel, layer: int, facts: list[Fact], steps: int) -> dict[str, Any]:
    """Facts a second, the first shard left out: it reads the beginnings that all share."""
    spec = spec_of(loaded.model)
    settings = BuildSettings(layer=layer)
    settings = replace(settings, values=replace(settings.values, steps=steps))
    calibration, seconds = timed(lambda: calibrate(loaded, spec, layer))
    builder = RowBuilder(loaded, spec, calibration, settings)
    shards = cut({fact.id: fact for fact in facts})
    made, first = timed(lambda: [builder.rows(shards[0])])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    more, rest = timed(lambda: [builder.rows(shard) for shard in shards[1:]])
    made += more
    count = sum(map(len, shards[1:]))
    return {
        "facts": len(facts),
        "steps_at_most": steps,
        "steps": round(sum(part.steps for part in made) / len(facts), 2),
        "calibration_seconds": round(seconds, 1),
        "first_shard_seconds": round(first, 2),
        "facts_per_second": round(count / rest, 1),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1)
        if torch.cuda.is_available()
        else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-3-8b")
    parser.add_argument("--tokenizer", help="its folder; by default that of the packaged model")
    parser.add_argument("--layer", type=int, help="the gate's; by default a third of the way up")
    parser.add_argument("--facts", type=int, default=384)
    parser.add_argument("--steps", type=int, action="append")
    args = parser.parse_args()
    loaded = drawn(args.shape, args.tokenizer or str(smollm2_folder()))
    layers = SHAPES[args.shape]["num_hidden_layers"]
    layer = layers // 3 if args.layer is None else args.layer
    said = {
        "shape": args.shape,
        "layer": layer,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "dtype": str(next(loaded.model.parameters()).dtype),
    }
    data = Path(os.environ["REVISOR_DATA"]) / "counterfact" / "counterfact.jsonl.gz"
    facts = list(islice(load_facts(data), args.facts))
    for steps in args.steps or (7, 24):
        found = building(loaded, layer, facts, steps)
        print(json.dumps({"what": "build", **said, **found}), flush=True)


if __name__ == "__main__":
    main()
