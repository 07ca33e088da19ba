"""Row ids as two tensors: a million of them open without one Python string.

What comes in: ids, or the tensors of a bank on disk. What goes out: a sequence of strings, each
made when it is asked for, and the places of those that hold some fact. What it does not do: know
which rows are live (bank.py).

A row's id is the ids of its facts, joined by `+`. A fact is found by a hash of its id, computed for
all of them at once when the first is asked for; what is found is compared letter by letter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import overload

import torch

from revisor.facts.fact import JOIN

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

    def holding(self, fact_ids: Collection[str]) -> list[int]:
        """The places of the ids that have one of these facts among theirs, rising."""
        wanted = [fact_id for fact_id in fact_ids if fact_id and JOIN not in fact_id]
        if not wanted or not len(self):
            return []
        hash_P, row_P = self._parts
        sought_W, _ = Ids.of(wanted)._hashed()
        low_W = torch.searchsorted(hash_P, sought_W)
        high_W = torch.searchsorted(hash_P, sought_W, right=True)
        found = set()
        for fact_id, low, high in zip(wanted, low_W.tolist(), high_W.tolist(), strict=True):
            for row in row_P[low:high].tolist():
                if fact_id in self[row].split(JOIN):
                    found.add(row)
        return sorted(found)

    def place(self, row_id: str) -> int | None:
        """Where this id stands; None if it does not."""
        for row in self.holding([row_id.partition(JOIN)[0]]):
            if self[row] == row_id:
                return row
        return None

    @cached_property
    def _parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The hashes of all facts in rising order, and the row of each."""
        hash_P, row_P = self._hashed()
        order_P = hash_P.argsort(stable=True)
        return hash_P[order_P], row_P[order_P]

    def _hashed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The hash of each fact of each row, and the row."""
        joint_J = (self.text_C == ord(JOIN)).nonzero().squeeze(1)
        end_P, order_P = torch.cat([self.end_N, joint_J]).sort(stable=True)
        rows_N = torch.arange(len(self))
        row_P = torch.cat([rows_N, torch.searchsorted(self.end_N, joint_J, right=True)])[order_P]
        start_P = torch.zeros_like(end_P)
        start_P[1:] = end_P[:-1]
        # Behind a joint a fact begins one later.
        start_P += (start_P < end_P) & torch.isin(start_P, joint_J)
        length_P = end_P - start_P
        hash_P = length_P.clone()
        for column in range(int(length_P.max()) if len(length_P) else 0):
            has_P = length_P > column
            letter_P = self.text_C[(start_P + column).clamp(max=len(self.text_C) - 1)].long()
            hash_P = torch.where(has_P, hash_P * _FACTOR + letter_P + 1, hash_P)
        return hash_P, row_P

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
