"""What is measured once a model and layer: the whitening of keys, and γ with names and without.

What comes in: a loaded model and the shipped texts. What goes out: a `Calibration`, cached on
disk by the model's fingerprint. What it does not do: know any user's facts.

It also compares layers by the same probe (`compare_layers`), which is how `revisor init` chooses
one for a model it has not seen.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from revisor import data
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, fingerprint
from revisor.models.packaged import cache_folder
from revisor.models.spec import Spec
from revisor.neuraldb.bank.encode import KeyEncoder, fit_whitening
from revisor.neuraldb.editing.keys import key_groups, mean_keys, token_keys
from revisor.neuraldb.editing.names import token_kinds
from revisor.neuraldb.editing.relations import Relations, hearing, reckoned_on, relations
from revisor.neuraldb.editing.request import encode_with_position
from revisor.neuraldb.gate.calibrate import (
    balanced_accuracy,
    floor_gamma,
    recalling_gamma,
    separating_gamma,
)

VERSION = 24  # counts up when the shipped texts or the recipe change
KINDS = "kinds"
FALSE_SHARE = 0.02  # prompts about similar subjects that may fire, where keys alone decide
MISSED_SHARE = 0.02  # paraphrases that may stay quiet, where names are known
NEAR = 0.05  # balanced accuracy in which layers count as equally good, since names help out
LONGEST = 96  # tokens of a background line that are used


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a build needs to know of one layer of a model.

    Attributes:
        encoder: whitening fitted on background keys; it also hears what is asked.
        relations: what the shipped wordings ask for; None where keys stay raw.
        kind_V: kinds of the tokenizer's tokens (bank/sentences.py); None where keys stay raw.
        gamma: the threshold where keys alone decide.
        named_gamma: the threshold where a subject's name must be there as well.
        accuracy: balanced accuracy on the probe, at the γ that separates best.
    """

    encoder: KeyEncoder
    gamma: float
    named_gamma: float
    accuracy: float
    relations: Relations | None = None
    kind_V: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """How well one layer's keys tell subjects apart, on the probe.

    Attributes:
        layer: index of the layer.
        accuracy: balanced accuracy at the γ that separates best.
        gamma: the threshold where keys alone decide, which is that γ or a higher one.
        named_gamma: the threshold where names are known.
        top1: share of paraphrases whose nearest row is their own.
    """

    layer: int
    accuracy: float
    gamma: float
    named_gamma: float
    top1: float


def calibrate(loaded: LoadedModel, spec: Spec, layer: int, *, whiten: bool = True) -> Calibration:
    """Measure, or read what was measured before for this model and layer."""
    name = f"{fingerprint(loaded, layer=layer)}-{'white' if whiten else 'raw'}-v{VERSION}"
    path = cache_folder() / "calibration" / f"{name}.safetensors"
    if path.exists():
        return _read(path, loaded.tokenizer)
    found = _measure(loaded, spec, layer, whiten=whiten)
    _write(path, found)
    return found


def compare_layers(
    loaded: LoadedModel,
    spec: Spec,
    layers: Sequence[int],
    *,
    on_done: Callable[[int], None] | None = None,
) -> list[LayerScore]:
    """Score layers by the separation of their keys, best first.

    Of the layers within `NEAR` of the best the deepest comes first: residuals carry over to other
    wordings better from there, and fewer layers are run while they are optimised.
    """
    scores = []
    for layer in layers:
        keys_TF, first_T = _background_keys(loaded, spec, layer)
        encoder = fit_whitening(keys_TF[~first_T].to(reckoned_on(loaded, spec.key_width)))
        scores.append(_probe(loaded, spec, layer, encoder))
        if on_done:
            on_done(1)
    best = max(score.accuracy for score in scores)
    near = [score for score in scores if score.accuracy >= best - NEAR]
    far = [score for score in scores if score.accuracy < best - NEAR]
    by_depth = sorted(near, key=lambda score: -score.layer)
    return by_depth + sorted(far, key=lambda score: -score.accuracy)


