"""Numbered records out of one file: JSON, JSON Lines, CSV, TSV or Parquet.

What comes in: a path; the suffix says the format, and text formats may be gzipped. What goes
out: a stream of `(line, record)` pairs and, in between, a `Fault` for each line that is no
record. Memory is bounded: a line (or one element of a JSON array) longer than `LINE_LIMIT`
bytes is never held whole. What it does not do: know what a fact is (forms.py does).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from revisor.errors import BadInput, Fault, NotFound

LINE_LIMIT = 1_000_000
_CHUNK = 1 << 16
_BATCH_ROWS = 1_000
_BOM = codecs.BOM_UTF8
_NO_BLANK = re.compile(r"\S")
_DECODER = json.JSONDecoder()

Record = dict[str, Any]
Item = tuple[int, Record] | Fault


def read_records(path: str | Path) -> Iterator[Item]:
    """The records of `path` in file order, each with its 1-based line (Parquet: row) number.

    A JSON file may be an array, one object, or an object a line, whatever its suffix. In an
    array nothing can be read past a broken element, and the fault says so; every other format
    goes on with the next line. A table cell that is empty, and a null, is an absent key.

    Raises:
        NotFound: there is no such file.
        BadInput: a folder, an unknown suffix, or a file that cannot be read at all.
    """
    path = Path(path)
    return _guarded(path, _READERS[file_format(path)](path))


def file_format(path: Path) -> str:
    """The format that the suffix of an existing file names: `json`, `csv`, `tsv` or `parquet`.

    Raises:
        NotFound, BadInput: as `read_records`.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder, not a fact file.", "Name one file in it.")
    if not path.exists():
        raise NotFound(f"There is no file {path}.", "Check the path and the working folder.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    suffix = (suffixes[:-1] if zipped else suffixes)[-1:]
    known = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "tsv"}
    if not zipped:
        known[".parquet"] = "parquet"
    if not suffix or suffix[0] not in known:
        raise BadInput(
            f"{path.name} has no suffix of a fact file.",
            "Known are .jsonl, .json, .csv and .tsv (each also with .gz) and .parquet.",
        )
    return known[suffix[0]]


def _guarded(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """`items`, with damaged gzip data told as a fault and an unreadable file as `BadInput`."""
    line = 0
    try:
        for item in items:
            line = item.line if isinstance(item, Fault) else item[0]
            yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fault = f"the gzip data is damaged here: {error}"
        yield Fault(line=line + 1, fault=fault, remedy="fetch or pack the file again")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Check its permissions."
        ) from error


def _open(path: Path) -> IO[bytes]:
    zipped = path.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, str] | Fault]:
    """Lines of text with their ends, one `Fault` for each that is too long or not UTF-8."""
    line = offset = 0
    while raw := stream.readline(LINE_LIMIT + 2):
        line += 1
        start, offset = offset, offset + len(raw)
        if len(raw.rstrip(b"\r\n")) > LINE_LIMIT:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(_CHUNK)
                offset += len(raw)
            yield Fault(
                line=line,
                fault=f"the line has {offset - start:,} bytes, the limit is {LINE_LIMIT:,}",
                remedy="write one record a line",
            )
            continue
        if line == 1 and raw.startswith(_BOM):
            raw = raw.removeprefix(_BOM)
            start += len(_BOM)
        try:
            yield line, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            yield _not_utf8(line, raw[error.start], start + error.start)


def _not_utf8(line: int, byte: int, offset: int) -> Fault:
    fault = f"not UTF-8: byte 0x{byte:02x} at offset {offset:,} of the file"
    return Fault(line=line, fault=fault, remedy="save the file as UTF-8")


def _json(path: Path) -> Iterator[Item]:
    with _open(path) as stream:
        head = stream.read(LINE_LIMIT + 1)
    body = head.removeprefix(_BOM).lstrip()
    if body.startswith(b"["):
        with _open(path) as stream:
            yield from _json_array(stream)
        return
    whole = _parsed(body) if len(head) <= LINE_LIMIT else None
    if isinstance(whole, dict):
        yield 1 + head[: len(head) - len(body)].count(b"\n"), whole
        return
    with _open(path) as stream:
        yield from _json_lines(stream)


