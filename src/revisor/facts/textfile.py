"""A text file as lines of UTF-8, whatever it is written in: UTF-8, UTF-16, UTF-32, Windows-1252.

Line ends may be those of Unix, Windows or old Macs, and the file may be gzipped. Memory is bounded:
a line longer than `LINE_LIMIT` bytes is never held whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from revisor.errors import Fault

LINE_LIMIT = 1_000_000
CHUNK = 1 << 16
BOM = codecs.BOM_UTF8
WINDOWS = "cp1252"
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8_LETTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)


def file_encoding(path: Path, *, table: bool) -> str:
    """The encoding of a text file, by its first bytes.

    Args:
        table: where it is not UTF-8, it is Windows-1252, which Excel writes.
    """
    try:
        with _unpacked(path) as stream:
            head = stream.read(CHUNK)
        for mark, encoding in _MARKS.items():
            if head.startswith(mark):
                return encoding
        # Text without a mark has no zeros, unless each letter has two bytes.
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            zeros = head[first:200:2]
            if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros):
                return encoding
        return WINDOWS if table and _is_windows(path) else "utf-8"
    except (OSError, EOFError, zlib.error):
        return "utf-8"  # reading the file will say what is wrong


def _is_windows(path: Path) -> bool:
    """Whether bytes beyond ASCII are Windows-1252, and none of them are letters of UTF-8."""
    strays = False
    with _unpacked(path) as stream:
        while raw := stream.readline(LINE_LIMIT):
            if raw.isascii():
                continue
            if _UTF8_LETTER.search(raw):
                return False
            try:
                raw.decode(WINDOWS)
            except UnicodeDecodeError:
                return False
            strays = True
    return strays


def _unpacked(path: Path) -> IO[bytes]:
    zipped = path.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def open_text(path: Path, encoding: str) -> IO[bytes]:
    """The file as UTF-8 whose lines end in a line feed."""
    with _unpacked(path) as stream:
        head = stream.read(CHUNK)
    if encoding != "utf-8":
        head = head.decode(encoding, errors="ignore").encode()
    returns = b"\r" in head and b"\n" not in head  # as in files of old Macs and Excel for Mac
    stream = _unpacked(path)
    if encoding == "utf-8" and not returns:
        return stream
    faults = "surrogateescape" if encoding == "utf-8" else "strict"  # text_lines tells UTF-8's own
    text = io.TextIOWrapper(stream, encoding, faults, newline=None if returns else "")
    return io.BufferedReader(_Encoded(text), CHUNK)


class _Encoded(io.RawIOBase):
    """A text as UTF-8; what was no UTF-8 stays as it was."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ready = self._text.read(len(buffer) // 4).encode(errors="surrogateescape")
        buffer[: len(ready)] = ready
        return len(ready)

    def close(self) -> None:
        self._text.close()
        super().close()


def text_lines(stream: IO[bytes]) -> Iterator[tuple[int, str] | Fault]:
    """Lines of text with their ends, one `Fault` for each that is too long or not UTF-8."""
    line = offset = 0
    while raw := stream.readline(LINE_LIMIT + 2):
        line += 1
        start, offset = offset, offset + len(raw)
        if len(raw.rstrip(b"\r\n")) > LINE_LIMIT:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(CHUNK)
                offset += len(raw)
            yield Fault(
                f"the line has {offset - start:,} bytes, the limit is {LINE_LIMIT:,}",
                "write one record a line",
                line=line,
            )
            continue
        if line == 1 and raw.startswith(BOM):
            raw = raw.removeprefix(BOM)
            start += len(BOM)
        try:
            yield line, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            yield not_utf8(line, raw[error.start], start + error.start)


def not_utf8(line: int, byte: int, offset: int) -> Fault:
    """The fault of a byte that is no UTF-8."""
    fault = f"not UTF-8: byte 0x{byte:02x} at offset {offset:,} of the file"
    return Fault(fault, "save the file as UTF-8", line=line)
