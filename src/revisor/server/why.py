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
from contextlib import suppress
from pathlib import Path
from typing import Any

from revisor.errors import NotFound, RevisorError
from revisor.facts.private import make_private, private
from revisor.operations.hits import Known, blank_erased, tells_of_erased
from revisor.server.roles import Caller, Role

log = logging.getLogger(__name__)

REMEMBERED = 2_000
FILE_BYTES = 16 << 20
CLOSE_S = 0.5  # that what waits for the disk has when the server stops
BACKLOG = 10_000  # lines that wait for the disk; more are lost


class HitLog:
    """The latest answers and the facts used in them. Close it.

    Args:
        file: where a share of them is written.
        share: 0 for none, 1 for all.
        known: tells which facts were not purged since they were used.
    """

    def __init__(self, file: Path, share: float, known: Known) -> None:
        self._file, self._share, self._known = file, share, known
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
            with suppress(queue.Full):  # the disk does not come after
                self._lines.put(None, timeout=CLOSE_S)
            self._writer.join(CLOSE_S)

    def add(self, entry: dict[str, Any]) -> None:
        """Remember an answer; `entry` has `id`, `key`, `generation` and `facts_used`."""
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
        gone = tells_of_erased(entries, self._known)
        with self._lock:
            for entry, is_gone in zip(entries, gone, strict=True):
                if is_gone:
                    self._latest.pop(entry["id"], None)
        with self._writing:
            for file in (self._file, self._older):
                blank_erased(file, self._known)

    @property
    def _older(self) -> Path:
        return self._file.with_suffix(".1.jsonl")

    def _is_gone(self, entry: dict[str, Any]) -> bool:
        return tells_of_erased([entry], self._known)[0]

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
        make_private(self._file.parent)
        if self._file.exists() and self._file.stat().st_size > FILE_BYTES:
            self._file.replace(self._older)
        size = self._file.stat().st_size if self._file.exists() else 0
        try:
            with open(self._file, "a", encoding="utf-8", opener=private) as stream:
                stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError:
            with suppress(OSError):
                os.truncate(self._file, size)  # half a line is none
            raise
