"""What a model says to some texts, in one batched pass: losses and greedy tokens of targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from revisor.models.hooks import head_at
from revisor.models.load import LoadedModel
from revisor.neuraldb.editing.request import Context


@dataclass(frozen=True, kw_only=True)
class Score:
    """A target after a prompt.

    Attributes:
        nll: mean negative log-likelihood a target token, in nats.
        greedy: greedy decoding would say exactly the target's tokens.
        said: the most probable token at each target position, given the target before it.
    """

    nll: float
    greedy: bool
    said: tuple[int, ...]


@torch.no_grad()
def score_contexts(
    loaded: LoadedModel,
    contexts: Sequence[Context],
    *,
    batch_tokens: int = 4096,
    on_done: Callable[[int], None] | None = None,
) -> list[Score]:
    """Score each context's target, in the order given.

    Contexts without a target score 0 and say the next token after the prompt.
    """
    texts = [context.ids + context.target[:-1] for context in contexts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores: list[Score | None] = [None] * len(texts)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(texts[order[stop]]) <= batch_tokens:
            stop += 1
        part = order[start:stop]
        for index, score in zip(
            part,
            _score_batch(loaded, [texts[i] for i in part], [contexts[i] for i in part]),
            strict=True,
        ):
            scores[index] = score
        if on_done:
            on_done(len(part))
        start = stop
    return [score for score in scores if score is not None]


def _score_batch(
    loaded: LoadedModel, texts: Sequence[Sequence[int]], contexts: Sequence[Context]
) -> list[Score]:
    longest = max(len(text) for text in texts)
    ids_BT = torch.zeros(len(texts), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    sizes: list[int] = []
    for row, (text, context) in enumerate(zip(texts, contexts, strict=True)):
        ids_BT[row, : len(text)] = torch.tensor(text)
        mask_BT[row, : len(text)] = 1
        count = max(1, len(context.target))
        sizes.append(count)
        rows += [row] * count
        columns += range(len(context.ids) - 1, len(context.ids) - 1 + count)
        targets += context.target or (0,)
    device = loaded.device
    pick = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
    with head_at(loaded.model, lambda: pick):
        logits = (
            loaded.model(
                input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), use_cache=False
            )
            .logits[0]
            .float()
        )
    target_M = torch.tensor(targets, device=logits.device)
    nll_M = F.cross_entropy(logits, target_M, reduction="none").cpu()
    said_M = logits.argmax(-1).cpu()
    scores = []
    for context, nll, said in zip(
        contexts, torch.split(nll_M, sizes), torch.split(said_M, sizes), strict=True
    ):
        words = tuple(said.tolist())
        scores.append(
            Score(
                nll=float(nll.mean()) if context.target else 0.0,
                greedy=words == context.target,
                said=words,
            )
        )
    return scores
