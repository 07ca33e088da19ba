"""Why did it say that? The facts behind the latest answers, by the answer's id.

What comes in: finished answers. What goes out: what fired in them, for whoever asked them. What it
does not do: keep prompts or answers; a log of hits shall not become a log of conversations.

All answers are remembered for a while in memory; a share of them is also written to a file, a JSON
object a line, which starts anew when it is large.
"""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from revisor.errors import NotFound
from revisor.serve.roles import Caller, Role

REMEMBERED = 2_000
FILE_BYTES = 16 << 20


class HitLog:
    """The latest answers and what fired in them.

    Args:
        file: where a share of them is written.
        share: 0 for none, 1 for all.
    """

    def __init__(self, file: Path, share: float) -> None:
        self._file, self._share = file, share
        self._lock = threading.Lock()
        self._latest: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def add(self, entry: dict[str, Any]) -> None:
        """Remember an answer; `entry` has `id` and `key`."""
        with self._lock:
            self._latest[entry["id"]] = entry
            while len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
            if self._share > 0 and random.random() < self._share:
                self._write(entry)

    def get(self, answer_id: str, caller: Caller) -> dict[str, Any]:
        """What fired in an answer: the caller's own, or anybody's for an admin.

        Raises:
            NotFound: it is not remembered, or not the caller's.
        """
        with self._lock:
            found = self._latest.get(answer_id)
        if found is None or not (found["key"] == caller.name or caller.role >= Role.admin):
            raise NotFound(f"No answer '{answer_id}' is remembered.", f"The last {REMEMBERED} are.")
        return found

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.exists() and self._file.stat().st_size > FILE_BYTES:
            self._file.replace(self._file.with_suffix(".1.jsonl"))
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
