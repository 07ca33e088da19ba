"""Writing a safetensors file piece by piece: what it holds need not fit into memory.

The format: 8 bytes with the length of a JSON header, the header (dtype, shape and place of each
tensor), then the tensors' bytes, little endian, in rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

_NAMES = {
    torch.float32: "F32",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNED = 8  # the header is padded, so that every number lies where a processor wants it


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor that is to be written.

    Attributes:
        dtype, shape: of the whole.
        parts: its rows in order; used up by writing.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Iterable[torch.Tensor]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Stored:
        """A tensor that is in memory."""
        return cls(dtype=tensor.dtype, shape=tuple(tensor.shape), parts=(tensor,))

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return prod(self.shape) * self.dtype.itemsize


def write_tensors(
    path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Raises:
        ValueError: the parts of a tensor are not what its shape says.
    """
    # Wide numbers first: then all of them are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    first = 0
    for name in order:
        one = tensors[name]
        end = first + one.nbytes
        header[name] = {
            "dtype": _NAMES[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [first, end],
        }
        first = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name in order:
            one, begun = tensors[name], stream.tell()
            for part in one.parts:
                stream.write(part.to(one.dtype).contiguous().numpy().tobytes())
            if stream.tell() - begun != one.nbytes:
                raise ValueError(f"the parts of {name} do not make up {one.shape}")
