"""What text stands in a KV cache: noted on the cache by the calls that fill it.

A gate reads text, and a call that continues a cache brings only its new ids. So the ids are kept on
the cache: a deep copy has them, too, and a crop leaves the first of them. As a cache can also be
reordered, repeated or refilled elsewhere, each position has a print, four numbers of the deepest
layer's keys there, which depend on all the text up to it: rows are found again by the print of
their last position, and a cache that holds something else is refused.

Letters: B rows, P cached positions, E numbers of a print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from revisor.errors import UsageError

_NAME = "_revisor_text"
_PRINT = 4


@dataclass(frozen=True, kw_only=True)
class _Text:
    ids_BP: torch.Tensor
    mask_BP: torch.Tensor
    print_BPE: torch.Tensor | None


def length(cache: Any) -> int:
    """How many positions are cached; 0 for None."""
    return 0 if cache is None else int(cache.get_seq_length())


def remember(cache: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> None:
    """Note the whole text of each row on a transformers `Cache`, which may lack the text's end."""
    if not hasattr(cache, "get_seq_length"):
        return
    here = length(cache)
    if here > ids_BT.shape[1]:  # positions that are no text, such as a learned prefix
        cache.__dict__.pop(_NAME, None)
        return
    text = _Text(
        ids_BP=ids_BT[:, :here].detach().clone(),
        mask_BP=mask_BT[:, :here].detach().clone(),
        print_BPE=_prints(cache, here),
    )
    cache.__dict__[_NAME] = text


def recall(cache: Any, rows: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Ids and mask (B, P) of what is cached, None where nothing is; UsageError if calls that kept
    no text filled or changed the cache."""
    here = length(cache)
    if here == 0:
        return None
    text: _Text | None = getattr(cache, _NAME, None)
    if text is None or text.ids_BP.shape[1] < here:
        raise _unknown("Its text was not seen: it was filled outside the block.")
    ids_BP, mask_BP = text.ids_BP[:, :here], text.mask_BP[:, :here]
    found_B = _same_rows(cache, text, here)
    if found_B is not None:
        ids_BP, mask_BP = ids_BP[found_B], mask_BP[found_B]
    if len(ids_BP) != rows:
        raise _unknown(f"It holds {len(ids_BP)} rows of text, the call has {rows}.")
    return ids_BP, mask_BP


def _same_rows(cache: Any, text: _Text, here: int) -> torch.Tensor | None:
    """Indices (B,) of the noted rows that the cache holds now; None where it leaves no prints."""
    now_BPE = _prints(cache, here)
    if now_BPE is None or text.print_BPE is None:
        return None
    then_BE = text.print_BPE[:, here - 1]
    same_BB = (now_BPE[:, -1][:, None] == then_BE[None]).all(dim=-1)
    if not bool(same_BB.any(dim=1).all()):
        raise _unknown("It holds other text than when it was last used in the block.")
    # Rows with one print have one text, so whichever is found serves.
    return same_BB.int().argmax(dim=1).to(text.ids_BP.device)


def _prints(cache: Any, here: int) -> torch.Tensor | None:
    """Prints (B, here, E); None for caches whose layers do not keep all keys unchanged."""
    for layer in reversed(getattr(cache, "layers", ())):
        keys = getattr(layer, "keys", None)
        if not isinstance(keys, torch.Tensor) or getattr(layer, "is_sliding", False):
            continue
        if keys.dim() == 4 and keys.shape[2] >= here:
            kept: torch.Tensor = keys[:, 0, :here, :_PRINT].detach().clone()
            return kept
    return None


def _unknown(why: str) -> UsageError:
    return UsageError(
        f"Facts cannot be written here: what stands in past_key_values is not known. {why}",
        "Pass the whole text as input_ids without a cache, or fill the cache inside the block.",
    )
