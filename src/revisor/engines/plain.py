"""Plain forward calls of a model with facts: scores, losses and custom decoding loops.

Letters: B rows, T ids of the call, P ids cached before, K positions with logits, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from revisor.engines.bindings import Binding, Writing, changed
from revisor.engines.cached import recall, remember
from revisor.errors import UsageError

# Caches of recurrent models, which cannot be cropped or matched to a text.
_STATES = ("cache_params", "state", "mems", "past_buckets_states")
_LOSS = ("num_items_in_batch", "shift_labels", "ignore_index")


@dataclass(frozen=True, kw_only=True)
class PlainCall:
    """A forward call whose logits are to have facts in them; `given` are its arguments by name,
    `before` ids and mask (B, P) of the cached text that it continues."""

    model: Any
    bindings: Sequence[Binding]
    given: Mapping[str, Any]
    before: tuple[torch.Tensor, torch.Tensor] | None
    as_dict: bool

    @classmethod
    def of(
        cls, model: Any, bindings: Sequence[Binding], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> PlainCall | None:
        """The call, before it is made; None without ids, which the model itself refuses.

        Raises:
            UsageError: it gives embeddings without ids, or continues a cache of unknown text.
        """
        names = list(inspect.signature(model.forward).parameters)
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        ids_BT = given.get("input_ids")
        if ids_BT is None:
            refuse_embeddings(given)
            return None
        if state := next((name for name in _STATES if given.get(name) is not None), None):
            raise UsageError(
                f"Facts cannot be written here: the text behind {state} is not known.",
                "Pass the whole text as input_ids, or use generate.",
            )
        before = recall(given.get("past_key_values"), len(ids_BT))
        as_dict = given.get("return_dict")
        if as_dict is None:
            as_dict = getattr(model.config, "return_dict", True)
        given["return_dict"] = True
        return cls(model=model, bindings=bindings, given=given, before=before, as_dict=as_dict)

    def written(self, out: Any) -> Any:
        """The model's output with the facts in its logits and in the loss made of them.

        Where nothing is written the logits are the model's own tensor; else a copy, in which
        positions without a fact keep their gradients.

        Raises:
            UsageError: facts were written, and the model's loss is made of more than its logits.
        """
        ids_BT = self.given["input_ids"]
        called = ids_BT.shape[1]
        mask_BT = _mask(self.given.get("attention_mask"), ids_BT, self.before)
        if self.before is not None:
            ids_BT = torch.cat([self.before[0].to(ids_BT.device), ids_BT], dim=1)
        remember(out.get("past_key_values"), ids_BT, mask_BT)
        own_BKV = out.logits.detach()  # a gate decides; no gradient goes through that
        kept = _kept(self.given)
        new_BKV = _written(self.bindings, ids_BT, mask_BT, own_BKV, kept, called)
        if new_BKV is not own_BKV:
            if out.logits.requires_grad:
                new_BKV = torch.where(changed(new_BKV, own_BKV)[..., None], new_BKV, out.logits)
            out.logits = new_BKV
            if out.get("loss") is not None:
                out.loss = _loss(self.model, out, self.given)
        return out if self.as_dict else out.to_tuple()


def refuse_embeddings(given: Mapping[str, Any]) -> None:
    """Raise UsageError for `inputs_embeds` without ids: there is no text to find names in."""
    if given.get("inputs_embeds") is not None:
        raise UsageError(
            "Facts cannot be written here: the call gives inputs_embeds without input_ids, so "
            "its text is not known.",
            "Pass input_ids as well, or leave the block for this call.",
        )


def _kept(given: Mapping[str, Any]) -> int | torch.Tensor:
    """The positions whose logits the call asked for, as forward passes take them; 0 for all."""
    for name in ("logits_to_keep", "num_logits_to_keep"):
        if given.get(name) is not None:
            kept: int | torch.Tensor = given[name]
            return kept
    return 0


def _mask(
    mask: Any, ids_BT: torch.Tensor, before: tuple[torch.Tensor, torch.Tensor] | None
) -> torch.Tensor:
    """The 0/1 mask (B, P + T) of the whole text. Masks of other forms hide no ids here."""
    ones_BT = torch.ones_like(ids_BT)
    flat = isinstance(mask, torch.Tensor) and mask.dim() == 2 and len(mask) == len(ids_BT)
    if before is None:
        return mask if flat and mask.shape == ids_BT.shape else ones_BT
    past_BP = before[1].to(ids_BT.device)
    width = past_BP.shape[1] + ids_BT.shape[1]
    if flat and mask.shape[1] == width:
        return torch.as_tensor(mask)
    return torch.cat([past_BP, mask if flat and mask.shape == ids_BT.shape else ones_BT], dim=1)


def _written(
    bindings: Sequence[Binding],
    ids_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    logits_BKV: torch.Tensor,
    kept: int | torch.Tensor,
    called: int,
) -> torch.Tensor:
    """The logits with the facts in them; the same tensor where there are none."""
    writing = Writing(bindings=bindings)
    if not isinstance(kept, torch.Tensor):
        return writing.score(ids_BT, mask_BT, logits_BKV)
    out = logits_BKV
    before = ids_BT.shape[1] - called
    for start, stop, last in _runs(kept.tolist(), called):
        end = before + last + 1
        part = logits_BKV[:, start:stop]
        new = writing.score(ids_BT[:, :end], mask_BT[:, :end], part)
        if new is not part:
            out = torch.cat([out[:, :start], new, out[:, stop:]], dim=1)
    return out


def _runs(positions: Sequence[int], called: int) -> Iterator[tuple[int, int, int]]:
    """Runs of neighbouring positions, as start and end in the list and the last position."""
    start = 0
    for index in range(1, len(positions) + 1):
        if index == len(positions) or positions[index] != positions[index - 1] + 1:
            yield start, index, positions[index - 1] % called
            start = index


def _loss(model: Any, out: Any, given: Mapping[str, Any]) -> torch.Tensor:
    """The loss of the present logits; UsageError if the model's loss needs more than them."""
    if out.get("aux_loss") is not None or not hasattr(model, "loss_function"):
        raise UsageError(
            f"The loss of {type(model).__name__} cannot be computed with facts in the logits.",
            "Compute it from the logits, or leave the block for this call.",
        )
    extra = {name: given[name] for name in _LOSS if given.get(name) is not None}
    loss: torch.Tensor = model.loss_function(
        logits=out.logits,
        labels=given["labels"],
        vocab_size=model.config.get_text_config().vocab_size,
        **extra,
    )
    return loss
