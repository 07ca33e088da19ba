"""Next-token logits of a few chosen tokens, at every position of many texts.

Shapes: P positions of all texts, S chosen tokens, D the width of the last hidden state, B texts at
once, T tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from revisor import data
from revisor.errors import NotSupported
from revisor.gate.probe_texts import Labelled
from revisor.models.load import LoadedModel
from revisor.progress import Progress

TOKENS = 2048  # S, at most
LONGEST = 192  # tokens of a text; what is behind them is left out
ROWS = 16  # texts at once


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Every position of some texts, with float32 logits of the chosen tokens.

    `due_P`: an answer is due; `open_P`: one might be, so it is neither fitted nor measured;
    `text_P`: the index of its text.
    """

    logits_PS: torch.Tensor
    due_P: torch.Tensor
    open_P: torch.Tensor
    text_P: torch.Tensor


def choose_tokens(loaded: LoadedModel) -> torch.Tensor:
    """Tokens whose logits the probe reads (S), sorted.

    They are drawn from ordinary text: LM head rows that training has never moved say nothing, and a
    server may mask special tokens.
    """
    tokenizer = loaded.tokenizer
    lines = [*data.background(), *(wording for group in data.relations() for wording in group)]
    found = tokenizer(lines, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    rows = _head(loaded).weight.shape[0]
    common = sorted({token for ids in found for token in ids if token < rows} - special)
    drawn = random.Random(0).sample(common, min(TOKENS, len(common)))
    return torch.tensor(sorted(drawn), dtype=torch.int64)


def read_positions(
    loaded: LoadedModel, texts: Sequence[Labelled], token_S: torch.Tensor
) -> Positions:
    """Run the model on the texts, in order of their length; NotSupported as `_head` raises it."""
    limit = min(LONGEST, getattr(loaded.model.config, "max_position_embeddings", None) or LONGEST)
    ids_N = [_ids(loaded.tokenizer, text.text, chat=text.chat)[:limit] for text in texts]
    order = sorted(range(len(texts)), key=lambda place: -len(ids_N[place]))
    logits, due, unclear, owner = [], [], [], []
    with Progress("Reading texts for the probe", len(texts), "texts") as progress:
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            logits_BTS = _forward(loaded, [ids_N[place] for place in rows], token_S)
            for row, place in enumerate(rows):
                length = len(ids_N[place])
                logits.append(logits_BTS[row, :length])
                text, ids = texts[place], ids_N[place]
                due.append(_ends(loaded.tokenizer, text, text.due, ids))
                unclear.append(_ends(loaded.tokenizer, text, text.open, ids))
                owner += [place] * length
            progress.advance(len(rows))
    return Positions(
        logits_PS=torch.cat(logits),
        due_P=torch.cat(due),
        open_P=torch.cat(unclear),
        text_P=torch.tensor(owner),
    )


def _ids(tokenizer: Any, text: str, *, chat: bool) -> list[int]:
    """Token ids as of a user's prompt, without a closing token."""
    ids: list[int] = tokenizer(text, add_special_tokens=not chat)["input_ids"]
    if not chat and len(ids) > 1 and ids[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        ids = ids[:-1]
    return ids


def _ends(tokenizer: Any, text: Labelled, offsets: Sequence[int], ids: list[int]) -> torch.Tensor:
    """Which tokens (T) end at the offsets: the last one of the text before, tokenized by itself;
    none where that differs from the whole text's tokens."""
    ends_T = torch.zeros(len(ids), dtype=torch.bool)
    for offset in offsets:
        before = _ids(tokenizer, text.text[:offset], chat=text.chat)
        if before and ids[: len(before)] == before:
            ends_T[len(before) - 1] = True
    return ends_T


@torch.inference_mode()
def _forward(loaded: LoadedModel, ids: Sequence[list[int]], token_S: torch.Tensor) -> torch.Tensor:
    """Logits (B, T, S) in float32 on the CPU, after whatever the model does to them.

    The LM head computes the chosen rows only; scaling and capping, which are element by element,
    stay the model's.
    """
    head = _head(loaded)
    weight_SD = head.weight[token_S.to(head.weight.device)]
    bias_S = None if head.bias is None else head.bias[token_S.to(head.bias.device)]
    hidden: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden.append(inputs[0])
        # Of a slice that is not contiguous torch multiplies a copy of the weights for each row.
        return (inputs[0][:, -1:].contiguous(),)

    def instead(_: nn.Module, _inputs: Any, _output: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden[-1], weight_SD, bias_S)

    longest = max(map(len, ids))
    ids_BT = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in ids])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    hooks = [head.register_forward_pre_hook(keep), head.register_forward_hook(instead)]
    try:
        output = loaded.model(
            input_ids=ids_BT.to(loaded.device),
            attention_mask=mask_BT.to(loaded.device),
            use_cache=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return torch.Tensor(output.logits.float().cpu())


def _head(loaded: LoadedModel) -> nn.Linear:
    """The LM head; NotSupported if it is not a plain linear map."""
    head: Any = getattr(loaded.model, "get_output_embeddings", lambda: None)()
    if not isinstance(head, nn.Linear) or not head.weight.is_floating_point():
        raise NotSupported(
            f"The LM head of '{loaded.name}' is not a plain linear layer, so no probe can be "
            "fitted for it.",
            "Load the model with its LM head in fp32, bf16 or fp16.",
        )
    return head
