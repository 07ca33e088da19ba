"""Builds in the background, each in a process of its own, with its progress.

What comes in: an order to build. What goes out: a `Build` that can be looked at while it runs, and
a call when its generation is on disk. What it does not do: write rows (`revisor build` does), or
decide what goes live.

A process of its own, since a build hooks the model that the server is answering with, and so that
its work takes no time from the interpreter that answers. It has a lower priority, and resumes
where it stopped if the server is killed.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from revisor.errors import Conflict, NotFound

log = logging.getLogger(__name__)

KEPT = 50  # builds that are remembered
NICENESS = 10
LAST_LINES = 20


@dataclass(kw_only=True)
class Build:
    """One build.

    Attributes:
        id: its number since the server started.
        state: running, done, failed or cancelled.
        by, reason: who ordered it.
        publish: whether its generation goes live when it is done.
        title, done, total: of the step that runs.
        report: what `revisor build --json` said.
        fault: why it failed, or was built but not published.
        seconds: since it began, or that it took.
    """

    id: int
    by: str
    publish: bool
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    title: str = "Opening the model"
    done: int = 0
    total: int | None = None
    report: dict[str, Any] | None = None
    fault: str = ""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        return round((self.ended or time.monotonic()) - self.began, 2)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "state": self.state,
            "by": self.by,
            "publish": self.publish,
            "step": self.title,
            "done": self.done,
            "total": self.total,
            "seconds": self.seconds,
            "report": self.report,
            "fault": self.fault,
        }


class Builds:
    """The builds of a server: one at a time.

    Args:
        store: the store's folder.
        on_built: called with a build whose generation is on disk, before it counts as done; what it
            raises becomes the build's fault.
    """

    def __init__(self, store: Path, on_built: Callable[[Build], None]) -> None:
        self._store, self._on_built = store, on_built
        self._builds: dict[int, Build] = {}
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._next = 1

    def start(self, *, by: str, publish: bool) -> Build:
        """Begin a build.

        Raises:
            Conflict: one is running.
        """
        with self._lock:
            running = self.running
            if running is not None:
                raise Conflict(
                    f"The build {running.id} is running.", "Wait for it, or cancel it first."
                )
            build = Build(id=self._next, by=by, publish=publish)
            self._next += 1
            self._builds[build.id] = build
            for old in list(self._builds)[:-KEPT]:
                del self._builds[old]
            self._process = self._spawn()
            self._thread = threading.Thread(
                target=self._attend, args=(build, self._process), name=f"build-{build.id}"
            )
            self._thread.start()
        return build

    @property
    def running(self) -> Build | None:
        """The build that runs."""
        return next((b for b in reversed(self._builds.values()) if b.state == "running"), None)

    def latest(self) -> list[Build]:
        """The builds since the server started, the last one first."""
        return list(reversed(self._builds.values()))

    def get(self, build_id: int) -> Build:
        """One of them.

        Raises:
            NotFound: there is no such build.
        """
        if build_id not in self._builds:
            raise NotFound(f"There is no build {build_id}.", "GET /builds lists them.")
        return self._builds[build_id]

    def cancel(self, build_id: int) -> Build:
        """End a build; what it wrote is taken up by the next one."""
        build = self.get(build_id)
        with self._lock:
            if build.state == "running" and self._process is not None:
                build.state = "cancelled"
                self._process.terminate()
        return build

    def close(self) -> None:
        """End the build that runs, if any, and wait for its thread."""
        running = self.running
        if running is not None:
            self.cancel(running.id)
        if self._thread is not None:
            self._thread.join()

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "revisor.cli", "build", "--json"]
        return subprocess.Popen(
            [*command, "--store", str(self._store)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            preexec_fn=_be_nice if os.name == "posix" else None,
        )

    def _attend(self, build: Build, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stderr:  # standard output is one line: it cannot fill its pipe
            if not _progress(build, line):
                lines = [*lines, line.rstrip()][-LAST_LINES:]
        said = process.stdout.read()
        code = process.wait()
        if build.state == "running":
            self._settle(build, code, said, lines)
        build.ended = time.monotonic()
        log.info("build %d %s after %.1f s %s", build.id, build.state, build.seconds, build.fault)

    def _settle(self, build: Build, code: int, said: str, lines: list[str]) -> None:
        try:
            told = json.loads(said) if said.strip() else {}
        except ValueError:
            told = {}
        if code != 0:
            error = told.get("error", {})
            build.fault = error.get("message") or "\n".join(lines) or f"it ended with code {code}"
            build.state = "failed"
            return
        build.report = told
        try:
            self._on_built(build)
        except Exception as error:
            build.fault = f"It was built, but not published: {error}"
            build.state = "failed"
            return
        build.state = "done"


def _progress(build: Build, line: str) -> bool:
    """Take a line of progress (progress.py writes them); whether it was one."""
    try:
        told = json.loads(line)
    except ValueError:
        return False
    if not isinstance(told, dict) or "progress" not in told:
        return False
    build.title = str(told["progress"])
    build.done = int(told.get("done", 0))
    build.total = told.get("total")
    return True


def _be_nice() -> None:
    os.nice(NICENESS)
