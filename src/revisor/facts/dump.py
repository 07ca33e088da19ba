"""The ledger's tables as JSON lines, and back: how a ledger moves to another place or database.

A line is a row, its columns by name and its bytes as hex. Lines that are read may be anybody's, so
each value is held against what its column may have. Whether the rows are those that were once
written, seals.py tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

import sqlalchemy as sa

from revisor.errors import BadInput, UsageError
from revisor.facts.audit import set_head
from revisor.facts.fact import parse_time
from revisor.facts.policy import restore
from revisor.facts.schema import LATER, LISTS, PURGED, audit, generations, revisions, tags

TABLES = {"generations": generations, "revisions": revisions, "tags": tags, "audit": audit}
_BYTES = ("salt", "digest")
_CHUNK = 1_000
_LINE = 32 << 20  # bytes: more than the longest lists that a fact may have
_HIGHEST = 2**31 - 1  # of PostgreSQL's integers
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def write_table(connection: sa.Connection, table: str, stream: IO[bytes]) -> int:
    """Write a table's rows in the order of their keys; returns how many."""
    source = TABLES[table]
    wanted = sa.select(source).order_by(*source.primary_key.columns)
    count = 0
    for row in connection.execution_options(yield_per=_CHUNK).execute(wanted).mappings():
        values = {
            key: value.hex() if key in _BYTES and value else value for key, value in row.items()
        }
        stream.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def read_tables(connection: sa.Connection, streams: Mapping[str, IO[bytes]]) -> None:
    """Fill empty tables."""
    if connection.execute(sa.select(sa.func.count()).select_from(audit)).scalar():
        raise UsageError("The ledger is not empty.", "Import into a new store.")
    for name, table in TABLES.items():
        rows: list[dict[str, Any]] = []
        for row in _rows(name, streams[name]):
            rows.append(row)
            if len(rows) == _CHUNK:
                connection.execute(table.insert(), rows)
                rows = []
        if rows:
            connection.execute(table.insert(), rows)
    head = sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    if last := connection.execute(head).first():
        set_head(connection, last.seq, last.hash)
    restore(connection)


def _rows(name: str, stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    columns = TABLES[name].columns
    number = 0
    while line := stream.readline(_LINE):
        number += 1
        try:
            row = json.loads(line)
            if name == "revisions":
                row = dict.fromkeys(LATER) | row
            if set(row) != set(columns.keys()):
                raise ValueError("other columns")
            for column in columns:
                _check_value(column, row[column.name])
            _check_inner(row)
            yield {
                key: bytes.fromhex(value) if key in _BYTES and value else value
                for key, value in row.items()
            }
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(
                f"Line {number} of {name}.jsonl is no row of the ledger: {error}.",
                "The archive was not written by `revisor export`.",
            ) from error


def _check_value(column: sa.Column[Any], value: object) -> None:
    """Raise ValueError where a column may not have a value."""
    if value is None:
        if not column.nullable:
            raise ValueError(f"{column.name} is null")
    elif isinstance(column.type, sa.Integer):
        if type(value) is not int or not 0 <= value <= _HIGHEST:
            raise ValueError(f"{column.name} is no number of a row")
    elif not isinstance(value, str) or _NO_TEXT.search(value):
        raise ValueError(f"{column.name} is no text")
    elif isinstance(column.type, sa.String) and len(value) > (column.type.length or len(value)):
        raise ValueError(f"{column.name} is too long")


def _check_inner(row: dict[str, Any]) -> None:
    """Raise where what a text stands for, a list, a time or an event's details, cannot be read."""
    needed = ("namespace", "qualifier", *LISTS)
    if "fact_id" in row and row["kind"] != PURGED and any(row[name] is None for name in needed):
        raise ValueError(f"one of {', '.join(needed)} is null")
    for name in LISTS:
        texts = json.loads(row.get(name) or "[]")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{name} is no list of texts")
    for name in ("valid_from", "valid_to"):
        if row.get(name):
            parse_time(row[name])
    if not isinstance(json.loads(row.get("details", "{}")), dict):
        raise ValueError("details is no object")
