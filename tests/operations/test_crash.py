"""Killed at any step of anything, a store loses nothing that it acknowledged.

A child process lives through a history and says after each act that it is done. It kills itself,
as `kill -9` does, before the n-th step: each file that is opened, renamed or removed, each folder
that is made, and each statement and commit of the database is one. Then this process looks at
what is left, holds the index against a fresh one, and goes on where the child was.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from revisor.facts.fact import Fact
from revisor.index import FactIndex, bases, follow
from revisor.store import Store
from tests.stores import ACME, BASEL

STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
CORA = Fact(subject="Cora", prompt="{} stands in", object="Japan")
DORA = Fact(subject="Dora", prompt="{} stands in", object="Bonn", aliases=("Quarry",))
NAMES = ("acme", "basel", "zora", "cora", "dora", "quarry")

ACTS: tuple[Callable[[Store], Any], ...] = (
    lambda store: store.add([CORA, DORA], actor="ann"),
    lambda store: store.set_object(ACME.id, "Bob Poe"),
    lambda store: store.index.compact(),
    lambda store: store.publish(2, actor="ann"),
    lambda store: store.remove([BASEL.id]),
    lambda store: store.ledger.tag("here", actor="ann"),
    lambda store: store.publish("here", actor="ann"),
    lambda store: store.rollback(2, actor="ann"),
    lambda store: store.index.compact(),
    lambda store: store.purge([DORA.id]),
    lambda store: store.collect(1),
    lambda store: store.set_object(ACME.id, "Cy Doe"),
)
State = tuple[Any, ...]


def state(store: Store) -> State:
    """What a store holds and answers from; `compact`, `tag` and `collect` leave it as it is."""
    ledger = store.ledger
    newest = sorted((fact.id, fact.object) for fact in ledger.facts())
    return newest, ledger.pinned(), ledger.generation, in_view(store.index)


def in_view(index: FactIndex) -> list[tuple[str, list[str]]]:
    view = index.view()
    return [(name, sorted(view.fact(one).object for one in view.find([name]))) for name in NAMES]


@pytest.fixture(autouse=True)
def _every_base_has_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "FILED", 1)
    monkeypatch.setattr(follow, "FILED", 1)


@pytest.fixture
def undisturbed(whole: Path, tmp_path: Path) -> list[State]:
    """The states of the history without a kill, before the first act and after each."""
    shutil.copytree(whole, tmp_path / "undisturbed")
    with Store.open(tmp_path / "undisturbed") as store:
        states = [state(store)]
        for act in ACTS:
            act(store)
            states.append(state(store))
        assert store.verify() == []
    return states


def child(path: Path, die_at: int, seconds: float | None = None) -> tuple[int, int]:
    """Live through the history in a child; returns how many acts were acknowledged, and steps.

    Args:
        die_at: the step before which it kills itself; -1 for none.
        seconds: after which it is killed from outside.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        steps = 0

        def step(*_: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            with Store.open(path) as store:
                sys.addaudithook(lambda name, _: step() if name in STEPS else None)
                sa.event.listen(store.ledger._engine, "before_cursor_execute", step)
                sa.event.listen(store.ledger._engine, "commit", step)
                for number, act in enumerate(ACTS):
                    act(store)
                    os.write(write, bytes([number]))
            os.write(write, b"\xff" + steps.to_bytes(4, "big"))
        finally:
            os._exit(0)
    os.close(write)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    acknowledged, _, rest = said.partition(b"\xff")
    return len(acknowledged), int.from_bytes(rest, "big")


def check_after(path: Path, done: int, states: list[State]) -> None:
    """What is acknowledged is there, and going on leads where an undisturbed history does."""
    with Store.open(path) as store:
        now = state(store)
        assert now in states[done : done + 2], f"{done} acts were acknowledged"
        with FactIndex.open(store.ledger) as fresh:
            assert in_view(store.index) == in_view(fresh)
        faults = store.verify()
        if faults:
            assert all("not finished" in fault for fault in faults), faults
            store.collect(1)
            assert store.verify() == []
        first = done if now == states[done] else done + 1
        for act in ACTS[first:]:
            act(store)
        assert state(store)[0] == states[-1][0]
        assert state(store)[3] == states[-1][3]
        assert store.verify() == []
    left = [file.name for file in path.rglob("*") if file.is_file() and holds_dora(file)]
    assert left == []


def holds_dora(file: Path) -> bool:
    content = file.read_bytes()
    return any(needle in content for needle in (b"Dora", b"dora", b"Quarry", DORA.id.encode()))


def killed_at(points: list[int], whole: Path, states: list[State], tmp_path: Path) -> None:
    for point in points:
        path = tmp_path / f"at-{point}"
        shutil.copytree(whole, path)
        done, steps = child(path, point)
        assert steps == 0, "the child was killed"
        check_after(path, done, states)
        shutil.rmtree(path)


@pytest.fixture
def steps(whole: Path, undisturbed: Any, tmp_path: Path) -> int:
    """How many steps the history has."""
    shutil.copytree(whole, tmp_path / "counted")
    done, count = child(tmp_path / "counted", -1)
    assert done == len(ACTS)
    return count


def test_a_kill_at_any_step_loses_nothing(
    whole: Path, undisturbed: list[State], steps: int, tmp_path: Path
) -> None:
    choose = random.Random(20)
    part = steps // 15
    points = [part * number + choose.randrange(part) + 1 for number in range(15)]
    killed_at(points, whole, undisturbed, tmp_path)


@pytest.mark.nightly
def test_a_kill_at_every_step_loses_nothing(
    whole: Path, undisturbed: list[State], steps: int, tmp_path: Path
) -> None:
    killed_at(list(range(1, steps + 1)), whole, undisturbed, tmp_path)


@pytest.mark.nightly
def test_a_kill_at_any_moment_loses_nothing(
    whole: Path, undisturbed: list[State], tmp_path: Path
) -> None:
    """By the clock and from outside: inside a system call, too."""
    choose = random.Random()
    for number in range(60):
        path = tmp_path / f"run-{number}"
        shutil.copytree(whole, path)
        done, _ = child(path, -1, seconds=choose.uniform(0, 1.5))
        check_after(path, done, undisturbed)
        shutil.rmtree(path)
