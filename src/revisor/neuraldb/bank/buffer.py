"""Rows put into a bank since it was opened, in arrays that grow.

N rows, M entries, C entries of a row, W width of a vector.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from revisor.neuraldb.bank.vectors import Matrix, Packed, Picked, stored
from revisor.neuraldb.bank.view import Row, View, entries_of


class RowBuffer:
    """The rows. They count 0, 1, 2 ... in the order in which they came.

    Args:
        key_width, hidden_width, bits: see `Bank`.
    """

    def __init__(self, key_width: int, hidden_width: int, bits: int) -> None:
        self.ids: list[str] = []
        self._bits = bits
        self._entries: list[slice] = []
        self._gamma = torch.empty(0)
        self._keys = _Grown(key_width, bits)
        self._residuals = _Grown(hidden_width, bits)

    def add(self, row: Row) -> None:
        """One more row. O(1) amortised."""
        first = self._keys.count
        self._keys.extend(stored(row.keys_CE, self._bits))
        self._residuals.extend(stored(row.r_D[None], self._bits))
        self._gamma = _room(self._gamma, self._keys.count)
        self._gamma[first : self._keys.count] = row.gamma_C
        self._entries.append(slice(first, self._keys.count))
        self.ids.append(row.row_id)

    def take(self, view: View) -> None:
        """All rows of a view.

        Raises:
            ValueError: its tensors do not fit together.
        """
        counts, first = entries_of(view), self._keys.count
        self._keys.extend(view.keys_ME)
        self._residuals.extend(view.R_ND)
        self._gamma = _room(self._gamma, self._keys.count)
        self._gamma[first : self._keys.count] = view.gamma_M
        self._entries += [
            slice(*ends) for ends in pairwise([first, *(counts.cumsum(0) + first).tolist()])
        ]
        self.ids += view.ids

    def row(self, place: int) -> Row:
        """One of them."""
        return Row(
            row_id=self.ids[place],
            keys_CE=self.keys[self._entries[place]],
            gamma_C=self._gamma[self._entries[place]],
            r_D=self.residuals[place],
        )

    @property
    def keys(self) -> torch.Tensor | Packed:
        """Of all entries."""
        return self._keys.matrix()

    @property
    def residuals(self) -> torch.Tensor | Packed:
        """Of all rows."""
        return self._residuals.matrix()

    @property
    def gamma_M(self) -> torch.Tensor:
        """Thresholds of all entries."""
        return self._gamma[: self._keys.count]

    @property
    def count_N(self) -> torch.Tensor:
        """How many entries each row has."""
        return torch.tensor([one.stop - one.start for one in self._entries], dtype=torch.long)


class _Grown:
    """Vectors that are added at the end, in arrays that double."""

    def __init__(self, width: int, bits: int) -> None:
        self._arrays = _tensors(stored(torch.empty(0, width), bits))
        self.count = 0

    def extend(self, matrix: Matrix) -> None:
        """Add vectors that are stored already."""
        new = _tensors(matrix.gather() if isinstance(matrix, Picked) else matrix)
        first, self.count = self.count, self.count + len(matrix)
        for place, part in enumerate(new):
            self._arrays[place] = _room(self._arrays[place], self.count)
            self._arrays[place][first : self.count] = part

    def matrix(self) -> torch.Tensor | Packed:
        shown = [array[: self.count] for array in self._arrays]
        return shown[0] if len(shown) == 1 else Packed(codes_NB=shown[0], scale_N=shown[1])


def _tensors(matrix: torch.Tensor | Packed) -> list[torch.Tensor]:
    return [matrix] if isinstance(matrix, torch.Tensor) else [matrix.codes_NB, matrix.scale_N]


def _room(array: torch.Tensor, needed: int) -> torch.Tensor:
    """The array, or a copy with at least twice its room."""
    if needed <= len(array):
        return array
    grown = array.new_zeros(max(needed, 2 * len(array), 64), *array.shape[1:])
    grown[: len(array)] = array
    return grown