def _measure(loaded: LoadedModel, spec: Spec, layer: int, *, whiten: bool) -> Calibration:
    keys_TF, first_T = _background_keys(loaded, spec, layer)
    where = reckoned_on(loaded, spec.key_width)
    encoder = fit_whitening(keys_TF[~first_T].to(where)) if whiten else KeyEncoder()
    score = _probe(loaded, spec, layer, encoder)
    heard = kind_V = None
    if whiten:
        kind_V = token_kinds(loaded.tokenizer)
        encoder, heard = hearing(loaded, spec, layer, encoder, kind_V, keys_TF[~first_T])
    return Calibration(
        encoder=encoder,
        relations=heard,
        kind_V=kind_V,
        gamma=score.gamma,
        named_gamma=score.named_gamma,
        accuracy=score.accuracy,
    )


def _background_keys(
    loaded: LoadedModel, spec: Spec, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw keys (T, F) of the shipped text, and which of them open a text."""
    texts = [tuple(loaded.tokenizer(line)["input_ids"])[:LONGEST] for line in data.background()]
    keys_TF, origin = token_keys(loaded.model, spec, layer, texts)
    return keys_TF, torch.tensor([place == 0 for _, place in origin])


def _probe(loaded: LoadedModel, spec: Spec, layer: int, encoder: KeyEncoder) -> LayerScore:
    records = data.records("probe.jsonl")
    facts = [Fact(subject=r["subject"], prompt=r["prompt"], object="x") for r in records]
    tokenizer = loaded.tokenizer
    groups = [key_groups(fact, tokenizer, data.prefixes()) for fact in facts]
    # The averaged entry alone: the bare one matches the very prompt and nothing else.
    rows_NE = encoder.encode(mean_keys(loaded.model, spec, layer, [g[-1] for g in groups]))
    queries = []
    for record in records:
        text = record["paraphrase"].replace("{}", record["subject"])
        end = text.rfind(record["subject"]) + len(record["subject"])
        ids, position = encode_with_position(tokenizer, text, end)
        queries.append(ids[: position + 1])
    same = torch.empty(len(records))
    best = torch.empty(len(records), dtype=torch.long)
    keys_TF, origin = token_keys(loaded.model, spec, layer, queries)
    cosine_TN = encoder.encode(keys_TF) @ rows_NE.T
    for token, (index, place) in enumerate(origin):
        if place == len(queries[index]) - 1:
            same[index] = cosine_TN[token, index]
            best[index] = cosine_TN[token].argmax()
    neighbours = [tuple(tokenizer(r["neighbor"])["input_ids"]) for r in records]
    keys_TF, origin = token_keys(loaded.model, spec, layer, neighbours)
    nearest_T = (encoder.encode(keys_TF) @ rows_NE.T).amax(1)
    text_T = torch.tensor([index for index, _ in origin])
    other = torch.zeros(len(records)).scatter_reduce(0, text_T, nearest_T, "amax")
    right = best == torch.arange(len(records))
    named_gamma = recalling_gamma(same, missed=MISSED_SHARE)
    same = torch.where(right, same, torch.zeros_like(same))
    gamma = floor_gamma(same, other, false_share=FALSE_SHARE)
    separation = balanced_accuracy(same, other, separating_gamma(same, other))
    return LayerScore(
        layer=layer,
        accuracy=round(separation, 4),
        gamma=gamma,
        named_gamma=named_gamma,
        top1=round(float(right.float().mean()), 4),
    )


def _write(path: Path, found: Calibration) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "gamma": found.gamma,
        "named_gamma": found.named_gamma,
        "accuracy": found.accuracy,
    }
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(descriptor)
    tensors = found.encoder.tensors()
    if found.kind_V is not None:
        tensors[KINDS] = found.kind_V
    save_file(tensors, scratch, metadata={"about": json.dumps(about)})
    os.replace(scratch, path)


def _read(path: Path, tokenizer: Any) -> Calibration:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kind_V = tensors.pop(KINDS, None)
    encoder = KeyEncoder.of(tensors)
    return Calibration(
        encoder=encoder,
        relations=None if kind_V is None else relations(tokenizer, encoder, kind_V),
        kind_V=kind_V,
        **about,
    )
