"""The nearest stored key of each query, exactly.

T queries, M keys, E width of a key.
"""

from __future__ import annotations

import torch

from revisor.neuraldb.bank.vectors import Matrix, chunks

BLOCK = 1 << 24  # scores held at once: 64 MiB in fp32
EQUAL = 1e-6  # cosines that differ by less are those of one key


def nearest(q_TE: torch.Tensor, keys_ME: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact search, in blocks so that its memory stays bounded.

    Returns:
        cosine_T and entry_T. Of equal cosines the first entry wins.
    """
    if not isinstance(keys_ME, torch.Tensor):
        return _over(q_TE, keys_ME)
    step = max(1, BLOCK // max(1, len(keys_ME)))
    if len(q_TE) <= step:
        cosine_T, entry_T = (q_TE @ keys_ME.T).max(dim=1)
        return cosine_T, entry_T
    parts = [(q_TE[i : i + step] @ keys_ME.T).max(dim=1) for i in range(0, len(q_TE), step)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _over(q_TE: torch.Tensor, keys_ME: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """The same over keys that are made whole a few at a time."""
    cosine_T = torch.full((len(q_TE),), -torch.inf, device=q_TE.device)
    entry_T = torch.zeros(len(q_TE), dtype=torch.long, device=q_TE.device)
    first = 0
    for part in chunks(keys_ME):
        found_T, place_T = nearest(q_TE, part[:])
        better_T = found_T > cosine_T
        cosine_T = torch.where(better_T, found_T, cosine_T)
        entry_T = torch.where(better_T, place_T + first, entry_T)
        first += len(part)
    return cosine_T, entry_T
