"""The format of a base file: named arrays behind a header, with a checksum over all of it.

A file is `MAGIC`, the length of the header, the header (JSON, padded with spaces) and the arrays,
each aligned. The checksum is the CRC-32 of the header and of the sums of the arrays' blocks: a
file cut short, mixed up or with a flipped bit is found at the speed of the memory.
"""

from __future__ import annotations

import json
import struct
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from revisor.errors import CannotWrite
from revisor.facts.private import make_private, written_whole

MAGIC = b"revisor index 2\n"
NAME = "facts.index"
_PART = ".facts.index-"
_ALIGN = 64
_BLOCK = 512  # 64-bit words whose sum is one word of the checksum
_KINDS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_STALE_S = 3_600


class Unusable(Exception):
    """The bytes are no base file of this format, or are damaged: to be made anew."""


def pack(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """The bytes of a file with unsigned, one-dimensional arrays and `facts`, JSON, in its
    header."""
    places: dict[str, tuple[int, str, int]] = {}
    size = 0
    for name, array in arrays.items():
        places[name] = (size, _KINDS[array.dtype.itemsize], array.size)
        size += -(-array.nbytes // _ALIGN) * _ALIGN
    body = bytearray(size)
    for name, array in arrays.items():
        start = places[name][0]
        body[start : start + array.nbytes] = array.tobytes()
    head = {"facts": dict(facts), "arrays": places, "size": size, "order": sys.byteorder}
    text = json.dumps(head, separators=(",", ":")).encode()
    # Magic, two numbers of four bytes, and the header fill whole lines.
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % _ALIGN)
    check = _checksum(text, memoryview(body))
    numbers = len(text).to_bytes(4, "little") + check.to_bytes(4, "little")
    return b"".join((MAGIC, numbers, text, body))


def unpack(data: memoryview) -> tuple[dict[str, memoryview], dict[str, Any]]:
    """The arrays, which are parts of `data`, and the header's `facts`; or raises Unusable."""
    start = len(MAGIC) + 8
    if bytes(data[: len(MAGIC)]) != MAGIC or len(data) < start:
        raise Unusable("no base file of this format")
    length = int.from_bytes(data[start - 8 : start - 4], "little")
    check = int.from_bytes(data[start - 4 : start], "little")
    text, body = bytes(data[start : start + length]), data[start + length :]
    if len(text) != length or len(body) % _ALIGN or _checksum(text, body) != check:
        raise Unusable("damaged")
    head = json.loads(text)
    if head["order"] != sys.byteorder or head["size"] != len(body):
        raise Unusable("of another machine")
    arrays = {
        name: body[place : place + count * struct.calcsize(kind)].cast(kind)
        for name, (place, kind, count) in head["arrays"].items()
    }
    return arrays, head["facts"]


def narrow(values: np.ndarray) -> np.ndarray:
    """The same numbers in the narrowest unsigned type."""
    most = int(values.max()) if values.size else 0
    return values.astype(np.min_scalar_type(most))


def _checksum(text: bytes, body: memoryview) -> int:
    words = np.frombuffer(body, dtype=np.uint64)
    whole = words.size // _BLOCK * _BLOCK
    sums = words[:whole].reshape(-1, _BLOCK).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(words[whole:].tobytes(), zlib.crc32(sums.tobytes(), zlib.crc32(text)))


def publish(folder: Path, data: bytes) -> None:
    """Put a base file in a folder in one step. Raises OSError where it may not be written."""
    make_private(folder)
    for part in _parts(folder):
        # What a process that was killed left behind.
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()
    with written_whole(folder / NAME, prefix=_PART) as stream:
        stream.write(data)


def contents(folder: Path) -> memoryview:
    """A copy of a folder's base file, since a mapped one that is cut short would end the process,
    or if changed would change the facts; OSError where there is none to read."""
    return memoryview((folder / NAME).read_bytes())


def forget(folder: Path) -> None:
    """Delete a folder's base file, whoever made it, and what a killed process left of one; the next
    index that opens the folder makes it anew. For when facts were erased.

    Raises:
        CannotWrite: it may not be deleted.
    """
    for path in (folder / NAME, *_parts(folder)):
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise CannotWrite(
                f"{path} could not be taken away: {error.strerror}.",
                "Facts that were erased may still be in it. Delete it as its owner.",
            ) from error


def _parts(folder: Path) -> Iterator[Path]:
    return folder.glob(f"{_PART}*") if folder.is_dir() else iter(())
