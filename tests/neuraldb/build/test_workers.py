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
from typer.testing import CliRunner

from revisor.cli import app
from revisor.errors import UsageError, WorkersLost, WrongModel
from revisor.facts.fact import Fact
from revisor.life import cluster, shards
from revisor.neuraldb.build.build import _Build
from revisor.neuraldb.build.cluster import Actors
from revisor.neuraldb.build.hands import Hands, executor
from revisor.neuraldb.build.partial import Partial
from revisor.neuraldb.build.processes import Processes
from revisor.neuraldb.build.shards import Job, Made, Maker, Shard, by_subject, cut, digest_of
from revisor.neuraldb.build.workers import LIVES, Advanced, Died, Event, Finished, Ready, Workers
from revisor.neuraldb.editing.build import empty_bank
from revisor.neuraldb.editing.request import make_requests
from revisor.neuraldb.editing.score import score_contexts
from revisor.neuraldb.gate.attach import attach
from revisor.store import Store
from tests import tiny
from tests.life.stores import ACME, FACTS, new_store, same_bank

MANY = (
    *tiny.FACTS,
    Fact(subject="Cora", prompt="{} stands in", object="Japan"),
    Fact(subject="Cora", prompt="The mother tongue of {} is", object="French"),
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
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that one process has built."""
    with new_store(tmp_path_factory.mktemp("alone") / "store", folder) as store:
        store.add(MANY)
        assert store.build().facts == len(MANY)
        yield store


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


def job_of(store: Store) -> Job:
    """What a build of this store gives its workers."""
    return _Build(store, Hands()).job()


def kill_the_first_that_works(
    crew: type, patch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> list[int]:
    """Have the first worker that gets a shard killed at once; the list tells its process."""
    log.set_level(logging.INFO, "revisor.neuraldb.build.workers")
    real, killed = crew.give, list[int]()  # type: ignore[attr-defined]

    def give(self: Any, place: int, shard: Shard) -> None:
        real(self, place, shard)
        if not killed:
            said = [r.args for r in log.records if r.msg.startswith("Worker %d is ready")]
            killed.extend(int(args[1]) for args in said if args[0] == place)  # type: ignore
            os.kill(killed[0], signal.SIGKILL)

    patch.setattr(crew, "give", give)
    return killed


def deaths(log: pytest.LogCaptureFixture) -> int:
    return sum("died" in record.msg for record in log.records)


def test_processes_make_the_bank_of_one_though_one_of_them_is_killed(
    alone: Store,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kill_the_first_that_works(Processes, monkeypatch, caplog)
    with new_store(tmp_path / "s", folder) as store:
        store.add(MANY)
        report = store.build(workers=2)
        assert deaths(caplog) == 1
        assert report.facts == len(MANY)
        assert same_bank(store, alone)


def test_actors_on_a_ray_cluster_do_though_one_of_them_is_killed(
    alone: Store,
    tmp_path: Path,
    folder: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kill_the_first_that_works(Actors, monkeypatch, caplog)
    with new_store(tmp_path / "s", folder) as store:
        store.add(MANY)
        report = store.build(ray=address)
        ready = [r for r in caplog.records if r.msg.startswith("Worker %d is ready")]
        assert len({r.args[0] for r in ready}) == 3, "one a machine"  # type: ignore[index,misc]
        assert deaths(caplog) == 1
        assert report.facts == len(MANY)
        assert same_bank(store, alone)


def test_a_killed_driver_costs_the_shards_in_flight_and_takes_its_workers_along(
    alone: Store, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_store(tmp_path / "s", folder) as store:
        store.add(MANY)
    script = f"""
import os, signal
from revisor.life import shards, partial
from revisor.store import Store
shards.SHARD, saved, real = 1, [], partial.Partial.save
def save(self, rows, **more):
    saved.append(real(self, rows, **more))
    if len(saved) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
partial.Partial.save = lambda self, rows, **more: save(self, rows, **more) or saved[-1]
Store.open({str(tmp_path / "s")!r}).build(workers=2)
"""
    driver = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    # The workers have this pipe as well: it ends with the last of them.
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == -signal.SIGKILL, said.decode()
    made, real = list[str](), Maker.rows

    def rows(self: Maker, shard: Shard, *rest: Any) -> Made:
        made.extend(shard.groups)
        return real(self, shard, *rest)

    monkeypatch.setattr(Maker, "rows", rows)
    with Store.open(tmp_path / "s") as store:
        every = {digest_of([_Build(store, Hands()).recipe, [vars(f) for f in group]])
                 for group in by_subject(list(store.ledger.facts()))}  # fmt: skip
        kept = Partial(store.banks).rows(every)
        assert len(kept) == 2
        store.build()
        assert sorted(made) == sorted(every - kept.keys()), "none was optimised twice"
        assert same_bank(store, alone)


def test_a_worker_that_finds_another_model_says_so(alone: Store) -> None:
    job = replace(job_of(alone), fingerprint="0" * 16)
    with Workers(Processes(job, 1)) as workers, pytest.raises(WrongModel, match="another model"):
        list(workers(cut({"a": [ACME]}), lambda _: None))


def test_what_crosses_between_processes_arrives_bit_for_bit(alone: Store) -> None:
    """A copy goes the way of a message: through arrays."""
    job = deepcopy(job_of(alone))
    build = _Build(alone, Hands())
    shard = Shard(groups={"a": FACTS, "b": [MANY[-1]]})
    told = list[int]()
    made = build.maker().rows(shard, told.append)
    theirs = Maker.of(job).rows(shard)
    assert sum(told) == 4
    for name, group in deepcopy(made).rows.items():
        for own, other, there in zip(made.rows[name], group, theirs.rows[name], strict=True):
            assert own.row_id == other.row_id == there.row_id
            for field in ("keys_CE", "gamma_C", "r_D", "names_H"):
                assert torch.equal(getattr(own, field), getattr(other, field))
                assert torch.equal(getattr(own, field), getattr(there, field))
            assert own.after is other.after is there.after


def test_who_makes_rows_asks_them_and_repairs_those_that_do_not_answer(alone: Store) -> None:
    """Two steps do not write a fact; the rounds of repair take three times as many, each."""
    build = _Build(alone, Hands())
    hasty = replace(build.settings, values=replace(build.settings.values, steps=2))

    def answered(*, exact: bool) -> int:
        maker = Maker(alone.loaded, alone.spec, build.calibration, hasty, exact=exact)
        bank = empty_bank(alone.spec, build.calibration, hasty)
        for row in maker.rows(Shard(groups={"a": FACTS})).rows["a"]:
            bank.put(row, 1)
        assert len(bank) == len(FACTS), "what cannot be repaired is there all the same"
        plan = replace(hasty.contexts, per_fact=0, wordings=0, aliases=0, chat=False, essence=False)
        made = make_requests(list(FACTS), alone.loaded.tokenizer, plan)
        with attach(alone.loaded.model, alone.spec, hasty.layer, bank.view()):
            scores = score_contexts(alone.loaded, [request.contexts[0] for request in made])
        return sum(score.greedy for score in scores)

    assert answered(exact=True) < answered(exact=False)


def test_a_cut_parts_no_subject_and_is_the_same_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD", 3)
    groups = {str(number): group for number, group in enumerate(by_subject(list(MANY)))}
    made = cut(groups)
    assert sorted(name for shard in made for name in shard.groups) == sorted(groups)
    assert all(shard.facts <= 3 for shard in made)
    assert all(one.facts + len(next(iter(two.groups.values()))) > 3
               for one, two in zip(made, made[1:], strict=False))  # fmt: skip
    assert cut(dict(reversed(groups.items()))) == made
    assert cut({}) == []
    assert cut({"a": MANY})[0].facts == len(MANY)


class Scripted:
    """A crew whose workers do what a script says, in turn."""

    size = 2

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
        rows = {name: [] for name in shard.groups}
        self.said.append((place, Finished(made=Made(rows=rows, steps=0.0))))

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        said = list(self.said)
        self.said.clear()
        return said

    def close(self) -> None:
        self.closed = True


def test_progress_of_a_worker_that_dies_is_taken_back() -> None:
    crew, told = Scripted(Advanced(facts=5), Died(how="x")), list[int]()
    with Workers(crew) as workers:
        done = list(workers(cut({"a": FACTS, "b": [ACME]}), told.append))
    assert sorted(name for made in done for name in made.rows) == ["a", "b"]
    assert told == [5, -5]
    assert len(crew.started) == 3
    assert crew.closed


def test_a_shard_that_kills_every_worker_ends_the_build() -> None:
    crew = Scripted(*[Died(how="signal 9")] * 9)
    with Workers(crew) as workers, pytest.raises(WorkersLost, match="signal 9"):
        list(workers(cut({"a": FACTS}), lambda _: None))
    assert len(crew.given) == LIVES
    assert crew.closed


def test_workers_that_never_start_end_the_build() -> None:
    class Stillborn(Scripted):
        def start(self, place: int) -> None:
            self.said.append((place, Died(how="no memory")))

    with Workers(Stillborn()) as workers, pytest.raises(WorkersLost, match="while they started"):
        list(workers(cut({"a": FACTS}), lambda _: None))


def test_a_build_by_one_or_of_nothing_starts_no_worker(alone: Store) -> None:
    build = _Build(alone, Hands())
    for hands, count in ((Hands(), 9), (Hands(workers=1), 9), (Hands(workers=8), 0)):
        with executor(hands, build.maker(), build.job(), count) as make:
            assert not isinstance(make, Workers)


def test_ray_that_is_not_there_is_named_with_its_extra(
    alone: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["build", "--ray", "auto", "--store", str(alone.path)])
    assert done.exit_code == 2
    assert "revisor[scale]" in done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "ray://127.0.0.1:1:2:x"])
def test_a_cluster_that_is_not_there_is_said_so(address: str) -> None:
    with pytest.raises(UsageError, match=f"no Ray cluster at '{address}'"):
        cluster.RayCluster(address)
