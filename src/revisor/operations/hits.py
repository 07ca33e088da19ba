"""What a server's hit log tells of erased facts, taken out of it.

A line is blanked where it stands: a server that adds lines meanwhile loses none, and a process that
is killed leaves no copy of the file behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from revisor.facts.private import writing
from revisor.gate.trace import ids_told

Known = Callable[[int, Collection[str]], Collection[str]]
"""Given a generation and ids, those of them that were live at it and were not erased since."""


def tells_of_erased(entries: Iterable[Mapping[str, Any]], known: Known) -> list[bool]:
    """For each entry of a hit log whether one of its facts was erased after it was used."""
    used: dict[int, set[str]] = {}
    told = [(int(one["generation"]), ids_told(one)) for one in entries]
    for generation, ids in told:
        used.setdefault(generation, set()).update(ids)
    left = {number: set(known(number, ids)) for number, ids in used.items() if ids}
    return [not ids <= left.get(generation, set()) for generation, ids in told]


def blank_erased(file: Path, known: Known) -> None:
    """Blank the lines of a hit log that tell of erased facts, and those that nobody can read."""
    hint = "It may still tell of facts that were erased. Make it writable and run: revisor gc"
    with (
        writing(f"{file} cannot be written", hint),
        suppress(FileNotFoundError),  # its server has just begun another one
        file.open("r+b") as stream,
    ):
        places: list[tuple[int, int]] = []  # where a line begins, and its bytes
        entries: list[Mapping[str, Any]] = []
        gone: list[tuple[int, int]] = []
        start = 0
        for line in stream:
            place, entry = (start, len(line.rstrip(b"\n"))), _entry(line)
            start += len(line)
            if entry is not None:
                places.append(place)
                entries.append(entry)
            elif line.strip():
                gone.append(place)
        erased = tells_of_erased(entries, known)
        gone += [place for place, one in zip(places, erased, strict=True) if one]
        for begin, size in gone:
            stream.seek(begin)
            stream.write(b" " * size)
        stream.flush()
        os.fsync(stream.fileno())


def _entry(line: bytes) -> Mapping[str, Any] | None:
    """A line's entry; None where a full disk or a crash left half of one."""
    try:
        found = json.loads(line)
        int(found["generation"])
        ids_told(found)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return dict(found)
