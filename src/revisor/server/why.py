"""Why did it say that? The facts behind the latest answers, by the answer's id.

All answers are remembered for a while in memory; a share of them is also written to a file, a JSON
object a line, by a thread of its own: a full disk costs lines, never an answer. Prompts and answers
are not kept: a log of facts used shall not become a log of conversations.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from revisor.errors import NotFound, RevisorError
from revisor.server.roles import Caller, Role

log = logging.getLogger(__name__)

REMEMBERED = 2_000
FILE_BYTES = 16 << 20
BACKLOG = 10_000  # lines that wait for the disk; more are lost

Gone = Callable[[Collection[str]], Collection[str]]


class HitLog:
    """The latest answers and the facts used in them. Close it.

    Args:
        file: where a share of them is written.
        share: 0 for none, 1 for all.
        gone: those of some fact ids that the ledger does not know, because they were purged.
    """

    def __init__(self, file: Path, share: float, gone: Gone) -> None:
        self._file, self._share, self._gone = file, share, gone
        self._lock = threading.Lock()  # over what is in memory
        self._writing = threading.Lock()  # over the file
        self._latest: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(BACKLOG)
        self._writer = threading.Thread(target=self._write_all, name="revisor-hits", daemon=True)
        self.lost = 0
        """Lines that could not be written."""
        if share > 0:
            self._writer.start()

    def close(self) -> None:
        """Write what waits."""
        if self._writer.is_alive():
            self._lines.put(None)
            self._writer.join(5)

    def add(self, entry: dict[str, Any]) -> None:
        """Remember an answer; `entry` has `id`, `key` and `facts_used`."""
        with self._lock:
            self._latest[entry["id"]] = entry
            while len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
        if self._share > 0 and random.random() < self._share:
            try:
                self._lines.put_nowait(entry)
            except queue.Full:
                self.lost += 1

    def get(self, answer_id: str, caller: Caller) -> dict[str, Any]:
        """What was used in an answer: the caller's own, or anybody's for an admin of all.

        Raises:
            NotFound: it is not remembered, or not the caller's.
        """
        with self._lock:
            found = self._latest.get(answer_id)
        is_admin = caller.role >= Role.admin and caller.namespaces is None
        if found is None or not (found["key"] == caller.name or is_admin) or self._is_gone(found):
            raise NotFound(f"No answer '{answer_id}' is remembered.", f"The last {REMEMBERED} are.")
        return found

    def forget_purged(self) -> None:
        """Leave no entry, in memory or in the files, that tells of a fact that was purged."""
        with self._lock:
            entries = list(self._latest.values())
        gone = self._gone({used["id"] for one in entries for used in one["facts_used"]})
        with self._lock:
            for one in entries:
                if any(used["id"] in gone for used in one["facts_used"]):
                    self._latest.pop(one["id"], None)
        with self._writing:
            for file in (self._file, self._older):
                self._clean(file)

    @property
    def _older(self) -> Path:
        return self._file.with_suffix(".1.jsonl")

    def _clean(self, file: Path) -> None:
        if not file.exists():
            return
        ids = {used["id"] for entry in _entries(file) for used in entry["facts_used"]}
        gone = self._gone(ids)
        if not gone:
            return
        scratch = file.with_suffix(".new")
        with scratch.open("w", encoding="utf-8") as stream:
            for entry in _entries(file):
                if not any(used["id"] in gone for used in entry["facts_used"]):
                    stream.write(_line(entry))
        os.replace(scratch, file)

    def _is_gone(self, entry: dict[str, Any]) -> bool:
        return bool(self._gone({used["id"] for used in entry["facts_used"]}))

    def _write_all(self) -> None:
        while (entry := self._lines.get()) is not None:
            try:
                with self._writing:
                    self._write(entry)
            except (OSError, RevisorError) as error:
                self.lost += 1
                if self.lost & (self.lost - 1) == 0:  # 1, 2, 4 ...: the log shall not fill up, too
                    log.warning("%d lines of the hit log are lost: %s", self.lost, error)

    def _write(self, entry: dict[str, Any]) -> None:
        # An answer may outlast the purge of a fact that it used.
        if self._is_gone(entry):
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.exists() and self._file.stat().st_size > FILE_BYTES:
            self._file.replace(self._older)
        size = self._file.stat().st_size if self._file.exists() else 0
        try:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(_line(entry))
        except OSError:
            with suppress(OSError):
                os.truncate(self._file, size)  # half a line is none
            raise


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file; a line that a full disk cut short is left out."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and isinstance(found.get("facts_used"), list):
                yield found
