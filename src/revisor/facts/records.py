"""Numbered records out of one file: JSON, JSON Lines, CSV, TSV or Parquet.

The suffix says the format, and text formats may be gzipped. Text is UTF-8, or UTF-16 with or
without its mark; tables may be as Excel writes them (separators, a `sep=` line, Windows-1252,
columns and rows without content). Memory is bounded: a line (or one element of a JSON array)
longer than `LINE_LIMIT` bytes is never held whole. What a fact is, forms.py knows.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from revisor.errors import BadInput, Fault, NotFound
from revisor.facts.tables import Item, Record, read_parquet, read_table
from revisor.facts.textfile import (
    BOM,
    CHUNK,
    LINE_LIMIT,
    file_encoding,
    not_utf8,
    open_text,
    text_lines,
)

__all__ = ["LINE_LIMIT", "Item", "Number", "Record", "file_format", "read_records"]

_NO_BLANK = re.compile(r"\S")


class Number(float):
    """A number of a JSON file that knows how the file writes it: 1249.00 is not 1249.0."""

    def __init__(self, literal: str) -> None:
        self.literal = literal


class _Twice(dict[str, Any]):
    """An object of a JSON file that gives a key two values."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key's two values a dictionary keeps the last, and nobody would hear of the first."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    first: dict[str, Any] = {}
    for key, value in pairs:
        if key in first and first[key] != value:
            told = _Twice(made)
            told.key = key
            return told
        first[key] = value
    return made


_DECODER = json.JSONDecoder(parse_float=Number, object_pairs_hook=_object)


def read_records(path: str | Path, encoding: str | None = None) -> Iterator[Item]:
    """The records of `path` in file order, each with its 1-based line (Parquet: row) number.

    A JSON file may be an array, one object, or an object a line, whatever its suffix. In an
    array nothing can be read past a broken element, and the fault says so; every other format
    goes on with the next line. A table cell that is empty, and a null, is an absent key. Names of
    columns are read in any case, with spaces for underscores.

    Args:
        encoding: the file's, as `file_encoding` finds it by default.
    """
    path = Path(path)
    kind = file_format(path)
    if kind == "parquet":
        return _guarded(path, read_parquet(path))
    encoding = encoding or file_encoding(path, table=kind != "json")
    if kind == "json":
        return _guarded(path, _json(path, encoding))
    return _guarded(path, read_table(path, encoding, "," if kind == "csv" else "\t"))


def file_format(path: Path) -> str:
    """The format that the suffix of an existing file names: `json`, `csv`, `tsv` or `parquet`."""
    _must_be_file(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    suffix = (suffixes[:-1] if zipped else suffixes)[-1:]
    known = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "tsv"}
    if not zipped:
        known[".parquet"] = "parquet"
    if not suffix or suffix[0] not in known:
        raise BadInput(
            f"{path.name} has no suffix of a fact file.",
            "Known are .jsonl, .json, .csv and .tsv (each also with .gz) and .parquet; save a "
            "spreadsheet as CSV.",
        )
    return known[suffix[0]]


def _must_be_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(
            f"There is no file {path}.", "Check the path and the working folder."
        ) from error
    except OSError as error:  # links that lead in a circle, a name that is too long
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if stat.S_ISDIR(mode):
        raise BadInput(f"{path} is a folder, not a fact file.", "Name one file in it.")
    if not stat.S_ISREG(mode):
        raise BadInput(
            f"{path} is a pipe or a device, and a fact file is read more than once.",
            "Save what it gives as a file first.",
        )


