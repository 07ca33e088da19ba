"""A bank of any size in the geometry of a real one, to measure time and memory on.

What comes in: keys of ordinary text, and how many rows. What goes out: a bank on disk. What it does
not do: say anything about facts; its residuals are noise, and only a share of its names occurs in
any text.

A key is one of ordinary text with half of another mixed in, so that keys are as near to one another
as those of real subjects are. Keys repeat once there are `POOL` of them; each has its own place on
disk nevertheless, as a real one has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank import coarse
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.files import save_bank
from revisor.neuraldb.bank.ids import Ids
from revisor.neuraldb.bank.names import NameIndex, name_hashes
from revisor.neuraldb.bank.vectors import Packed, Picked, stored

POOL = 1 << 17
ENTRIES = 3  # of a row that goes by names: at the prompt, as first words, in other surroundings
NAMES = 14  # token sequences that a subject's name can be, in the mean
OCCURRING = 0.05  # share of a text's tokens that end a name
LATE = 1.0  # share of rows that stay candidates after their name: by default all do
QUERIES = 1024  # keys of ordinary text on which a coarse search is tried
GAMMA = 0.65  # of the paper; about what calibration finds where names are known


def save_synthetic(
    root: Path,
    rows: int,
    keys_TF: torch.Tensor,
    encoder: KeyEncoder,
    *,
    hidden_width: int,
    named: bool,
    bits: int,
    text: Sequence[int],
    kind_V: torch.Tensor | None = None,  # noqa: N803
    seed: int = 0,
    ids: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bank of so many rows; its folder.

    Args:
        keys_TF: raw keys of ordinary text.
        hidden_width: D.
        named: rows that go by names, several entries each; else one entry a row.
        kind_V: kinds of tokens, for rows that go by names.
        text: token ids, of which `OCCURRING` end the name of a row.
        ids: of the rows; made up by default.
        about: what else its manifest says: `fingerprint`, `model`, `layer`, `build`.
    """
    draw = torch.Generator().manual_seed(seed)
    entries = rows * (ENTRIES if named else 1)
    unit_TE = encoder.whole(keys_TF)
    one_P, other_P = torch.randint(len(unit_TE), (2, min(POOL, entries)), generator=draw)
    pool_PE = F.normalize(unit_TE[one_P] + 0.5 * unit_TE[other_P], dim=-1)
    parts: tuple[torch.Tensor | Packed, ...] = (stored(pool_PE, bits),)
    index_M = _spread(len(pool_PE), entries)
    late_N = torch.rand(rows, generator=draw) < (LATE if encoder.hears else 0)
    if named and encoder.hears:
        question_PA = torch.randn(len(pool_PE), encoder.asked_width - 1, generator=draw)
        asked_PE = encoder.asking(F.normalize(question_PA, dim=-1), True, keys_TF.shape[1])
        parts = (*parts, stored(asked_PE, bits))
        index_M = index_M + len(pool_PE) * late_N.repeat_interleave(ENTRIES)
    noise_PD = torch.randn(min(POOL, rows), hidden_width, generator=draw)
    view = View(
        ids=Ids.of(ids or [f"{row:016x}" for row in range(rows)]),
        keys_ME=Picked(parts=parts, index_N=index_M),
        gamma_M=torch.full((entries,), GAMMA),
        row_M=torch.arange(rows, dtype=torch.int32).repeat_interleave(entries // max(1, rows)),
        R_ND=Picked(parts=(stored(noise_PD, bits),), index_N=_spread(len(noise_PD), rows)),
        encoder=encoder,
        generation=1,
        names=_names(rows, text, late_N, kind_V, draw) if named else None,
    )
    if not named and entries >= coarse.FROM and coarse.library() is not None:
        index, _ = coarse.good_enough(view.keys_ME, view.gamma_M, view.row_M, unit_TE[:QUERIES])
        view = replace(view, coarse=index)
    said = {"fingerprint": "synthetic", "model": "synthetic", "layer": 0, "build": {}}
    return save_bank(view, root, failed=[], **{**said, **(about or {})})


def _spread(count: int, wanted: int) -> torch.Tensor:
    return torch.arange(wanted) % max(1, count)


def _names(
    rows: int,
    text: Sequence[int],
    late_N: torch.Tensor,
    kind_V: torch.Tensor | None,
    draw: torch.Generator,
) -> NameIndex:
    """Hashes that no text has, and some of the names that this one has: all of single rows."""
    hash_H = torch.randint(-(2**63), 2**63 - 1, (rows * NAMES,), generator=draw)
    ends = torch.randperm(len(text), generator=draw)[: round(OCCURRING * len(text))].tolist()
    spelled = [tuple(text[max(0, end - 2) : end + 1]) for end in ends][:rows]
    hash_H[: len(spelled)] = name_hashes(spelled)
    hash_H, order_H = hash_H.sort()
    return NameIndex.of_rows(
        hash_H,
        (order_H % rows).int(),
        torch.full((rows,), ENTRIES),
        late_N,
        kind_V,
    )
