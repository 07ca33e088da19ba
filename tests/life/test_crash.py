"""Killed at any step of anything, a store loses nothing that it acknowledged.

A child process lives through a history and says after each act that it is done. It kills itself,
as `kill -9` does, before the n-th step: each file that is opened, renamed or removed, each folder
that is made, and each statement and commit of the database is one. Then this process looks at
what is left, goes on where the child was, and compares the bank with one that was never disturbed.
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
from revisor.neuraldb.bank import files
from revisor.store import Store
from tests.life.stores import ACME, BASEL, FACTS, new_store, same_bank

STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
CORA = Fact(subject="Cora", prompt="{} stands in", object="Japan")
DORA = Fact(subject="Dora", prompt="{} stands in", object="Bonn")

ACTS: tuple[Callable[[Store], Any], ...] = (
    lambda store: store.add([CORA, DORA], actor="ann"),
    lambda store: store.build(),
    lambda store: store.set_object(ACME.id, "Tokyo"),
    lambda store: store.remove([BASEL.id]),
    lambda store: store.ledger.tag("here", actor="ann"),
    lambda store: store.build(),
    lambda store: store.rollback(2, actor="ann"),
    lambda store: store.collect(1),
    lambda store: store.purge([DORA.id]) if known(store, DORA) else None,
    lambda store: store.build(),
)


def known(store: Store, fact: Fact) -> bool:
    return fact.id in store.ledger.live_ids(store.ledger.generation)


def state(store: Store) -> dict[str, str]:
    return {fact.id: fact.object for fact in store.ledger.facts()}


def live_through(store: Store, first: int, told: Callable[[int], None]) -> None:
    for number, act in enumerate(ACTS[first:], start=first):
        act(store)
        told(number)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    path = tmp_path_factory.mktemp("start") / "store"
    with new_store(path, folder, exact=True) as made:
        made.add(FACTS)
        made.build()
    return path


@pytest.fixture(scope="module")
def undisturbed(
    start: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, str]]]:
    """The history without a kill: where it ended, and the live facts after each act."""
    path = tmp_path_factory.mktemp("whole") / "store"
    shutil.copytree(start, path)
    states: list[dict[str, str]] = []
    with Store.open(path) as store:
        states.append(state(store))
        live_through(store, 0, lambda _: states.append(state(store)))
        assert store.verify() == []
    return path, states


def child(path: Path, loaded: Any, die_at: int, seconds: float | None = None) -> tuple[int, int]:
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
                store.__dict__["loaded"] = loaded
                _ = store.fingerprint
                sys.addaudithook(lambda name, _: step() if name in STEPS else None)
                sa.event.listen(store.ledger._engine, "before_cursor_execute", step)
                sa.event.listen(store.ledger._engine, "commit", step)
                live_through(store, 0, lambda number: os.write(write, bytes([number])) and None)
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


def check_after(
    path: Path, loaded: Any, done: int, whole: Path, states: list[Any], *, exact: bool = True
) -> None:
    """Everything that was acknowledged is there; going on gives what was never disturbed."""
    with Store.open(path) as store:
        store.__dict__["loaded"] = loaded
        store.bank()
        now = state(store)
        assert now in states[done : done + 2], "what was acknowledged is there, and no half act"
        unfinished = [fault for fault in store.verify() if "not finished" not in fault]
        assert unfinished == []
        finished = done < len(ACTS) and now == states[done + 1] != states[done]
        live_through(store, done + finished, lambda _: None)
        store.build()
        store.collect(1)
        assert state(store) == states[-1]
        assert store.verify() == []
        left = {path.name for path in store.banks.iterdir()} - {".lock"}
        assert all(name.startswith("gen-") for name in left), left
        with Store.open(whole) as never:
            never.__dict__["loaded"] = loaded
            if exact:
                assert same_bank(store, never)
            else:  # a batch that was begun again may have others in it: bits differ, rows do not
                assert sorted(store.bank().ids) == sorted(never.bank().ids)


def killed_at(
    points: list[int],
    start: Path,
    undisturbed: tuple[Path, list[Any]],
    tmp_path: Path,
    *,
    exact: bool = True,
) -> None:
    whole, states = undisturbed
    with Store.open(whole) as store:
        loaded = store.loaded
    for point in points:
        path = tmp_path / f"at-{point}"
        shutil.copytree(start, path)
        done, steps = child(path, loaded, point)
        assert steps == 0, "the child was killed"
        check_after(path, loaded, done, whole, states, exact=exact)
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def steps(start: Path, undisturbed: Any, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many steps the history has."""
    path = tmp_path_factory.mktemp("counted") / "store"
    shutil.copytree(start, path)
    with Store.open(undisturbed[0]) as store:
        loaded = store.loaded
    done, count = child(path, loaded, -1)
    assert done == len(ACTS)
    return count


def test_a_kill_at_any_step_loses_nothing(
    start: Path, undisturbed: Any, steps: int, tmp_path: Path
) -> None:
    choose = random.Random(20)
    part = steps // 20
    points = [part * number + choose.randrange(part) + 1 for number in range(20)]
    killed_at(points, start, undisturbed, tmp_path)


def test_a_kill_loses_nothing_where_generations_share_a_file(
    folder: Path, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", 9.0)
    start = tmp_path / "start"
    with new_store(start, folder) as made:
        made.add(FACTS)
        made.build()
        loaded = made.loaded
    shutil.copytree(start, tmp_path / "counted")
    done, steps = child(tmp_path / "counted", loaded, -1)
    assert done == len(ACTS)
    choose = random.Random(6)
    points = sorted(choose.sample(range(1, steps), 8))
    killed_at(points, start, undisturbed, tmp_path, exact=False)


@pytest.mark.nightly
def test_a_kill_at_every_few_steps_loses_nothing(
    start: Path, undisturbed: Any, steps: int, tmp_path: Path
) -> None:
    choose = random.Random()
    points = sorted(choose.sample(range(1, steps), 120))
    print(f"{steps} steps, killed at {points}")  # noqa: T201 (to try the same again)
    killed_at(points, start, undisturbed, tmp_path)


@pytest.mark.nightly
def test_a_kill_at_any_moment_loses_nothing(start: Path, undisturbed: Any, tmp_path: Path) -> None:
    """By the clock and from outside: inside a system call, too."""
    whole, states = undisturbed
    with Store.open(whole) as store:
        loaded = store.loaded
    choose = random.Random()
    for number in range(40):
        path = tmp_path / f"run-{number}"
        shutil.copytree(start, path)
        done, _ = child(path, loaded, -1, seconds=choose.uniform(0, 6))
        check_after(path, loaded, done, whole, states)
        shutil.rmtree(path)
