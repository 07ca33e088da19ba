"""Row ids as two tensors: a million of them open without one Python string.

A row's id is its fact's. An id is found by a hash of it, computed for all of them at once when the
first is asked for; what is found is compared letter by letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import overload

import torch

_FACTOR = 6364136223846793005  # odd; hashes are modulo 2^64


class _Strings(Sequence[str]):
    """What sequences of strings have in common that make each when it is asked for."""

    def _at(self, place: int) -> str:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        places = range(len(self))[index]  # negative ones, and the IndexError
        return self._at(places) if isinstance(places, int) else tuple(map(self._at, places))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)})"


class Ids(_Strings):
    """A sequence of strings in UTF-8.

    Args:
        text_C: all of them, one behind the other, uint8.
        end_N: where each ends, int64.

    Raises:
        ValueError: the two do not fit together.
    """

    def __init__(self, text_C: torch.Tensor, end_N: torch.Tensor) -> None:
        if (int(end_N[-1]) if len(end_N) else 0) != len(text_C):
            raise ValueError("its ids do not fit together")
        self.text_C, self.end_N = text_C, end_N

    @classmethod
    def of(cls, ids: Sequence[str]) -> Ids:
        """The same ids as tensors."""
        if isinstance(ids, cls):
            return ids
        parts = [row_id.encode() for row_id in ids]
        text_C = torch.frombuffer(bytearray(b"".join(parts) or b"\0"), dtype=torch.uint8)
        end_N = torch.tensor([len(part) for part in parts], dtype=torch.long).cumsum(0)
        return cls(text_C[: int(end_N[-1]) if parts else 0], end_N)

    def places(self, wanted: Collection[str]) -> list[int]:
        """Where those of these ids stand that are here, rising."""
        if not wanted or not len(self):
            return []
        sought = list(wanted)
        hash_P, row_P = self._sorted
        sought_W = Ids.of(sought)._hashed()
        low_W = torch.searchsorted(hash_P, sought_W)
        high_W = torch.searchsorted(hash_P, sought_W, right=True)
        found = set()
        for row_id, low, high in zip(sought, low_W.tolist(), high_W.tolist(), strict=True):
            found |= {row for row in row_P[low:high].tolist() if self[row] == row_id}
        return sorted(found)

    def place(self, row_id: str) -> int | None:
        """Where this id stands; None if it does not."""
        return next(iter(self.places([row_id])), None)

    @cached_property
    def _sorted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The hashes of all ids in rising order, and the place of each."""
        hash_N = self._hashed()
        order_N = hash_N.argsort(stable=True)
        return hash_N[order_N], order_N

    def _hashed(self) -> torch.Tensor:
        start_N = torch.zeros_like(self.end_N)
        start_N[1:] = self.end_N[:-1]
        length_N = self.end_N - start_N
        hash_N = length_N.clone()
        for column in range(int(length_N.max()) if len(length_N) else 0):
            has_N = length_N > column
            letter_N = self.text_C[(start_N + column).clamp(max=len(self.text_C) - 1)].long()
            hash_N = torch.where(has_N, hash_N * _FACTOR + letter_N + 1, hash_N)
        return hash_N

    def __len__(self) -> int:
        return len(self.end_N)

    def _at(self, place: int) -> str:
        start = int(self.end_N[place - 1]) if place else 0
        return self.text_C[start : int(self.end_N[place])].numpy().tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        text = self.text_C.numpy().tobytes()
        for start, end in pairwise([0, *self.end_N.tolist()]):
            yield text[start:end].decode()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return torch.equal(self.end_N, other.end_N) and torch.equal(self.text_C, other.text_C)
        return super().__eq__(other)

    __hash__ = None


class PickedIds(_Strings):
    """Ids of two sequences that stand one behind the other, some of them; nothing is copied.

    Args:
        first, then: the sequences.
        place_N: which of them stand here, in this order.
    """

    def __init__(self, first: Sequence[str], then: Sequence[str], place_N: torch.Tensor) -> None:
        self._first, self._then, self._place_N = first, then, place_N

    def __len__(self) -> int:
        return len(self._place_N)

    def _at(self, place: int) -> str:
        one, split = int(self._place_N[place]), len(self._first)
        return self._first[one] if one < split else self._then[one - split]

    def __iter__(self) -> Iterator[str]:
        every = [*self._first, *self._then]
        return (every[place] for place in self._place_N.tolist())
