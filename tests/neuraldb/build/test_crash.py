"""Killed at any step of a build, a purge or a collection, banks lose nothing and go on.

A child process lives through a history and says after each act that it is done. It kills itself,
as `kill -9` does, before the n-th step: each file that is opened, renamed or removed, each folder
that is made, and each statement and commit of the database is one. Then this process looks at what
is left, goes on where the child was, and compares the bank with one that was never disturbed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from revisor.facts.fact import Fact
from revisor.neuraldb.bank import files
from revisor.neuraldb.method import (
    Workspace,
    bank_faults,
    build,
    collect_all,
    open_bank,
    purge_rows,
)
from tests.neuraldb.banks import (
    ACME,
    BASEL,
    answers,
    bank_of,
    change,
    put,
    remove,
    workspace,
)

STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
CORA = Fact(subject="Cora", prompt="{} stands in", object="Japan")

ACTS: tuple[Callable[[Workspace], Any], ...] = (
    lambda ws: put(ws, CORA),
    build,
    lambda ws: change(ws, ACME, "Tokyo"),
    lambda ws: remove(ws, BASEL),
    build,
    lambda ws: purge_rows(ws.root, [CORA.id]),
    lambda ws: ws.ledger.rollback(1, actor="ann"),
    build,
    lambda ws: collect_all(ws, 1),
)
KILLS = 10


def live_through(ws: Workspace, first: int, told: Callable[[int], object]) -> None:
    for number, act in enumerate(ACTS[first:], start=first):
        act(ws)
        told(number)


def child(ws: Workspace, die_at: int) -> tuple[int, int]:
    """Live through the history in a child; how many acts were acknowledged, and steps.

    Args:
        die_at: the step before which it kills itself; -1 for none.
    """
    _ = ws.fingerprint
    ws.ledger._engine.dispose()
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
            sys.addaudithook(lambda name, _: step() if name in STEPS else None)
            sa.event.listen(ws.ledger._engine, "before_cursor_execute", step)
            sa.event.listen(ws.ledger._engine, "commit", step)
            live_through(ws, 0, lambda number: os.write(write, bytes([number])))
            os.write(write, b"\xff" + steps.to_bytes(4, "big"))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    acknowledged, _, rest = said.partition(b"\xff")
    return len(acknowledged), int.from_bytes(rest, "big")


def copied(whole: Path, folder: Path, path: Path) -> Workspace:
    shutil.copytree(whole, path)
    return workspace(path, folder)


@pytest.mark.parametrize("share", [0.0, 9.0], ids=["own files", "shared files"])
def test_a_kill_at_any_step_loses_nothing(
    share: float, whole: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "MERGED", share)
    never = copied(whole, folder, tmp_path / "never")
    live_through(never, 0, lambda _: None)
    done, steps = child(copied(whole, folder, tmp_path / "counted"), -1)
    assert done == len(ACTS)
    choose, part = random.Random(20), steps // KILLS
    for point in (part * number + choose.randrange(part) + 1 for number in range(KILLS)):
        ws = copied(whole, folder, tmp_path / f"at-{point}")
        done, rest = child(ws, point)
        assert rest == 0, "the child was killed"
        open_bank(ws)[1].close()
        assert list(bank_faults(ws)) == [], f"at step {point}"
        # An act that was done but not acknowledged is done again, which changes nothing.
        live_through(ws, done, lambda _: None)
        assert sorted(bank_of(ws).ids) == sorted(bank_of(never).ids), f"at step {point}"
        assert list(bank_faults(ws)) == []
        left = {path.name for path in ws.banks.iterdir()} - {".lock"}
        assert all(name.startswith("gen-") for name in left), left
        facts = list(ws.ledger.facts())
        assert all(
            said.startswith(fact.object)
            for fact, said in zip(facts, answers(ws, facts), strict=True)
        )
        ws.ledger.close()
