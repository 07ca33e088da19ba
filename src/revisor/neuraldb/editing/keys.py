"""K: the key of a subject, which is what enters the FFN output projection at its last token.

What comes in: facts or contexts, and one layer. What goes out: raw keys, one a context or one a
group of contexts. What it does not do: encode them (bank/encode.py) or set thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.models.hooks import inputs_of
from revisor.models.spec import Spec
from revisor.neuraldb.editing.request import Context, choose_prefixes, text_context

HEADED = 3  # contexts of an averaged key that have the prompt's words before the subject
BATCH = 64  # texts that are read together
DIRECT = 3  # contexts in which the subject opens a sentence


def compute_keys(
    model: nn.Module,
    spec: Spec,
    layer: int,
    contexts: Sequence[Context],
    *,
    batch_tokens: int = 4096,
    on_done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Keys at the subject's last token (Fei et al. 2026, eq. 2).

    The layers above `layer`, and all tokens after the subject, are not run: a causal model's key
    cannot depend on them.

    Returns:
        K_NF in the model's dtype on the CPU, one row a context, in the order given.
    """
    order = sorted(range(len(contexts)), key=lambda i: contexts[i].position)
    keys_NF = torch.empty(len(contexts), spec.key_width, dtype=next(model.parameters()).dtype)
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and (stop + 1 - start) * (contexts[order[stop]].position + 1) <= batch_tokens
        ):
            stop += 1
        part = order[start:stop]
        ends = [contexts[i].position + 1 for i in part]
        keys_BTF = ffn_inputs(
            model, spec, layer, [contexts[i].ids[:end] for i, end in zip(part, ends, strict=True)]
        )
        keys_NF[torch.tensor(part)] = keys_BTF[:, -1].cpu()
        if on_done:
            on_done(len(part))
        start = stop
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
    longest = max(len(text) for text in texts)
    ids_BT = torch.zeros(len(texts), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, text in enumerate(texts):
        ids_BT[row, longest - len(text) :] = torch.tensor(text)
        mask_BT[row, longest - len(text) :] = 1
    place_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    with inputs_of(spec.ffn_projection(layer), stop=True) as seen:
        model(
            input_ids=ids_BT.to(device),
            attention_mask=mask_BT.to(device),
            position_ids=place_BT.to(device),
            use_cache=False,
        )
    return seen[0].reshape(len(texts), longest, spec.key_width)


def key_groups(
    fact: Fact, tokenizer: Any, prefixes: Sequence[str], *, named: bool = False
) -> list[list[Context]]:
    """The texts whose keys become a row's entries: each group is averaged into one entry.

    The first group is the bare prompt alone, the last one the subject in other surroundings:
    after the prompt's own words and directly after a sentence, behind prefixes chosen by the
    fact's id. A key depends on what stands before it, never on what follows, so the texts end
    with the subject. Each declared alias is a group of its own between them, and in a named bank
    one more in the bare prompt.

    Args:
        named: for a bank that goes by names, also the subject as the first words of a text, and
            in small and in capital letters. Keys there are unlike those of the name as it is
            written further on, and like those of other subjects: at a text's first token, because
            it draws attention from all others.
    """
    head = fact.prompt.rpartition(PLACEHOLDER)[0].replace(PLACEHOLDER, fact.subject)
    chosen = choose_prefixes(fact, prefixes, HEADED + DIRECT)
    surroundings = [f"{prefix} {head}{{}}" for prefix in chosen[:HEADED]]
    surroundings += [f"{prefix} {{}}" for prefix in chosen[HEADED:]]

    def around(name: str, templates: Sequence[str]) -> list[Context]:
        return [text_context(tokenizer, template, name, "", "key") for template in templates]

    groups = [around(fact.subject, [fact.prompt])]
    if named and head:
        groups.append(around(fact.subject, ["{}"]))
    if named:
        for spelling in _letters(fact.subject, tokenizer):
            groups.append(around(spelling, [fact.prompt, *surroundings[-1:]]))
    for alias in fact.aliases:
        if named:  # an alias that opens a text has another key, as the subject has
            groups.append(around(alias, [fact.prompt]))
        groups.append(around(alias, surroundings or [f"{head}{{}}"]))
    if surroundings:
        groups.append(around(fact.subject, surroundings))
    return groups


def _letters(name: str, tokenizer: Any) -> list[str]:
    """A name in small and in capital letters, where that is no word of the language's own.

    What a tokenizer writes as one token is a word: "ghost" in a text is hardly ever the film.
    """
    forms = dict.fromkeys((name.lower(), name.upper()))
    forms.pop(name, None)
    return [
        form
        for form in forms
        if len(tokenizer(f" {form}", add_special_tokens=False)["input_ids"]) > 1
    ]


def mean_keys(
    model: nn.Module,
    spec: Spec,
    layer: int,
    groups: Sequence[Sequence[Context]],
    *,
    on_done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """One key a group, its contexts' mean (Fei et al. 2026, section 4): (G, F), fp32."""
    flat = [context for group in groups for context in group]
    keys_NF = compute_keys(model, spec, layer, flat, on_done=on_done).float()
    return torch.stack([part.mean(0) for part in torch.split(keys_NF, [len(g) for g in groups])])
