"""How probable a model, and a gate on it, finds objects behind prompts.

Letters: B texts, T tokens, K positions with logits, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from revisor.models.hooks import contiguous_head
from revisor.models.load import LoadedModel
from revisor.models.padding import padded
from revisor.neuraldb.editing.request import Context

BATCH_TOKENS = 4096  # of texts, padding included
BATCH_LOGITS = 1 << 26  # numbers: 256 MB in fp32


@dataclass(frozen=True, kw_only=True)
class Score:
    """A target after a prompt: its mean NLL a token, in nats; whether greedy decoding says exactly
    it; and the most probable token at each of its positions, given the target before it."""

    nll: float
    greedy: bool
    said: tuple[int, ...]


@torch.no_grad()
def score_targets(loaded: LoadedModel, contexts: Sequence[Context]) -> list[Score]:
    """Score each context's target, of at least one token, by calling the model as anybody does, so
    that a gate at its output affects the scores."""
    model: Any = loaded.model
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    vocabulary = model.config.get_text_config().vocab_size
    scores: dict[int, Score] = {}
    with contiguous_head(loaded.model):
        for part in _batches(contexts, vocabulary, keeps):
            found = _score_batch(loaded, [contexts[i] for i in part], keeps)
            scores |= zip(part, found, strict=True)
    return [scores[index] for index in range(len(contexts))]


def _batches(contexts: Sequence[Context], vocabulary: int, keeps: bool) -> Iterator[list[int]]:
    """Indices of contexts that are scored together, of nearly one length."""
    part: list[int] = []
    for index in sorted(range(len(contexts)), key=lambda i: _length(contexts[i])):
        longest = _length(contexts[index])
        wanted = [contexts[i] for i in (*part, index)]
        kept = longest - min(len(one.ids) - 1 for one in wanted) if keeps else longest
        too_many = len(wanted) * longest > BATCH_TOKENS
        if part and (too_many or len(wanted) * kept * vocabulary > BATCH_LOGITS):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def _length(context: Context) -> int:
    return len(context.ids) + len(context.target) - 1


def _score_batch(loaded: LoadedModel, contexts: Sequence[Context], keeps: bool) -> list[Score]:
    ids_BT, mask_BT = padded([(*one.ids, *one.target[:-1]) for one in contexts])
    first = min(len(context.ids) - 1 for context in contexts) if keeps else 0
    some = {"logits_to_keep": ids_BT.shape[1] - first} if keeps else {}
    logits_BKV = loaded.model(
        input_ids=ids_BT.to(loaded.device),
        attention_mask=mask_BT.to(loaded.device),
        use_cache=False,
        **some,
    ).logits
    scores = []
    for row, context in enumerate(contexts):
        start = len(context.ids) - 1 - first
        logits_NV = logits_BKV[row, start : start + len(context.target)].float()
        said = tuple(logits_NV.argmax(-1).tolist())
        target_N = torch.tensor(context.target, device=logits_NV.device)
        scores.append(
            Score(
                nll=float(F.cross_entropy(logits_NV, target_N)),
                greedy=said == tuple(context.target),
                said=said,
            )
        )
    return scores
