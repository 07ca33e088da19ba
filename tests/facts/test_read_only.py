"""A ledger in a place that may only be read: readings are answered, writings are refused."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import CannotWrite, RevisorError
from revisor.facts import database
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put
from tests.facts.test_migrations import make_ledger_of_0_1

ANN = Fact(subject="Ann", prompt="{} lives in", object="Rome")
BOB = Fact(subject="Bob", prompt="{} lives in", object="Oslo")
NOBODY = 65_534


@pytest.fixture
def file() -> Iterator[Path]:
    """Where a ledger can be; other users may go there, unlike to pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="revisor-read-"))
    try:
        folder.chmod(0o755)
        yield folder / "store" / "ledger.sqlite"
    finally:
        for inner in folder.glob("*/"):
            inner.chmod(0o755)
        shutil.rmtree(folder)


def make(file: Path) -> None:
    with Ledger.open(file, create=True) as made:
        made.apply([Put(ANN)], actor="ann", reason="")
        made.tag("first", actor="ann")


def forbid_writing(file: Path, *, folder: bool = True) -> None:
    for one in file.parent.iterdir():
        one.chmod(0o444)
    file.parent.chmod(0o555 if folder else 0o777)


def by_a_reader(work: Callable[[Path], Any], file: Path) -> Any:
    """What `work` returns or raises in a process for which permissions count."""
    parent, child = multiprocessing.get_context("fork").Pipe()

    def run() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        try:
            child.send(work(file))
        except RevisorError as error:
            child.send(error)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    assert parent.poll(30), "the reader did not answer"
    answer = parent.recv()
    process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def readings(file: Path) -> Any:
    with Ledger.open(file) as ledger:
        return (
            list(ledger.facts()),
            ledger.get(ANN.id[:6]).object,
            len(ledger.history(ANN.id)),
            ledger.live_generation(),
            ledger.tags(),
            ledger.policies(),
            ledger.verify(),
        )


def recording(file: Path) -> Any:
    with Ledger.open(file) as ledger:
        return ledger.record_if_writable("export", actor="eve", generation=1, file="out.jsonl")


def adding(file: Path) -> Any:
    with Ledger.open(file) as ledger:
        return ledger.apply([Put(BOB)], actor="eve", reason="").number


def opening(file: Path) -> Any:
    with Ledger.open(file, create=True) as ledger:
        return ledger.count()


@pytest.mark.parametrize("folder", [True, False], ids=["folder and file", "file only"])
def test_a_ledger_that_may_only_be_read_answers_and_writing_is_refused(
    file: Path, folder: bool
) -> None:
    make(file)
    forbid_writing(file, folder=folder)
    assert by_a_reader(readings, file) == ([ANN], "Rome", 1, 1, {"first": 1}, {}, [])
    with pytest.raises(CannotWrite, match="could not be written"):
        by_a_reader(adding, file)
    assert by_a_reader(recording, file) is None
    with Ledger.open(file) as ledger:
        assert list(ledger.facts()) == [ANN]


def test_a_reader_sees_what_a_writer_beside_it_commits(file: Path) -> None:
    make(file)
    with Ledger.open(file) as writer:
        writer.apply([Put(BOB)], actor="ann", reason="")
        forbid_writing(file)
        assert by_a_reader(lambda f: readings(f)[0], file) == [ANN, BOB]


def test_one_reader_follows_a_writer_that_comes_and_goes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(file)
    with monkeypatch.context() as patch:
        patch.setattr(database, "may_write", lambda _file: False)
        reader = Ledger.open(file)
    with reader:
        for subject in ("Bob", "Cid"):
            with Ledger.open(file) as writer:
                writer.apply(
                    [Put(Fact(subject=subject, prompt="{} is", object="in"))], actor="", reason=""
                )
                assert reader.count() == writer.count()
            assert reader.generation == reader.count()
        with pytest.raises(CannotWrite):
            reader.apply([Put(BOB)], actor="eve", reason="")


def test_commits_that_only_a_log_holds_are_not_passed_over(file: Path) -> None:
    make(file)
    copy = file.parent.parent / "copy" / file.name
    copy.parent.mkdir()
    with Ledger.open(file) as writer:
        writer.apply([Put(BOB)], actor="ann", reason="")
        for end in ("", "-wal"):
            shutil.copy(f"{file}{end}", f"{copy}{end}")
    forbid_writing(copy)
    with pytest.raises(CannotWrite, match="in its log") as refused:
        by_a_reader(readings, copy)
    assert "Copy the folder" in refused.value.hint


def test_a_ledger_of_0_1_is_read_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    make_ledger_of_0_1(str(file))
    forbid_writing(file)
    facts, _, revisions, live, tags, policies, faults = by_a_reader(readings, file)
    assert (len(facts), revisions, live, tags) == (2, 2, 2, {"good": 1})
    assert (policies, faults) == ({}, [])
    with pytest.raises(CannotWrite):
        by_a_reader(adding, file)


def test_a_ledger_is_not_made_where_nothing_may_be_written(file: Path) -> None:
    file.parent.mkdir()
    forbid_writing(file)
    with pytest.raises(CannotWrite):
        by_a_reader(opening, file)
    with pytest.raises(CannotWrite, match="cannot be made") as refused:
        by_a_reader(opening, file.parent / "inner" / file.name)
    assert "may write" in refused.value.hint