def _parsed(body: bytes) -> object:
    """The JSON value that `body` is as a whole, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _json_lines(stream: IO[bytes]) -> Iterator[Item]:
    for item in _lines(stream):
        if isinstance(item, Fault):
            yield item
            continue
        line, text = item
        if not (text := text.strip()):
            continue
        try:
            yield _as_record(line, json.loads(text))
        except (ValueError, RecursionError) as error:
            yield _not_json(line, error, "write one JSON object a line")


def _as_record(line: int, value: object) -> Item:
    if isinstance(value, dict):
        return line, value
    fault = f"a JSON {type(value).__name__} where an object was expected"
    return Fault(line=line, fault=fault, remedy='write {"subject": ..., "prompt": ..., ...}')


def _not_json(line: int, error: ValueError | RecursionError, remedy: str) -> Fault:
    if isinstance(error, json.JSONDecodeError):
        # The decoder counts lines inside the text it was given; the file's number is `line`.
        why = f"{error.msg} at character {error.pos + 1}"
    else:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return Fault(line=line, fault=f"not JSON: {why}", remedy=remedy)


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
        chunk = self._stream.read(_CHUNK)
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
        return _not_utf8(self.line, error.object[error.start], offset)


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
                yield Fault(line=text.line, fault=fault, remedy=remedy)
                return
            line = text.line
            yield _as_record(line, text.value())
            if text.peek() == ",":
                text.skip()
            elif text.peek() not in ("]", ""):
                yield Fault(line=text.line, fault="no comma after this element", remedy=remedy)
                return
        text.skip()
        if text.peek():
            yield Fault(line=text.line, fault="text after the end of the array", remedy=remedy)
    except UnicodeDecodeError as error:
        yield text.where(error)
    except (ValueError, RecursionError) as error:
        # A place inside the window says nothing to the user: the element's line does.
        why = error.msg if isinstance(error, json.JSONDecodeError) else "too long or too deep"
        yield Fault(
            line=line, fault=f"not JSON in the element that starts here: {why}", remedy=remedy
        )


def _table(path: Path, delimiter: str) -> Iterator[Item]:
    faults: list[Fault] = []
    first = 0

    def texts(stream: IO[bytes]) -> Iterator[str]:
        nonlocal first
        for item in _lines(stream):
            if isinstance(item, Fault):
                faults.append(item)
            else:
                first = first or item[0]
                yield item[1]

    with _open(path) as stream:
        rows = csv.reader(texts(stream), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            cells: list[str] | None = None
            first = 0
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                fault = f"not a table row: {error}"
                faults.append(Fault(line=first, fault=fault, remedy="check the quotes"))
            finally:
                yield from faults
                faults.clear()
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if fault := _header_fault(header, "header"):
                    yield Fault(line=first, fault=fault, remedy="name the columns in line 1")
                    return
            elif len(cells) != len(header):
                fault = f"{len(cells)} cells in the row, {len(header)} in the header"
                yield Fault(line=first, fault=fault, remedy="quote a cell that holds a separator")
            else:
                yield first, {key: cell for key, cell in zip(header, cells, strict=True) if cell}


def _header_fault(names: list[str], what: str) -> str:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        return f"the {what} names {repeated[0]!r} twice"
    if "subject" not in names and "requested_rewrite" not in names:
        return f"no column 'subject' in the {what}: {', '.join(names[:20])}"
    return ""


def _parquet(path: Path) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as table:
            if fault := _header_fault(table.schema_arrow.names, "schema"):
                yield Fault(line=0, fault=fault, remedy="name the columns like the keys of a fact")
                return
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for index in range(batch.num_rows):
                    row += 1
                    try:
                        (record,) = batch.slice(index, 1).to_pylist()
                    except UnicodeDecodeError as error:
                        yield _not_utf8(row, error.object[error.start], error.start)
                        continue
                    yield row, {key: value for key, value in record.items() if value is not None}
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        fault = f"not a Parquet file, or a damaged one: {reason}"
        yield Fault(line=row + 1 if row else 0, fault=fault, remedy="write the file again")


_READERS: dict[str, Callable[[Path], Iterator[Item]]] = {
    "json": _json,
    "csv": lambda path: _table(path, ","),
    "tsv": lambda path: _table(path, "\t"),
    "parquet": _parquet,
}
