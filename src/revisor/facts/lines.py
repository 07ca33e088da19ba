"""Facts as the lines of a fact file, which load.py reads again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from revisor.facts.fact import Fact
from revisor.facts.private import writing, written_whole


def fact_line(fact: Fact) -> dict[str, Any]:
    """A fact as the line of a fact file; what is not set is left out."""
    fields = asdict(fact)
    first = {key: fields.pop(key) for key in ("id", "subject", "prompt", "object")}
    if fields["namespace"] == "default":
        del fields["namespace"]
    return first | {key: value for key, value in fields.items() if value}


def write_facts(facts: Iterable[Fact], file: Path) -> int:
    """Write facts as JSONL; returns how many."""
    count, hint = 0, "Name a file in a folder that is there."
    with writing(f"Cannot write {file}", hint), written_whole(file) as stream:
        for fact in facts:
            line = json.dumps(fact_line(fact), ensure_ascii=False) + "\n"
            stream.write(line.encode())
            count += 1
    return count
