"""A build in a process of its own that fails or is ended is told as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from revisor.errors import Conflict, NotFound
from revisor.serve.jobs import Build, Builds, _progress
from tests.serve.serving import until


def test_progress_lines_of_the_build_move_it_on() -> None:
    build = Build(id=1, by="mona", publish=True)
    assert _progress(build, '{"progress": "Writing facts", "done": 3, "total": 9, "seconds": 1}')
    assert (build.title, build.done, build.total) == ("Writing facts", 3, 9)
    assert not _progress(build, "Traceback (most recent call last):")
    assert not _progress(build, "[1, 2]")


def test_a_build_that_fails_says_why_and_the_next_may_begin(tmp_path: Path) -> None:
    builds = Builds(tmp_path / "nowhere", lambda _: None)
    build = builds.start(by="mona", publish=True)
    with pytest.raises(Conflict, match="running"):
        builds.start(by="mona", publish=True)
    until(lambda: build.state != "running", 120)
    assert build.state == "failed"
    assert "There is no store" in build.fault
    second = builds.start(by="mona", publish=True)
    assert builds.cancel(second.id).state == "cancelled"
    builds.close()
    assert [one.told()["state"] for one in builds.latest()] == ["cancelled", "failed"]
    with pytest.raises(NotFound):
        builds.get(99)
