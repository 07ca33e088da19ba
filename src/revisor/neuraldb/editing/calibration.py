"""What is measured of a layer before any fact is written: the whitening of keys, and γ.

The shipped probe has subjects with a prompt, a paraphrase and a prompt about a similar subject. A
threshold is good if it parts the paraphrases, which must find their own row, from all tokens of the
similar subjects' prompts, which must find none. The same probe compares layers, which is how
`revisor init` chooses one for a model that nobody has swept. Measurements are cached on disk by the
model's fingerprint.

T tokens, F key width, N rows, E width of an encoded key, P prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from revisor import data
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel, fingerprint
from revisor.models.measured import cached, write_cached
from revisor.models.spec import Spec
from revisor.neuraldb.bank.encode import KeyEncoder, fit_whitening
from revisor.neuraldb.editing.keys import key_groups, mean_keys, token_keys
from revisor.neuraldb.editing.request import encode_with_position

VERSION = 26  # counts up when the shipped texts or the recipe change
FALSE_SHARE = 0.02  # prompts about similar subjects that may fire
NEAR = 0.01  # balanced accuracy within which layers count as equally good
LONGEST = 96  # tokens of a background line that are used
SOLVED = 6  # matrices as wide as a key that a whitening holds at once


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """How well one layer's keys tell subjects apart, on the probe.

    Attributes:
        layer: index of the layer.
        accuracy: balanced accuracy at the γ that separates best.
        gamma: that γ, or the higher one that keeps similar subjects quiet.
    """

    layer: int
    accuracy: float
    gamma: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a build needs to know of one layer of a model.

    Attributes:
        encoder: raw, or the whitening that was fitted on background keys.
        score: of the layer.
    """

    encoder: KeyEncoder
    score: LayerScore


def calibrate(loaded: LoadedModel, spec: Spec, layer: int, *, whiten: bool = False) -> Calibration:
    """Measure, or read what was measured before for this model and layer."""
    name = f"{fingerprint(loaded, layer=layer)}-{'white' if whiten else 'raw'}-v{VERSION}"
    path = cached("calibration", name)
    if path.exists():
        return _read(path)
    found = _measure(loaded, spec, layer, whiten=whiten)
    # A raw encoder has no tensors; safetensors wants a file to hold one.
    tensors = found.encoder.tensors() or {"raw": torch.zeros(1)}
    write_cached(path, tensors, {"score": json.dumps(vars(found.score))})
    return found


def compare_layers(
    loaded: LoadedModel,
    spec: Spec,
    layers: Sequence[int],
    *,
    whiten: bool = False,
    on_done: Callable[[int], None] | None = None,
) -> list[LayerScore]:
    """Score layers by the separation of their keys, best first.

    Of the layers within `NEAR` of the best the deepest comes first: residuals carry over to other
    wordings better from there, and fewer layers are run while they are optimised.
    """
    scores = []
    for layer in layers:
        scores.append(_measure(loaded, spec, layer, whiten=whiten).score)
        if on_done:
            on_done(1)
    best = max(score.accuracy for score in scores)
    near = [score for score in scores if score.accuracy >= best - NEAR]
    far = [score for score in scores if score.accuracy < best - NEAR]
    by_depth = sorted(near, key=lambda score: -score.layer)
    return by_depth + sorted(far, key=lambda score: -score.accuracy)


def probed_layers(depth: int) -> list[int]:
    """The layers that are worth a probe: those of the first third, where subjects are enriched."""
    return sorted({min(depth - 1, max(0, round(depth * share / 30))) for share in range(2, 11)})


def separating_gamma(same_P: torch.Tensor, other_P: torch.Tensor) -> float:
    """The γ of the best balanced accuracy between same and similar subjects.

    Args:
        same_P: cosine of a paraphrase with its own row, a prompt each.
        other_P: best cosine of any token of a prompt about a similar subject, with any row.

    Returns:
        The middle of the best values of γ.
    """
    grid_G = torch.arange(0.30, 0.985, 0.005)
    missed_G = (same_P[None, :] <= grid_G[:, None]).float().mean(1)
    false_G = (other_P[None, :] > grid_G[:, None]).float().mean(1)
    cost_G = missed_G + false_G
    best_G = (cost_G <= cost_G.min() + 1e-6).nonzero().squeeze(1)
    return round(float(grid_G[best_G].mean()), 4)


