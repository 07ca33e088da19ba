"""Row ids as two tensors: a million of them open without one Python string.

What comes in: ids, or the tensors of a bank on disk. What goes out: a sequence of strings, each
made when it is asked for. What it does not do: find an id (bank.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import torch


class Ids(Sequence[str]):
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

    def __len__(self) -> int:
        return len(self.end_N)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        place = range(len(self))[index]  # negative ones, and the IndexError
        start = int(self.end_N[place - 1]) if place else 0
        return self.text_C[start : int(self.end_N[place])].numpy().tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        text = self.text_C.numpy().tobytes()
        for start, end in pairwise([0, *self.end_N.tolist()]):
            yield text[start:end].decode()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return torch.equal(self.end_N, other.end_N) and torch.equal(self.text_C, other.text_C)
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ids({len(self)})"
