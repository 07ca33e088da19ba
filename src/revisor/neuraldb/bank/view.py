"""What a bank is made of: a row, and the rows that are live at one generation as a gate reads them.

N rows, M entries, E width of an encoded key, D hidden width, C entries of a row, G rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from revisor.neuraldb.bank.coarse import Coarse
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.vectors import Matrix, on_device


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the gate knows of one fact.

    Attributes:
        row_id: the fact's id.
        keys_CE: encoded unit keys, fp32; the paper has one a row.
        gamma_C: the cosine above which each of them matches.
        r_D: the residual, fp32.
    """

    row_id: str
    keys_CE: torch.Tensor
    gamma_C: torch.Tensor
    r_D: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class View:
    """The live rows of a bank, ready for a gate.

    Attributes:
        ids: row id of each residual.
        keys_ME, gamma_M: entries and their thresholds.
        row_M: which residual an entry leads to, rising.
        R_ND: residuals.
        encoder: how a raw key becomes comparable with `keys_ME`.
        generation: the generation it shows.
        dtype: of the residuals that a gate gives out.
        coarse: an index over the keys of a large bank; None to look at all of them, as on a GPU.
        file: that its rows are mapped from; None for rows in memory.
        since: what it is made of, where a bank was changed after it was opened.
    """

    ids: Sequence[str]
    keys_ME: Matrix
    gamma_M: torch.Tensor
    row_M: torch.Tensor
    R_ND: Matrix
    encoder: KeyEncoder
    generation: int
    dtype: torch.dtype = torch.float32
    coarse: Coarse | None = None
    file: Path | None = None
    since: Changes | None = None

    @property
    def empty(self) -> bool:
        """No row is live: the gate must not touch the model at all."""
        return len(self.ids) == 0

    @property
    def device(self) -> torch.device:
        """Where residuals are added."""
        return self.R_ND.device

    @property
    def nbytes(self) -> int:
        """Bytes of all that a gate reads of it, as it is stored."""
        parts: list[Matrix] = [self.keys_ME, self.gamma_M, self.row_M, self.R_ND]
        index = 0 if self.coarse is None else self.coarse.nbytes
        return index + sum(part.nbytes for part in parts)

    def to(self, device: torch.device, dtype: torch.dtype) -> View:
        """For a model on a device, with residuals in its dtype.

        What is there already stays where it is, be it on disk: a residual is converted when it is
        added, which gives the same bits. Keys and thresholds stay fp32.
        """
        return replace(
            self,
            keys_ME=on_device(self.keys_ME, device, torch.float32),
            gamma_M=self.gamma_M.to(device),
            row_M=self.row_M.to(device),
            R_ND=on_device(self.R_ND, device, dtype),
            encoder=self.encoder.to(device),
            dtype=dtype,
            coarse=self.coarse if device.type == "cpu" else None,
            since=None,
        )


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How the rows of a view came from those of another.

    Attributes:
        base: the other.
        gone_G: rows of it that are no more, rising.
        fresh: rows that follow the ones that are left.
    """

    base: View
    gone_G: torch.Tensor
    fresh: View


def entries_of(view: View) -> torch.Tensor:
    """How many entries each row of a view has.

    Raises:
        ValueError: its tensors do not fit together.
    """
    counts = torch.bincount(view.row_M, minlength=len(view.ids))
    if not (
        len(counts) == len(view.ids) == len(view.R_ND)
        and len(view.keys_ME) == len(view.gamma_M) == len(view.row_M)
        and bool((view.row_M[1:] >= view.row_M[:-1]).all())
    ):
        raise ValueError("its tensors do not fit together")
    return counts


def counted(count_N: torch.Tensor) -> torch.Tensor:
    """For each entry its row, where row n has so many."""
    return torch.arange(len(count_N), dtype=torch.int32).repeat_interleave(count_N)
