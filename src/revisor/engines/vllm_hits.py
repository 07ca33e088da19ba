"""Which facts were used: a file with a JSON object a line, and counters beside it.

A background thread writes both: a slow or full disk costs lines, never an answer. Prompts and
answers are not kept. Several processes may write the same file; each has its own counters.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revisor.errors import RevisorError
from revisor.gate.trace import Used, ids_told

log = logging.getLogger(__name__)

FILE_BYTES = 16 << 20
BACKLOG = 10_000  # lines that wait for the disk; more are lost
FIGURES_S = 1.0  # between two writings of the figures

Gone = Callable[[Collection[str]], Collection[str]]


@dataclass(kw_only=True)
class _Figures:
    started: str
    counts: Counter[str] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    facts: set[str] = field(default_factory=set)

    def told(self) -> dict[str, Any]:
        return {
            "started": self.started,
            "requests": self.counts["requests"],
            "failed": self.counts["failed"],
            "lost": self.counts["lost"],
            "facts_used": sum(self.namespaces.values()),
            "facts_used_distinct": len(self.facts),
            "by_namespace": dict(self.namespaces),
        }


class Hits:
    """The facts used by one process: lines in a file (None: no lines), and counters; `gone` tells
    which fact ids the ledger no longer knows, because they were purged."""

    def __init__(self, file: Path | None, name: str, gone: Gone) -> None:
        self._file, self._name, self._gone = file, name, gone
        self._figures = _Figures(started=_now())
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue(BACKLOG)
        if file is not None:
            threading.Thread(
                target=self._run, args=(file,), name="revisor-hits", daemon=True
            ).start()

    def count(self, name: str) -> None:
        """Count something, such as `requests`."""
        self._figures.counts[name] += 1

    def used(self, used: Used, namespace: str, *, tag: str, generation: int) -> None:
        """Record a fact used; its `position` counts from the prompt's first token, `tag` is the
        request's."""
        figures = self._figures
        figures.namespaces[namespace] += 1
        figures.facts.add(used.fact_id)
        if self._file is None:
            return
        fact = {
            "id": used.fact_id,
            "subject": used.subject,
            "object": used.object,
            "namespace": namespace,
            "score": used.score,
            "threshold": used.threshold,
            "position": used.position,
            "via": list(used.via),
        }
        entry = {"id": tag, "at": _now(), "generation": generation, "facts_used": [fact]}
        try:
            self._lines.put_nowait(entry)
        except queue.Full:
            figures.counts["lost"] += 1

    def told(self) -> dict[str, Any]:
        """The figures as JSON."""
        return self._figures.told()

    def forget_purged(self) -> None:
        """Leave no line in the files that tells of a fact that was purged."""
        if self._file is None:
            return
        with _alone(self._file):
            for file in (older(self._file), self._file):
                self._clean(file)

    def _clean(self, file: Path) -> None:
        entries = list(read_entries(file))
        kept = self._known(entries)
        if len(kept) < len(entries):
            _replace(file, "".join(map(_line, kept)))

    def _known(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = [ids_told(one) for one in entries]
        gone = self._gone(set().union(*told))
        return [one for one, ids in zip(entries, told, strict=True) if not ids.intersection(gone)]

    def _run(self, file: Path) -> None:
        written = ""
        while True:
            lines = self._waiting()
            try:
                if lines:
                    self._append(file, lines)
                told = json.dumps(self.told(), ensure_ascii=False)
                if told != written:
                    _replace(figures_file(file, self._name), told)
                    written = told
            except (OSError, RevisorError) as error:
                lost = self._figures.counts["lost"]
                self._figures.counts["lost"] += len(lines)
                if lines and lost & (lost - 1) == 0:  # 0, 1, 2, 4 ...: logs shall not fill up, too
                    log.warning("revisor: lines of the hit log are lost: %s", error)

    def _waiting(self) -> list[dict[str, Any]]:
        """The lines that wait, or none after `FIGURES_S` seconds."""
        lines = []
        try:
            lines.append(self._lines.get(timeout=FIGURES_S))
            while len(lines) < BACKLOG:
                lines.append(self._lines.get_nowait())
        except queue.Empty:
            pass
        return lines

    def _append(self, file: Path, entries: list[dict[str, Any]]) -> None:
        # An answer may outlast the purge of a fact that it used.
        data = "".join(map(_line, self._known(entries))).encode("utf-8", "replace")
        with _alone(file):
            if file.exists() and file.stat().st_size > FILE_BYTES:
                file.replace(older(file))
            size = file.stat().st_size if file.exists() else 0
            try:
                with file.open("ab") as stream:
                    stream.write(data)
            except OSError:
                if file.exists():
                    os.truncate(file, size)  # half a line is none
                raise


def older(file: Path) -> Path:
    """Where lines go when the file has grown large."""
    return file.with_name(f"{file.name}.1")


def figures_file(file: Path, name: str) -> Path:
    """Where a process writes its figures."""
    return file.with_name(f"{file.name}.{name}.figures")


def read_entries(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file, none where there is none; half a line is left out."""
    if not file.exists():
        return
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and isinstance(found.get("facts_used"), list):
                yield found


def tagged(file: Path, tag: str) -> list[dict[str, Any]]:
    """The entries of the requests with a tag, in the order in which they were written."""
    return [
        entry for one in (older(file), file) for entry in read_entries(one) if entry["id"] == tag
    ]


def all_figures(file: Path) -> dict[str, Any]:
    """The figures of each process that writes a file, by its name."""
    found = {}
    for one in sorted(file.parent.glob(f"{file.name}.*.figures")):
        name = one.name.removeprefix(f"{file.name}.").removesuffix(".figures")
        try:
            found[name] = json.loads(one.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Lock the files against other processes and threads for the length of a block."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(file: Path, text: str) -> None:
    scratch = file.with_name(f"{file.name}.{os.getpid()}.{time.monotonic_ns()}.new")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, file)
    finally:
        scratch.unlink(missing_ok=True)
