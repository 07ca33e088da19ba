"""The one reporter of long work.

What comes in: a title, a total (if known) and steps done. What goes out, on standard error only:
a bar with rate and time left on a terminal, otherwise one JSON line now and then, so that a log
or a supervising program can follow. What it does not do: logging (the `logging` module does) or
results (the command line prints them on standard output).
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

INTERVAL_S = 2.0  # between JSON lines


class Progress:
    """A context manager around one piece of long work.

    Args:
        title: what is being done, for people.
        total: number of units; None where it is not known.
        unit: name of a unit, such as "facts".
        before: units that were done earlier; they count as done, but not for the rate.
    """

    def __init__(
        self, title: str, total: int | None = None, unit: str = "", before: int = 0
    ) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = before
        self._before = before
        self._start = time.monotonic()
        self._last = self._start
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty():
            self._open_bar()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._report(finished=kind is None)

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units are done."""
        self.done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, rate=self._rate_text())
        elif time.monotonic() - self._last >= INTERVAL_S:
            self._report(finished=False)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Units a second so far."""
        return (self.done - self._before) / max(self.seconds, 1e-9)

    def _rate_text(self) -> str:
        return f"{self.rate:.1f} {self.unit}/s" if self.unit and self.rate > 0 else ""

    def _report(self, *, finished: bool) -> None:
        self._last = time.monotonic()
        line: dict[str, object] = {"progress": self.title, "seconds": round(self.seconds, 1)}
        if self.total is not None:
            line |= {"done": self.done, "total": self.total, "unit": self.unit}
            if self.rate > 0 and not finished:
                line["per_second"] = round(self.rate, 2)
                line["seconds_left"] = round((self.total - self.done) / self.rate, 1)
        line["finished"] = finished
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
        if self.total is not None:
            columns += [BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
            columns += [TimeRemainingColumn()]
        else:
            columns += [TimeElapsedColumn()]
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, rate="")
        self._bar.start()