def quiet_gamma(same_P: torch.Tensor, other_P: torch.Tensor, *, false_share: float) -> float:
    """The γ that separates best, or a higher one under which similar subjects stay quiet.

    Args:
        same_P, other_P: as in `separating_gamma`.
        false_share: of the prompts about similar subjects at most this share may fire. A false
            fire makes the model say something untrue, a missed paraphrase leaves it as it was.
    """
    quiet = float(torch.quantile(other_P, 1 - false_share))
    return round(max(separating_gamma(same_P, other_P), quiet), 4)


def balanced_accuracy(same_P: torch.Tensor, other_P: torch.Tensor, gamma: float) -> float:
    """Mean of: paraphrases that fire, and prompts about similar subjects that stay quiet."""
    fires = (same_P > gamma).float().mean()
    quiet = (other_P <= gamma).float().mean()
    return float((fires + quiet) / 2)


def _measure(loaded: LoadedModel, spec: Spec, layer: int, *, whiten: bool) -> Calibration:
    encoder = KeyEncoder()
    if whiten:
        keys_TF = _background_keys(loaded, spec, layer)
        encoder = fit_whitening(keys_TF.to(_solver(loaded, spec.key_width)))
    return Calibration(encoder=encoder, score=_probe(loaded, spec, layer, encoder))


def _solver(loaded: LoadedModel, key_width: int) -> torch.device:
    """Where matrices as wide as a key are solved in double precision: on the model's GPU if there
    is room, which for the keys of a Llama-3-8B is a matter of seconds and not of minutes."""
    device = loaded.device
    if device.type != "cuda" or torch.cuda.mem_get_info(device)[0] < SOLVED * 8 * key_width**2:
        return torch.device("cpu")
    return device


def _background_keys(loaded: LoadedModel, spec: Spec, layer: int) -> torch.Tensor:
    """Raw keys (T, F) of the shipped text, without those that open a text."""
    texts = [tuple(loaded.tokenizer(line)["input_ids"])[:LONGEST] for line in data.background()]
    keys_TF, origin = token_keys(loaded.model, spec, layer, texts)
    return keys_TF[torch.tensor([place > 0 for _, place in origin])]


def _probe(loaded: LoadedModel, spec: Spec, layer: int, encoder: KeyEncoder) -> LayerScore:
    records, tokenizer = data.records("probe.jsonl"), loaded.tokenizer
    facts = [Fact(subject=r["subject"], prompt=r["prompt"], object="x") for r in records]
    groups = [key_groups(fact, tokenizer, data.prefixes())[0] for fact in facts]
    rows_NE = encoder.encode(mean_keys(loaded.model, spec, layer, groups))
    queries = []
    for record in records:
        text = record["paraphrase"].replace("{}", record["subject"])
        end = text.rfind(record["subject"]) + len(record["subject"])
        ids, position = encode_with_position(tokenizer, text, end)
        queries.append(ids[: position + 1])
    same_P = torch.empty(len(records))
    best_P = torch.empty(len(records), dtype=torch.long)
    keys_TF, origin = token_keys(loaded.model, spec, layer, queries)
    cosine_TN = encoder.encode(keys_TF) @ rows_NE.T
    for token, (index, place) in enumerate(origin):
        if place == len(queries[index]) - 1:
            same_P[index] = cosine_TN[token, index]
            best_P[index] = cosine_TN[token].argmax()
    neighbours = [tuple(tokenizer(r["neighbor"])["input_ids"]) for r in records]
    keys_TF, origin = token_keys(loaded.model, spec, layer, neighbours)
    nearest_T = (encoder.encode(keys_TF) @ rows_NE.T).amax(1)
    text_T = torch.tensor([index for index, _ in origin])
    other_P = torch.zeros(len(records)).scatter_reduce(0, text_T, nearest_T, "amax")
    right_P = best_P == torch.arange(len(records))
    same_P = torch.where(right_P, same_P, torch.zeros_like(same_P))
    accuracy = balanced_accuracy(same_P, other_P, separating_gamma(same_P, other_P))
    return LayerScore(
        layer=layer,
        accuracy=round(accuracy, 4),
        gamma=quiet_gamma(same_P, other_P, false_share=FALSE_SHARE),
    )


def _read(path: Path) -> Calibration:
    with safe_open(path, framework="pt") as file:
        score = LayerScore(**json.loads(file.metadata()["score"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Calibration(encoder=KeyEncoder.of(tensors), score=score)
