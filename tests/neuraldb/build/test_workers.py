"""Builds by several workers: the bank of one process bit for bit, whoever is killed meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import NotSupported, UsageError, WorkersLost, WrongModel
from revisor.facts.fact import Fact
from revisor.neuraldb.bank.view import Row
from revisor.neuraldb.build import cluster, shards
from revisor.neuraldb.build.build import Building
from revisor.neuraldb.build.checkpoint import Checkpoint
from revisor.neuraldb.build.cluster import RayPool
from revisor.neuraldb.build.executors import WorkerOptions, executor
from revisor.neuraldb.build.processes import LocalPool
from revisor.neuraldb.build.shards import (
    RowBuilder,
    Shard,
    ShardResult,
    WorkerSpec,
    cut,
    digested,
)
from revisor.neuraldb.build.workers import DEATHS, Advanced, Died, Event, Finished, Ready, Workers
from revisor.neuraldb.editing.request import ContextPlan, make_requests
from revisor.neuraldb.editing.rows import build_rows, empty_bank
from revisor.neuraldb.editing.score import score_targets
from revisor.neuraldb.gate.attach import attach
from revisor.neuraldb.method import Workspace, build
from tests import tiny
from tests.neuraldb.banks import ACME, FACTS, GAMMA, put, same_bank, workspace

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
    made = building(ws)
    return RowBuilder(ws.loaded, ws.spec, made.calibration, made.settings)


def kill_the_first_that_works(
    pool: type, patch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> list[int]:
    """Have the first worker that gets a shard killed at once; the list tells its process."""
    log.set_level(logging.INFO, "revisor.neuraldb.build.workers")
    real, killed = pool.give, list[int]()  # type: ignore[attr-defined]

    def give(self: Any, place: int, shard: Shard) -> None:
        real(self, place, shard)
        if not killed:
            said = [r.args for r in log.records if r.msg.startswith("Worker %d is ready")]
            killed.extend(int(args[1]) for args in said if args[0] == place)  # type: ignore
            os.kill(killed[0], signal.SIGKILL)

    patch.setattr(pool, "give", give)
    return killed


def deaths(log: pytest.LogCaptureFixture) -> int:
    return sum("died" in record.msg for record in log.records)


def test_processes_make_the_bank_of_one_though_one_of_them_is_killed(
    alone: Workspace,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kill_the_first_that_works(LocalPool, monkeypatch, caplog)
    ws = workspace(tmp_path / "s", folder)
    with ws.ledger:
        put(ws, *MANY)
        report = build(ws, options=WorkerOptions(workers=2))
        assert deaths(caplog) == 1
        assert report.facts == len(MANY)
        assert same_bank(ws, alone)


def test_actors_on_a_ray_cluster_do_though_one_of_them_is_killed(
    alone: Workspace,
    tmp_path: Path,
    folder: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kill_the_first_that_works(RayPool, monkeypatch, caplog)
    ws = workspace(tmp_path / "s", folder)
    with ws.ledger:
        put(ws, *MANY)
        report = build(ws, options=WorkerOptions(ray=address))
        ready = [r for r in caplog.records if r.msg.startswith("Worker %d is ready")]
        assert len({r.args[0] for r in ready}) == 3, "one a machine"  # type: ignore[index,misc]
        assert deaths(caplog) == 1
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
    def save(self, result, **more):
        saved.append(real(self, result, **more))
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return saved[-1]
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

    def rows(self: RowBuilder, shard: Shard, *rest: Any) -> ShardResult:
        made.extend(shard.facts)
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
    with (
        Workers(LocalPool(worker, 1)) as workers,
        pytest.raises(WrongModel, match="another model"),
    ):
        list(workers(cut({"a": ACME}), lambda _: None))


def test_what_crosses_between_processes_arrives_bit_for_bit(alone: Workspace) -> None:
    """A copy goes the way of a message: through arrays."""
    worker = deepcopy(building(alone).worker())
    shard = Shard(facts={fact.id: fact for fact in (*FACTS, MANY[-1])})
    told = list[int]()
    made = builder_of(alone).rows(shard, told.append)
    theirs = RowBuilder.of(worker).rows(shard)
    assert sum(told) == 4
    for name, copied in deepcopy(made).rows.items():
        for other in (copied, theirs.rows[name]):
            assert made.rows[name].row_id == other.row_id
            for field in ("keys_CE", "gamma_C", "r_D"):
                assert torch.equal(getattr(made.rows[name], field), getattr(other, field))


def test_who_makes_rows_asks_them_and_repairs_those_that_do_not_answer(alone: Workspace) -> None:
    """Two steps do not write a fact; the rounds of repair take three times as many, each."""
    made = building(alone)
    hasty = replace(made.settings, values=replace(made.settings.values, steps=2))
    builder = RowBuilder(alone.loaded, alone.spec, made.calibration, hasty)
    shard = Shard(facts={fact.id: fact for fact in FACTS})

    def answering(rows: Any) -> int:
        bank = empty_bank(alone.spec, made.calibration, hasty)
        for row in rows:
            bank.put(row)
        assert len(bank) == len(FACTS), "what cannot be repaired is there all the same"
        requests = make_requests(FACTS, alone.loaded.tokenizer, ContextPlan())
        with attach(alone.spec, hasty.layer, bank.view()):
            scores = score_targets(alone.loaded, [one.contexts[0] for one in requests])
        return sum(score.greedy for score in scores)

    plain = build_rows(alone.loaded, alone.spec, made.calibration, FACTS, hasty).rows
    assert answering(plain) < answering(builder.rows(shard).rows.values())


def test_a_cut_is_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 3)
    facts = {str(number): fact for number, fact in enumerate(MANY)}
    made = cut(facts)
    assert sorted(name for shard in made for name in shard.facts) == sorted(facts)
    assert [len(shard) for shard in made[:-1]] == [3] * (len(made) - 1)
    assert cut(dict(reversed(facts.items()))) == made
    assert cut({}) == []


ROW = Row(row_id="x", keys_CE=torch.zeros(1, 2), gamma_C=torch.tensor([GAMMA]), r_D=torch.zeros(2))


class Scripted:
    """A pool whose workers do what a script says, in turn."""

    size = 2
    worker: WorkerSpec

    def __init__(self, *script: Event) -> None:
        self.script = deque(script)
        self.started = list[int]()
        self.given = deque[tuple[int, Shard]]()
        self.closed = False
        self.said = deque[tuple[int, Event]]()

    def start(self, place: int) -> None:
        self.started.append(place)
        self.said.append((place, Ready(pid=1, host="here")))

    def give(self, place: int, shard: Shard) -> None:
        self.given.append((place, shard))
        while self.script:
            event = self.script.popleft()
            self.said.append((place, event))
            if not isinstance(event, Advanced):
                return
        rows = dict.fromkeys(shard.facts, ROW)
        self.said.append((place, Finished(result=ShardResult(rows=rows, steps=0.0))))

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        said = list(self.said)
        self.said.clear()
        return said

    def close(self) -> None:
        self.closed = True


def test_progress_of_a_worker_that_dies_is_taken_back() -> None:
    pool, told = Scripted(Advanced(facts=5), Died(how="x")), list[int]()
    with Workers(pool) as workers:
        done = list(workers(cut({"a": MANY[0], "b": ACME}), told.append))
    assert sorted(name for result in done for name in result.rows) == ["a", "b"]
    assert told == [5, -5]
    assert len(pool.started) == 3
    assert pool.closed


def test_a_shard_that_kills_every_worker_ends_the_build() -> None:
    pool = Scripted(*[Died(how="signal 9")] * 9)
    with Workers(pool) as workers, pytest.raises(WorkersLost, match="signal 9"):
        list(workers(cut({"a": ACME}), lambda _: None))
    assert len(pool.given) == DEATHS
    assert pool.closed


def test_workers_that_never_start_end_the_build() -> None:
    class Stillborn(Scripted):
        def start(self, place: int) -> None:
            self.said.append((place, Died(how="no memory")))

    with Workers(Stillborn()) as workers, pytest.raises(WorkersLost, match="while they started"):
        list(workers(cut({"a": ACME}), lambda _: None))


def test_a_build_by_one_or_of_nothing_starts_no_worker(alone: Workspace) -> None:
    one = WorkerOptions(workers=1)
    for options, count in ((WorkerOptions(), 9), (one, 9), (WorkerOptions(workers=8), 0)):
        with executor(options, builder_of(alone), building(alone).worker(), count) as make:
            assert not isinstance(make, Workers)


def test_ray_that_is_not_there_is_named_with_its_extra(
    alone: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(NotSupported) as caught:
        build(alone, options=WorkerOptions(ray="auto"))
    assert "revisor[scale]" in caught.value.hint


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "ray://127.0.0.1:1:2:x"])
def test_a_cluster_that_is_not_there_is_said_so(address: str) -> None:
    with pytest.raises(UsageError, match=f"no Ray cluster at '{address}'"):
        cluster.RayCluster(address)
