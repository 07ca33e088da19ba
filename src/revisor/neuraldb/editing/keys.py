"""K: the key of a subject, which is what enters the FFN's output projection at its last token.

Keys here are raw; `bank.search.unit` makes them comparable. G groups of contexts, F key width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.models.hooks import inputs_of
from revisor.models.padding import in_batches, padded
from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import Context, choose_prefixes, text_context

HEADED = 3  # prefixed contexts of a key that have the prompt's words before the subject
DIRECT = 3  # and those in which the subject opens a sentence
BATCH = 64  # texts that are read together
BATCH_TOKENS = 4096  # of prompts up to their subjects, padding included


def compute_keys(
    model: nn.Module,
    spec: Spec,
    layer: int,
    contexts: Sequence[Context],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> torch.Tensor:
    """K_NF at the subject's last token (Fei et al. 2026, eq. 2), in the model's dtype, on the CPU.

    The layers above `layer`, and all tokens after the subject, are not run: a causal model's key
    cannot depend on them.
    """
    keys_NF = torch.empty(len(contexts), spec.key_width, dtype=next(model.parameters()).dtype)
    for part in in_batches([context.position + 1 for context in contexts], batch_tokens):
        texts = [contexts[i].ids[: contexts[i].position + 1] for i in part]
        keys_NF[torch.tensor(part)] = ffn_inputs(model, spec, layer, texts)[:, -1].cpu()
    return keys_NF


def token_keys(
    model: nn.Module, spec: Spec, layer: int, texts: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Raw keys of every token of some texts, fp32 on the CPU, each with its (text, place)."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts: list[torch.Tensor] = []
    origin: list[tuple[int, int]] = []
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        keys_BTF = ffn_inputs(model, spec, layer, [texts[i] for i in chosen]).float().cpu()
        for row, index in enumerate(chosen):
            length = len(texts[index])
            parts.append(keys_BTF[row, keys_BTF.shape[1] - length :])
            origin.extend((index, place) for place in range(length))
    return torch.cat(parts), origin


@torch.no_grad()
def ffn_inputs(
    model: nn.Module, spec: Spec, layer: int, texts: Sequence[Sequence[int]]
) -> torch.Tensor:
    """FFN keys at every position of some texts, aligned at the right end: (B, T, F)."""
    device = next(model.get_input_embeddings().parameters()).device  # type: ignore[operator]
    ids_BT, mask_BT = padded(texts, left=True)
    place_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    with inputs_of(spec.ffn_projection(layer), stop=True) as seen:
        model(
            input_ids=ids_BT.to(device),
            attention_mask=mask_BT.to(device),
            position_ids=place_BT.to(device),
            use_cache=False,
        )
    return seen[0].reshape(*ids_BT.shape, spec.key_width)


def key_groups(fact: Fact, tokenizer: Any, prefixes: Sequence[str]) -> list[list[Context]]:
    """The texts whose keys become a row's entries: each group is averaged into one entry.

    The first group is the subject's: the bare prompt, and behind prefixes chosen by the fact's id
    the prompt's own words and the subject directly. A key depends only on what stands before it, so
    these texts end with the subject. Each declared alias is a further group.
    """
    head = fact.prompt.rpartition(PLACEHOLDER)[0].replace(PLACEHOLDER, fact.subject)
    chosen = choose_prefixes(fact, prefixes, HEADED + DIRECT)
    templates = [fact.prompt]
    templates += [f"{prefix} {head}{{}}" for prefix in chosen[:HEADED]]
    templates += [f"{prefix} {{}}" for prefix in chosen[HEADED:]]
    names = [fact.subject, *(fact.aliases if PLACEHOLDER in fact.prompt else ())]
    return [
        [text_context(tokenizer, template, name, "") for template in templates] for name in names
    ]


def mean_keys(
    model: nn.Module, spec: Spec, layer: int, groups: Sequence[Sequence[Context]]
) -> torch.Tensor:
    """One key a group, its contexts' mean (Fei et al. 2026, section 4): (G, F), fp32."""
    flat = [context for group in groups for context in group]
    keys_NF = compute_keys(model, spec, layer, flat).float()
    return torch.stack([part.mean(0) for part in torch.split(keys_NF, [len(g) for g in groups])])
