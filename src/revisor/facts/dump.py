"""The ledger's tables as JSON lines, and back: how a ledger moves to another place or database.

A line is a row, its columns by name and its bytes as hex."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

import sqlalchemy as sa

from revisor.errors import BadInput, UsageError
from revisor.facts.audit import set_head
from revisor.facts.policy import restore
from revisor.facts.schema import LATER, audit, generations, revisions, tags

TABLES = {"generations": generations, "revisions": revisions, "tags": tags, "audit": audit}
_BYTES = ("salt", "digest")
_CHUNK = 1_000


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
    """Fill empty tables.

    Raises:
        UsageError: the ledger has events already.
        BadInput: a line is no row of its table.
    """
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
    columns = set(TABLES[name].columns.keys())
    for number, line in enumerate(stream, start=1):
        try:
            row = json.loads(line)
            if name == "revisions":
                row = dict.fromkeys(LATER) | row
            if set(row) != columns:
                raise ValueError("other columns")
            yield {
                key: bytes.fromhex(value) if key in _BYTES and value else value
                for key, value in row.items()
            }
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"Line {number} of {name}.jsonl is no row of the ledger: {error}.",
                "The archive was not written by `revisor export`.",
            ) from error
