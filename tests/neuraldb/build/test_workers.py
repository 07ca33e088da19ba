"""Builds by several workers: the bank of one process bit for bit, whoever is killed meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import NotSupported, UsageError, WorkersLost, WrongModel
from revisor.facts.fact import Fact
from revisor.neuraldb.build import executors, shards
from revisor.neuraldb.build.build import Building
from revisor.neuraldb.build.checkpoint import Checkpoint
from revisor.neuraldb.build.executors import Actors, Processes, WorkerOptions, executor
from revisor.neuraldb.build.shards import RowBuilder, Rows, Shard, cut, digested
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.rows import build_rows, empty_bank
from revisor.neuraldb.editing.score import score_targets
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.method import Workspace, build
from tests import tiny
from tests.neuraldb.banks import ACME, FACTS, put, same_bank, workspace

pytestmark = pytest.mark.slow

MANY = (
    *tiny.FACTS,
    Fact(subject="Cora", prompt="{} stands in", object="Japan"),
    Fact(subject="Dora", prompt="{} is", object="Bonn", valid_to="2030-01-01", qualifier="then"),
    Fact(subject="Dora", prompt="{} is", object="Rome", valid_from="2030-01-01", qualifier="now"),
)


@pytest.fixture(scope="module", autouse=True)
def _small_shards_and_one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD", 1)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Facts that one process has built."""
    ws = workspace(tmp_path_factory.mktemp("alone") / "ws", folder)
    with ws.ledger:
        put(ws, *MANY)
        assert build(ws).facts == len(MANY)
        yield ws


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray cluster of three nodes on this machine, with one core each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Other work on the machine shall neither kill the workers nor go before them.
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        patch.setenv("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 80_000_000}
        made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(**node)
            yield str(made.address)
        finally:
            made.shutdown()


def building(ws: Workspace) -> Building:
    return Building(ws, WorkerOptions())


def builder_of(ws: Workspace) -> RowBuilder:
    return RowBuilder(ws.loaded, ws.spec, building(ws).settings)


def when_the_first_shard_is_made(patch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[int]:
    """Act once, while others are being made; the list has an entry when it is done."""
    real, done = Checkpoint.save, list[int]()

    def save(self: Checkpoint, rows: Rows) -> None:
        real(self, rows)
        if not done:
            act()
            done.append(1)

    patch.setattr(Checkpoint, "save", save)
    return done


def test_processes_make_the_bank_of_one_though_one_of_them_is_killed(
    alone: Workspace,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kill() -> None:
        pid = multiprocessing.active_children()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killed = when_the_first_shard_is_made(monkeypatch, kill)
    ws = workspace(tmp_path / "s", folder)
    with ws.ledger:
        put(ws, *MANY)
        report = build(ws, options=WorkerOptions(workers=2))
        assert killed
        assert len([text for text in caplog.messages if "died" in text]) == 1
        assert report.facts == len(MANY)
        assert same_bank(ws, alone)
    assert multiprocessing.active_children() == []


def test_actors_on_a_ray_cluster_do_though_one_of_them_is_killed(
    alone: Workspace,
    tmp_path: Path,
    folder: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    real, pools = Actors.__init__, list[Actors]()

    def kept(self: Actors, *arguments: Any) -> None:
        real(self, *arguments)
        pools.append(self)

    monkeypatch.setattr(Actors, "__init__", kept)
    killed = when_the_first_shard_is_made(
        monkeypatch, lambda: ray.kill(pools[0].actors[0], no_restart=False)
    )
    ws = workspace(tmp_path / "s", folder)
    with ws.ledger:
        put(ws, *MANY)
        report = build(ws, options=WorkerOptions(ray=address))
        assert killed
        assert len(pools[0].actors) == 3, "one a machine"
        assert report.facts == len(MANY)
        assert same_bank(ws, alone)


def test_a_killed_driver_costs_the_shards_in_flight_and_takes_its_workers_along(
    alone: Workspace, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace(tmp_path / "s", folder)
    put(ws, *MANY)
    ws.ledger.close()
    script = f"""
import os, signal
from pathlib import Path
from revisor.neuraldb.build import checkpoint, shards
from revisor.neuraldb.method import WorkerOptions, build
from tests.neuraldb.banks import workspace

if __name__ == "__main__":
    shards.SHARD, saved, real = 1, [], checkpoint.Checkpoint.save
    def save(self, rows):
        saved.append(real(self, rows))
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.Checkpoint.save = save
    from revisor.facts.ledger import Ledger
    path = Path({str(tmp_path / "s")!r})
    ws = workspace(path, Path({str(folder)!r}), ledger=Ledger.open(path / "ledger.sqlite"))
    build(ws, options=WorkerOptions(workers=2))
"""
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    (tmp_path / "driver.py").write_text(script)
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py")], stderr=subprocess.PIPE, env=place
    )
    # The workers have this pipe as well: it ends with the last of them.
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == -signal.SIGKILL, said.decode()
    made, real = list[str](), RowBuilder.rows

    def rows(self: RowBuilder, shard: Shard, *rest: Any) -> Rows:
        made.extend(shard)
        return real(self, shard, *rest)

    monkeypatch.setattr(RowBuilder, "rows", rows)
    again = workspace(tmp_path / "s", folder)
    with again.ledger:
        every = set(digested(again.ledger.facts(), building(again).recipe))
        kept = Checkpoint(again.banks).find(every)
        assert len(kept) == 2
        build(again)
        assert sorted(made) == sorted(every - kept.keys()), "none was optimised twice"
        assert same_bank(again, alone)


def test_a_worker_that_finds_another_model_says_so(alone: Workspace) -> None:
    worker = replace(building(alone).worker(), fingerprint="0" * 16)
    with Processes(worker, 1) as workers, pytest.raises(WrongModel, match="another model"):
        list(workers(cut({"a": ACME}), lambda _: None))


def test_a_workers_rows_are_those_of_this_process(alone: Workspace) -> None:
    shard = {fact.id: fact for fact in (*FACTS, MANY[-1])}
    told = list[int]()
    made = builder_of(alone).rows(shard, told.append)
    theirs = RowBuilder.of(building(alone).worker()).rows(shard)
    assert sum(told) == 4
    for name, row in made.items():
        for field in ("keys_CE", "gamma_C", "r_D"):
            assert torch.equal(getattr(row, field), getattr(theirs[name], field))


def test_who_makes_rows_asks_them_and_repairs_those_that_do_not_answer(alone: Workspace) -> None:
    """Two steps do not write a fact; the rounds of repair take three times as many, each."""
    made = building(alone)
    hasty = replace(made.settings, values=replace(made.settings.values, steps=2))
    builder = RowBuilder(alone.loaded, alone.spec, hasty)
    shard = {fact.id: fact for fact in FACTS}

    def answering(rows: Any) -> int:
        bank = empty_bank(alone.spec)
        for row in rows:
            bank.put(row)
        assert len(bank) == len(FACTS), "what cannot be repaired is there all the same"
        requests = make_requests(FACTS, alone.loaded.tokenizer, ContextPlan())
        with attach(alone.spec, hasty.layer, bank.view()):
            scores = score_targets(alone.loaded, [one.contexts[0] for one in requests])
        return sum(score.greedy for score in scores)

    plain = build_rows(alone.loaded, alone.spec, FACTS, hasty)
    assert answering(plain) < answering(builder.rows(shard).values())


def test_a_cut_is_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 3)
    facts = {str(number): fact for number, fact in enumerate(MANY)}
    made = cut(facts)
    assert sorted(name for shard in made for name in shard) == sorted(facts)
    assert [len(shard) for shard in made[:-1]] == [3] * (len(made) - 1)
    assert cut(dict(reversed(facts.items()))) == made
    assert cut({}) == []


def test_workers_that_die_again_and_again_end_the_build(
    alone: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "make", _die)
    with (
        Processes(building(alone).worker(), 1) as workers,
        pytest.raises(WorkersLost, match="3 times in a row"),
    ):
        list(workers(cut({"a": ACME}), lambda _: None))


def _die(*_: Any) -> Rows:
    os._exit(9)


def test_a_build_by_one_or_of_nothing_starts_no_worker(alone: Workspace) -> None:
    one = WorkerOptions(workers=1)
    for options, count in ((WorkerOptions(), 9), (one, 9), (WorkerOptions(workers=8), 0)):
        with executor(options, builder_of(alone), building(alone).worker(), count) as make:
            assert not isinstance(make, Processes)


def test_ray_that_is_not_there_is_named_with_its_extra(
    alone: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda _: None)
    with pytest.raises(NotSupported) as caught:
        build(alone, options=WorkerOptions(ray="auto"))
    assert "revisor[scale]" in caught.value.hint


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "ray://127.0.0.1:1:2:x"])
def test_a_cluster_that_is_not_there_is_said_so(address: str) -> None:
    with (
        pytest.raises(UsageError, match=f"no Ray cluster at '{address}'"),
        executors.cluster(address),
    ):
        raise AssertionError
