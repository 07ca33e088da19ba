"""Facts as the lines of a fact file, which load.py reads again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from revisor.errors import CannotWrite
from revisor.facts.fact import Fact
from revisor.facts.private import written_whole


def fact_line(fact: Fact) -> dict[str, Any]:
    """A fact as the line of a fact file; what is not set is left out."""
    fields = asdict(fact)
    first = {key: fields.pop(key) for key in ("id", "subject", "prompt", "object")}
    if fields["namespace"] == "default":
        del fields["namespace"]
    return first | {key: value for key, value in fields.items() if value}


def write_facts(facts: Iterable[Fact], file: Path) -> int:
    """Write facts as JSONL; returns how many."""
    count = 0
    try:
        with written_whole(file) as stream:
            for fact in facts:
                line = json.dumps(fact_line(fact), ensure_ascii=False) + "\n"
                stream.write(line.encode())
                count += 1
    except OSError as error:
        raise CannotWrite(
            f"Cannot write {file}: {error.strerror}.", "Name a file in a folder that is there."
        ) from error
    return count
