"""Tables as numbered records: CSV and TSV as people and Excel write them, and Parquet.

Names of columns are read in any case, with spaces for underscores; columns and rows without content
are left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from revisor.errors import Fault
from revisor.facts.textfile import not_utf8, open_text, text_lines

Record = dict[str, Any]
Item = tuple[int, Record] | Fault

_BATCH_ROWS = 1_000
_SEPARATORS = (",", ";", "\t")
_SEP_LINE = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)
_SUBJECTS = frozenset(("subject", "requested_rewrite"))
_PROMPTS = frozenset(("prompt", "template", "src", "requested_rewrite"))
_OBJECTS = frozenset(("object", "target_new", "target", "attribute", "alt", "requested_rewrite"))
_NEEDED = {"subject": _SUBJECTS, "prompt": _PROMPTS, "object": _OBJECTS}
_NO_NAME = re.compile(r"[\s_-]+")
_HEADER_REMEDY = (
    "name the columns in line 1, as in: subject,prompt,object; a semicolon or a tab may separate"
)


def read_table(path: Path, encoding: str, separator: str) -> Iterator[Item]:
    """The rows of a text file.

    Args:
        separator: the usual one; another one is found by the header.
    """
    separator, skipped = _layout(path, encoding, separator)
    faults: list[Fault] = []
    first = 0

    def texts(stream: IO[bytes]) -> Iterator[str]:
        nonlocal first
        for item in text_lines(stream):
            if isinstance(item, Fault):
                faults.append(item)
            elif item[0] > skipped:
                first = first or item[0]
                yield item[1]

    with open_text(path, encoding) as stream:
        rows = csv.reader(texts(stream), delimiter=separator, strict=True)
        header: list[str] | None = None
        while True:
            cells: list[str] | None = None
            first = 0
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                faults.append(Fault(f"not a table row: {error}", "check the quotes", line=first))
            finally:
                yield from faults
                faults.clear()
            if not cells or not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _trimmed(_column_names(cells), 0)
                if fault := _header_fault(header, "header"):
                    yield Fault(fault, _HEADER_REMEDY, line=first)
                    return
                continue
            cells = _trimmed(cells, len(header))
            if len(cells) != len(header):
                fault = f"{len(cells)} cells in the row, {len(header)} in the header"
                yield Fault(fault, "quote a cell that holds a separator", line=first)
                continue
            pairs = zip(header, cells, strict=True)
            yield first, {key: cell for key, cell in pairs if key and cell}


def _layout(path: Path, encoding: str, usual: str) -> tuple[str, int]:
    """The separator of a table, and how many lines at its beginning only name that.

    Excel writes semicolons where a comma is the decimal sign, and some tools begin with `sep=;`.
    """
    with open_text(path, encoding) as stream:
        for item in text_lines(stream):
            if isinstance(item, Fault):
                break
            line, text = item
            if found := _SEP_LINE.fullmatch(text.rstrip("\r\n")):
                return found[1], line
            if not text.strip(" ,;\t\r\n"):
                continue
            for separator in (usual, *_SEPARATORS):
                try:
                    names = _column_names(next(csv.reader([text], delimiter=separator)))
                except csv.Error:
                    continue
                if not _SUBJECTS.isdisjoint(names):
                    return separator, 0
            break
    return usual, 0


def _column_names(cells: Iterable[str]) -> list[str]:
    """Names of columns as they are meant: `Valid From` is `valid_from`."""
    return [_NO_NAME.sub("_", cell.strip().casefold()) for cell in cells]


def _trimmed(cells: list[str], length: int) -> list[str]:
    """The cells without empty ones at the end, down to a length."""
    while len(cells) > length and not cells[-1].strip():
        cells.pop()
    return cells


def _header_fault(names: list[str], what: str) -> str:
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        return f"the {what} names {repeated[0]!r} twice"
    # Rows whose answer must stay have no object.
    needed = {"subject": _SUBJECTS} if "role" in names else _NEEDED
    for column, known in needed.items():
        if known.isdisjoint(names):
            return f"no column {column!r} in the {what}: {', '.join(names[:20])}"
    return ""


def read_parquet(path: Path) -> Iterator[Item]:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as table:
            names = _column_names(table.schema_arrow.names)
            if fault := _header_fault(names, "schema"):
                yield Fault(fault, "name the columns like the keys of a fact")
                return
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                batch = batch.rename_columns(names)
                for index in range(batch.num_rows):
                    row += 1
                    try:
                        (record,) = batch.slice(index, 1).to_pylist()
                    except UnicodeDecodeError as error:
                        yield not_utf8(row, error.object[error.start], error.start)
                        continue
                    except (OverflowError, ValueError, KeyError) as error:
                        # A date that Python has not, or a zone that this machine has not.
                        fault = f"a value of the row cannot be read: {error}"
                        yield Fault(line=row, fault=fault, remedy="write times as text")
                        continue
                    yield row, {key: value for key, value in record.items() if value is not None}
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        fault = f"not a Parquet file, or a damaged one: {reason}"
        yield Fault(fault, "write the file again", line=row + 1 if row else 0)
