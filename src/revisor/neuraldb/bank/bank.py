"""The neural key-value bank: rows of keys and residuals, put and dropped, and as a gate reads them.

A row holds one residual and one or more entries: unit keys, each with its own threshold, any of
which finds the row. The paper has one entry a row.

N rows, M entries, C entries of a row, E width of a key, D hidden width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from revisor.errors import NotFound
from revisor.neuraldb.bank.search import Coarse


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fact's unit keys and residual, fp32, and the cosine above which each key matches."""

    row_id: str
    keys_CE: torch.Tensor
    gamma_C: torch.Tensor
    r_D: torch.Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes a tensor is shared memory, which ends with its process; arrays are not.
        return _row, (self.row_id, *(x.numpy() for x in (self.keys_CE, self.gamma_C, self.r_D)))


def _row(row_id: str, *arrays: Any) -> Row:
    keys_CE, gamma_C, r_D = map(torch.tensor, arrays)
    return Row(row_id=row_id, keys_CE=keys_CE, gamma_C=gamma_C, r_D=r_D)


@dataclass(frozen=True, kw_only=True)
class View:
    """Rows, ready for a gate.

    Attributes:
        ids: row id of each residual.
        keys_ME, gamma_M: entries and their thresholds.
        row_M: the residual that an entry leads to, ascending.
        coarse: an index over many keys; None to compare all of them, as on a GPU.
    """

    ids: tuple[str, ...]
    keys_ME: torch.Tensor
    gamma_M: torch.Tensor
    row_M: torch.Tensor
    R_ND: torch.Tensor
    coarse: Coarse | None = None

    @property
    def empty(self) -> bool:
        """No row is in force: the gate must not touch the model at all."""
        return len(self.ids) == 0

    @property
    def nbytes(self) -> int:
        """Bytes of all that a gate reads."""
        parts = (self.keys_ME, self.gamma_M, self.row_M, self.R_ND)
        index = 0 if self.coarse is None else self.coarse.nbytes
        return index + sum(part.nbytes for part in parts)

    def to(self, device: torch.device, dtype: torch.dtype) -> View:
        """The view on a model's device, residuals in its dtype; keys and thresholds stay fp32."""
        return replace(
            self,
            keys_ME=self.keys_ME.to(device),
            gamma_M=self.gamma_M.to(device),
            row_M=self.row_M.to(device),
            R_ND=self.R_ND.to(device, dtype),
            coarse=self.coarse if device.type == "cpu" else None,
        )

    def rows(self) -> list[Row]:
        """Its rows one by one, sharing its tensors; ValueError if these do not fit together."""
        counts = torch.bincount(self.row_M, minlength=len(self.ids)).tolist()
        parts = torch.split(self.keys_ME, counts), torch.split(self.gamma_M, counts)
        return [
            Row(row_id=row_id, keys_CE=keys_CE, gamma_C=gamma_C, r_D=r_D)
            for row_id, keys_CE, gamma_C, r_D in zip(self.ids, *parts, self.R_ND, strict=True)
        ]


class Bank:
    """Rows by their ids, in the order in which they were put.

    Attributes:
        generation: of the ledger that its rows are of.
        index: over the keys of all rows, until one is put or dropped.
        file: that its first rows were read from; None if they are in no file.
    """

    def __init__(self, *, key_width: int, hidden_width: int) -> None:
        self._widths = key_width, hidden_width
        self.generation = 0
        self.index: Coarse | None = None
        self.file: Path | None = None
        self._first: dict[str, Row] = {}
        self._rows: dict[str, Row] = {}
        self._shown: View | None = None

    @classmethod
    def of(cls, view: View, file: Path | None = None) -> Bank:
        """A bank with the rows of a view that a file holds; ValueError if the tensors do not
        fit."""
        bank = cls(key_width=view.keys_ME.shape[1], hidden_width=view.R_ND.shape[1])
        bank.file = file
        bank._first = {row.row_id: row for row in view.rows()}
        bank._rows = dict(bank._first)
        bank._shown = replace(view, coarse=None)
        return bank

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._rows

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of its rows."""
        return tuple(self._rows)

    def present(self, row_ids: Collection[str]) -> list[str]:
        """Those of these rows that it has, in its own order."""
        wanted = set(row_ids)
        return [row_id for row_id in self._rows if row_id in wanted]

    def changes(self) -> tuple[list[int], list[Row]]:
        """The places of first rows that are gone, and the rows that were put."""
        first, rows = self._first, self._rows
        gone = [
            place for place, one in enumerate(first.values()) if rows.get(one.row_id) is not one
        ]
        return gone, [row for row in rows.values() if first.get(row.row_id) is not row]

    def remembers(self, row_ids: Collection[str]) -> bool:
        """Whether it has, or was opened with, one of these rows."""
        return not set(row_ids).isdisjoint(self._first.keys() | self._rows.keys())

    def put(self, row: Row) -> None:
        """Add a row behind the others, replacing the one with its id."""
        self._rows.pop(row.row_id, None)
        self._rows[row.row_id] = row
        self._shown = self.index = None

    def drop(self, row_id: str) -> None:
        """Remove a row; NotFound if there is none with this id."""
        del self._rows[self.get(row_id).row_id]
        self._shown = self.index = None

    def get(self, row_id: str) -> Row:
        """The row with this id, or NotFound."""
        if row_id not in self._rows:
            raise NotFound(f"The bank has no row '{row_id}'.", "Build the store first.")
        return self._rows[row_id]

    def view(self, *, without: Collection[str] = frozenset()) -> View:
        """The rows as a gate reads them, `without` some, such as facts that do not hold at this
        moment; the index serves only if none of these is there."""
        if without and self.present(without):
            return self.of_rows([row for row in self._rows.values() if row.row_id not in without])
        if self._shown is None:
            self._shown = self.of_rows(self._rows.values())
        return replace(self._shown, coarse=self.index)

    def of_rows(self, rows: Iterable[Row]) -> View:
        """Some rows, as a gate reads them."""
        rows = list(rows)
        key_width, hidden_width = self._widths
        counts = torch.tensor([len(row.keys_CE) for row in rows], dtype=torch.long)
        keys = [torch.empty(0, key_width), *(row.keys_CE for row in rows)]
        gammas = [torch.empty(0), *(row.gamma_C for row in rows)]
        residuals = [torch.empty(0, hidden_width), *(row.r_D[None] for row in rows)]
        return View(
            ids=tuple(row.row_id for row in rows),
            keys_ME=torch.cat(keys),
            gamma_M=torch.cat(gammas),
            row_M=torch.arange(len(rows), dtype=torch.int32).repeat_interleave(counts),
            R_ND=torch.cat(residuals),
        )