def _guarded(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """`items`, with damaged gzip data told as a fault and an unreadable file as `BadInput`."""
    line = 0
    try:
        for item in items:
            line = item.line if isinstance(item, Fault) else item[0]
            yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fault = f"the gzip data is damaged here: {error}"
        yield Fault(fault, "fetch or pack the file again", line=line + 1)
    except UnicodeDecodeError as error:
        fault = f"not {error.encoding.upper()}: the file is cut short or damaged about here"
        yield Fault(fault, "save the file as UTF-8", line=line + 1)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error


def _json(path: Path, encoding: str) -> Iterator[Item]:
    with open_text(path, encoding) as stream:
        head = stream.read(LINE_LIMIT + 1)
    body = head.removeprefix(BOM).lstrip()
    if body.startswith(b"["):
        with open_text(path, encoding) as stream:
            yield from _json_array(stream)
        return
    whole = None
    if len(head) <= LINE_LIMIT:
        with suppress(ValueError, RecursionError):
            whole = _DECODER.decode(body.decode())
    if isinstance(whole, dict):
        yield _as_record(1 + head[: len(head) - len(body)].count(b"\n"), whole)
        return
    with open_text(path, encoding) as stream:
        yield from _json_lines(stream)


def _json_lines(stream: IO[bytes]) -> Iterator[Item]:
    for item in text_lines(stream):
        if isinstance(item, Fault):
            yield item
            continue
        line, text = item
        if not (text := text.strip()):
            continue
        try:
            yield _as_record(line, _DECODER.decode(text))
        except (ValueError, RecursionError) as error:
            yield _not_json(line, error, "write one JSON object a line")


def _as_record(line: int, value: object) -> Item:
    if isinstance(value, _Twice):
        fault = f"the key {value.key[:60]!r} stands twice, with different values"
        return Fault(line=line, fault=fault, remedy="keep one of them")
    if isinstance(value, dict):
        return line, value
    kind = "null" if value is None else type(value).__name__.lower()
    fault = f"a JSON {kind} where an object was expected"
    return Fault(fault, 'write {"subject": ..., "prompt": ..., ...}', line=line)


def _not_json(line: int, error: ValueError | RecursionError, remedy: str) -> Fault:
    if isinstance(error, json.JSONDecodeError):
        # The decoder counts lines inside the text it was given; the file's number is `line`.
        why = f"{error.msg} at character {error.pos + 1}"
    else:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Fault(f"not JSON: {why}", remedy, line=line)


class _JsonText:
    """A window over a JSON text that grows as values need it and forgets what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._offset = 0
        self.line = 1

    def _fill(self) -> bool:
        chunk = self._stream.read(CHUNK)
        self._offset += len(chunk)
        self._text = self._text[self._at :] + self._decode(chunk, final=not chunk)
        self._at = 0
        return bool(chunk)

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def peek(self) -> str:
        """The next character that is no white space, or "" at the end."""
        while True:
            found = _NO_BLANK.search(self._text, self._at)
            self._move(found.start() if found else len(self._text))
            if self._at < len(self._text) or not self._fill():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        self._at += 1

    def value(self) -> object:
        """The JSON value that starts here. Raises ValueError or RecursionError."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                if len(self._text) - self._at > LINE_LIMIT or not self._fill():
                    raise
            else:
                # A number cut by the window's edge looks complete: ask for one more chunk.
                if end < len(self._text) or not self._fill():
                    self._move(min(end, len(self._text)))
                    return value

    def where(self, error: UnicodeDecodeError) -> Fault:
        offset = self._offset - len(error.object) + error.start
        return not_utf8(self.line, error.object[error.start], offset)


def _json_array(stream: IO[bytes]) -> Iterator[Item]:
    text = _JsonText(stream)
    remedy = "mend it and read the file again: nothing after this place was read"
    line = 1
    try:
        text.peek()
        text.skip()
        while (char := text.peek()) != "]":
            if char in ("", ","):
                fault = "the JSON array is cut short" if not char else "a comma without a value"
                yield Fault(fault, remedy, line=text.line)
                return
            line = text.line
            yield _as_record(line, text.value())
            if text.peek() == ",":
                text.skip()
            elif text.peek() not in ("]", ""):
                yield Fault("no comma after this element", remedy, line=text.line)
                return
        text.skip()
        if text.peek():
            yield Fault("text after the end of the array", remedy, line=text.line)
    except UnicodeDecodeError as error:
        yield text.where(error)
    except (ValueError, RecursionError) as error:
        # A place inside the window says nothing to the user: the element's line does.
        why = error.msg if isinstance(error, json.JSONDecodeError) else "too long or too deep"
        yield Fault(f"not JSON in the element that starts here: {why}", remedy, line=line)
