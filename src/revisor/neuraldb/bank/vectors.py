"""Many vectors, whole or in few bits, of which a reader takes a few at a time.

A `Matrix` (N, W) is a plain tensor, a `Packed` one, or `Picked` rows of others; each gives fp32
rows for an index, and touches those rows only, so that a matrix on disk is never read whole.

In b bits a vector is whole numbers of at most q = 2^(b-1) - 1 with one scale of its own,

    x ~ s c,   c = round(x / s),   s = max|x| / q,

where the mantissa of s is cut to 16 bits: s c is then exact in fp32, and a vector that is packed
again gets the same bytes. What is stored of a vector depends on that vector alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

WHOLE = 32  # bits of a vector that is stored as it is
BITS = (WHOLE, 8, 4)
_CUT = -1 << 8  # clears the last 8 of a scale's 24 bits
_CHUNK = 1 << 14  # vectors packed or written at once
COPIED = 1 << 26  # bytes: a choice of rows up to this size is copied, a larger one is looked up


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Vectors in few bits.

    Attributes:
        codes_NB: 8 bits: the whole numbers, int8, (N, W). 4 bits: two a byte, uint8, (N, W / 2),
            each plus 8, the first W / 2 in the low halves.
        scale_N: one a vector, fp32.
    """

    codes_NB: torch.Tensor
    scale_N: torch.Tensor

    @property
    def bits(self) -> int:
        """8 or 4."""
        return 8 if self.codes_NB.dtype == torch.int8 else 4

    @property
    def shape(self) -> torch.Size:
        """(N, W)."""
        count, width = self.codes_NB.shape
        return torch.Size((count, width if self.bits == 8 else 2 * width))

    @property
    def device(self) -> torch.device:
        return self.codes_NB.device

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.codes_NB.nbytes + self.scale_N.nbytes

    def __len__(self) -> int:
        return len(self.codes_NB)

    def __getitem__(self, index: torch.Tensor | slice | int) -> torch.Tensor:
        """These rows in fp32."""
        codes = self.codes_NB[index]
        if self.bits == 4:
            codes = torch.cat([codes & 15, codes >> 4], dim=-1).to(torch.int8) - 8
        return codes.float() * self.scale_N[index][..., None]

    def to(self, device: torch.device) -> Packed:
        return Packed(codes_NB=self.codes_NB.to(device), scale_N=self.scale_N.to(device))


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Rows of other matrices in an order of its own; nothing of them is copied.

    Attributes:
        parts: matrices of one kind, thought of as one below the other.
        index_N: the row of them that each row here is.
    """

    parts: tuple[torch.Tensor | Packed, ...]
    index_N: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """(N, W)."""
        return torch.Size((len(self.index_N), self.parts[0].shape[1]))

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def nbytes(self) -> int:
        """Bytes that these rows take where they are stored."""
        return len(self) * self.parts[0].nbytes // max(1, len(self.parts[0]))

    def __len__(self) -> int:
        return len(self.index_N)

    def __getitem__(self, index: torch.Tensor | slice | int) -> torch.Tensor:
        """These rows in fp32."""
        if isinstance(index, int):
            return self[torch.tensor([index])][0]
        found = self.gather(self.index_N[index])
        return found if isinstance(found, torch.Tensor) else found[:]

    def gather(self, place_N: torch.Tensor | None = None) -> torch.Tensor | Packed:
        """Rows of the parts, by default those that it shows, side by side as they are stored."""
        place_N = self.index_N if place_N is None else place_N
        first = self.parts[0]
        if isinstance(first, torch.Tensor):
            return _rows([part for part in self.parts if isinstance(part, torch.Tensor)], place_N)
        packed = [part for part in self.parts if isinstance(part, Packed)]
        return Packed(
            codes_NB=_rows([part.codes_NB for part in packed], place_N),
            scale_N=_rows([part.scale_N for part in packed], place_N),
        )


def _rows(parts: Sequence[torch.Tensor], place_N: torch.Tensor) -> torch.Tensor:
    """Rows of tensors that stand one below the other."""
    if len(parts) == 1:
        return parts[0][place_N]
    found = parts[0].new_empty((*place_N.shape, *parts[0].shape[1:]))
    first = 0
    for part in parts:
        here = (place_N >= first) & (place_N < first + len(part))
        found[here] = part[place_N[here] - first]
        first += len(part)
    return found


Matrix = torch.Tensor | Packed | Picked


def bits_of(matrix: Matrix) -> int:
    """The bits a number of it is stored in."""
    if isinstance(matrix, Picked):
        return bits_of(matrix.parts[0])
    return matrix.bits if isinstance(matrix, Packed) else WHOLE


def stored(x_NW: torch.Tensor, bits: int) -> torch.Tensor | Packed:
    """Vectors as they are stored in so many bits.

    Raises:
        ValueError: unknown bits, or an odd width in 4 bits.
    """
    if bits == WHOLE:
        return x_NW.float()
    if bits not in BITS or (bits == 4 and x_NW.shape[1] % 2):
        raise ValueError(f"{x_NW.shape[1]} numbers cannot be stored in {bits} bits each")
    parts = [_pack(part.float(), bits) for part in torch.split(x_NW, _CHUNK)]
    return Packed(
        codes_NB=torch.cat([codes for codes, _ in parts]),
        scale_N=torch.cat([scale for _, scale in parts]),
    )


def _pack(x_NW: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    most = 2 ** (bits - 1) - 1
    scale_N = x_NW.abs().amax(1) / most if x_NW.shape[1] else x_NW.new_zeros(len(x_NW))
    scale_N = (scale_N.view(torch.int32) & _CUT).view(torch.float32)
    safe_N1 = torch.where(scale_N > 0, scale_N, torch.ones_like(scale_N))[:, None]
    codes_NW = (x_NW / safe_N1).round().clamp(-most, most).to(torch.int8)
    if bits == 8:
        return codes_NW, scale_N
    low, high = (codes_NW + 8).to(torch.uint8).chunk(2, dim=1)
    return low | (high << 4), scale_N


def picked(parts: Sequence[Matrix], index_N: torch.Tensor) -> Matrix:
    """Rows of matrices of one kind that stand one below the other: copied where they are few."""
    flat = tuple(part.gather() if isinstance(part, Picked) else part for part in parts)
    found = Picked(parts=flat, index_N=index_N)
    return found.gather() if found.nbytes <= COPIED else found


def chunks(matrix: Matrix) -> Iterator[torch.Tensor | Packed]:
    """The rows in order, a few at a time, as they are stored."""
    for first in range(0, len(matrix), _CHUNK):
        part = slice(first, first + _CHUNK)
        if isinstance(matrix, Picked):
            yield matrix.gather(matrix.index_N[part])
        elif isinstance(matrix, Packed):
            yield Packed(codes_NB=matrix.codes_NB[part], scale_N=matrix.scale_N[part])
        else:
            yield matrix[part]


def on_device(matrix: Matrix, device: torch.device, dtype: torch.dtype) -> Matrix:
    """On another device, whole numbers in `dtype`; where it is already, as it is."""
    if matrix.device == device:
        return matrix
    if isinstance(matrix, Picked):
        matrix = matrix.gather()
    if isinstance(matrix, Packed):
        return matrix.to(device)
    return matrix.to(device=device, dtype=dtype)
