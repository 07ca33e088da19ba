"""The layer whose keys tell subjects apart best, for a model whose layers were not swept.

The shipped probe has subjects with a prompt, a paraphrase and a prompt about a similar subject. A
layer is good if some threshold separates the paraphrases, which must find their own row, from all
tokens of the similar subjects' prompts, which must find none.

T tokens, N rows, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from revisor import data
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.bank.search import unit
from revisor.neuraldb.editing.keys import key_groups, mean_keys, token_keys
from revisor.neuraldb.editing.request import encode_with_position
from revisor.progress import Progress

SWEPT_LAYERS = {"smollm2": 5}  # found by a full sweep (docs/results.md)
NEAR = 0.01  # balanced accuracy within which layers count as equally good


def choose_layer(name: str, loaded: LoadedModel, spec: Spec) -> int:
    """The layer for a model by its name: the one that was swept, or the best of a probe."""
    if name in SWEPT_LAYERS:
        return SWEPT_LAYERS[name]
    layers = probed_layers(spec.depth)
    with Progress("Probing layers", total=len(layers), unit="layers") as progress:
        accuracy = {}
        for layer in layers:
            accuracy[layer] = probe(loaded, spec, layer)
            progress.advance(1)
    return deepest_of_the_best(accuracy)


def deepest_of_the_best(accuracy: dict[int, float]) -> int:
    """The deepest of the layers within `NEAR` of the best: its residuals carry over better to other
    wordings, and fewer layers are run in the optimisation."""
    best = max(accuracy.values())
    return max(layer for layer, value in accuracy.items() if value >= best - NEAR)


def probed_layers(depth: int) -> list[int]:
    """The layers to probe: those of the first third, where subjects are enriched."""
    return sorted({min(depth - 1, max(0, round(depth * share / 30))) for share in range(2, 11)})


def separating_gamma(same_P: torch.Tensor, other_P: torch.Tensor) -> float:
    """The middle of the values of γ with the best balanced accuracy.

    `same_P` are cosines of paraphrases with their own rows; `other_P` the highest of any token of a
    prompt about a similar subject with any row.
    """
    grid_G = torch.arange(0.30, 0.985, 0.005)
    missed_G = (same_P[None, :] <= grid_G[:, None]).float().mean(1)
    false_G = (other_P[None, :] > grid_G[:, None]).float().mean(1)
    cost_G = missed_G + false_G
    best_G = (cost_G <= cost_G.min() + 1e-6).nonzero().squeeze(1)
    return round(float(grid_G[best_G].mean()), 4)


def balanced_accuracy(same_P: torch.Tensor, other_P: torch.Tensor, gamma: float) -> float:
    """Mean of the shares of paraphrases that fire and of similar subjects' prompts that do not."""
    fires = (same_P > gamma).float().mean()
    quiet = (other_P <= gamma).float().mean()
    return float((fires + quiet) / 2)


def probe(loaded: LoadedModel, spec: Spec, layer: int) -> float:
    """The balanced accuracy of a layer at the γ that separates best."""
    records, tokenizer = data.records("probe.jsonl"), loaded.tokenizer
    facts = [Fact(subject=r["subject"], prompt=r["prompt"], object="x") for r in records]
    groups = [key_groups(fact, tokenizer, data.prefixes())[0] for fact in facts]
    rows_NE = unit(mean_keys(loaded.model, spec, layer, groups))

    def cosines(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        keys_TF, origin = token_keys(loaded.model, spec, layer, texts)
        return unit(keys_TF) @ rows_NE.T, origin

    queries = []
    for record in records:
        text = record["paraphrase"].replace("{}", record["subject"])
        end = text.rfind(record["subject"]) + len(record["subject"])
        ids, position = encode_with_position(tokenizer, text, end)
        queries.append(ids[: position + 1])
    same_P = torch.zeros(len(records))
    cosine_TN, origin = cosines(queries)
    for token, (index, place) in enumerate(origin):
        if place == len(queries[index]) - 1 and int(cosine_TN[token].argmax()) == index:
            same_P[index] = cosine_TN[token, index]
    cosine_TN, origin = cosines([tuple(tokenizer(r["neighbor"])["input_ids"]) for r in records])
    text_T = torch.tensor([index for index, _ in origin])
    other_P = torch.zeros(len(records)).scatter_reduce(0, text_T, cosine_TN.amax(1), "amax")
    return balanced_accuracy(same_P, other_P, separating_gamma(same_P, other_P))
