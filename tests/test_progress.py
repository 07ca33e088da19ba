"""Long work reports on standard error: JSON lines, or a bar on a terminal."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from revisor import progress
from revisor.progress import Progress


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was reported; nothing may be on standard output."""
    written = captured.readouterr()
    assert written.out == ""
    return [json.loads(line) for line in written.err.splitlines()]


def test_finished_work_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Counting", total=3, unit="facts") as work:
        work.advance()
        work.advance(2)
    (line,) = lines(capsys)
    assert line.pop("seconds") >= 0
    assert line == {
        "progress": "Counting",
        "done": 3,
        "total": 3,
        "unit": "facts",
        "finished": True,
    }


def test_work_of_unknown_length_names_no_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Fetching"):
        pass
    (line,) = lines(capsys)
    assert set(line) == {"progress", "seconds", "finished"}


def test_work_that_takes_long_reports_on_the_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    with Progress("Counting", total=4, unit="facts") as work:
        work.advance()
        work.advance()
    first, second, last = lines(capsys)
    assert [line["done"] for line in (first, second, last)] == [1, 2, 2]
    assert [line["finished"] for line in (first, second, last)] == [False, False, True]
    assert first["seconds_left"] >= 0
    assert "seconds_left" not in last


def test_work_that_is_quick_does_not_flood_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Counting", total=1000) as work:
        for _ in range(1000):
            work.advance()
    assert len(lines(capsys)) == 1


def test_work_that_fails_is_not_called_finished(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Progress("Counting", total=2):
        raise ZeroDivisionError
    (line,) = lines(capsys)
    assert line["finished"] is False


def test_a_title_of_any_letters_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress('Reading "東京"\n'):
        pass
    (line,) = lines(capsys)
    assert line["progress"] == 'Reading "東京"\n'


def test_the_rate_is_units_by_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 12.0, 14.0, 15.0, 15.0, 15.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    work = Progress("Counting", total=20)
    work.__enter__()
    work.done = 10
    assert work.seconds == 2.0
    assert work.rate == 2.5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [None, 3])
def test_a_terminal_gets_a_bar_and_no_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("Counting", total=total, unit="facts") as work:
        work.advance(2)
        assert work.done == 2
    assert "Counting" in terminal.getvalue()
    assert '"progress"' not in terminal.getvalue()
    assert capsys.readouterr().out == ""
