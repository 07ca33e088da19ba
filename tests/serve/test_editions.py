"""Which facts a request gets: one name for a generation and a moment, and the rows behind it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from revisor.errors import NotBuilt, StoreDamaged, WrongModel
from revisor.facts.changes import Put
from revisor.neuraldb.bank.files import generation_folder, generations
from revisor.neuraldb.bank.storage import ROWS
from revisor.serve import editions as module
from revisor.serve.editions import Editions, generation_of
from revisor.serve.tables import Database
from revisor.store import Store
from tests.serve.conftest import ACME

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", -1.0)


def test_a_build_makes_a_new_edition_and_the_old_one_stays(store: Store) -> None:
    editions = Editions(store.path)
    first = editions.now()
    old = editions.view(first, CPU, torch.bfloat16)
    assert (first, old.generation, old.dtype) == ("gen-0000001@", 1, torch.bfloat16)
    assert ACME.id in {fact.id for fact in editions.facts(first, 3)}
    store.set_object(ACME.id, "Tokyo")
    store.build()
    second = editions.now()
    assert (second, generation_of(second)) == ("gen-0000002@", 2)
    assert editions.view(second, CPU, torch.bfloat16).generation == 2
    assert editions.view(first, CPU, torch.bfloat16) is old


def test_a_generation_that_is_held_is_passed_over(store: Store) -> None:
    editions = Editions(store.path)
    store.set_object(ACME.id, "Tokyo")
    store.build()
    database = Database.of(store)
    database.remember("held", [2])
    assert editions.now() == "gen-0000001@"
    database.remember("held", [1, 2])
    assert editions.now() == "gen-0000001@", "what is live stays so"
    with pytest.raises(NotBuilt):
        Editions(store.path).now()
    database.close()


def test_a_broken_bank_does_not_go_live(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    editions = Editions(store.path)
    first = editions.now()
    store.set_object(ACME.id, "Tokyo")
    store.build()
    rows = generation_folder(store.banks, 2) / ROWS
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert [editions.now(), editions.now()] == [first, first]
    assert len([record for record in caplog.records if "does not go live" in record.message]) == 1
    with pytest.raises(StoreDamaged):
        Editions(store.path).now()


def test_editions_in_use_are_kept_with_their_banks(store: Store) -> None:
    editions = Editions(store.path)
    first = editions.now()
    old = editions.view(first, CPU, torch.bfloat16)
    for name in ("Tokyo", "Bern", "Oslo", "Lima"):
        store.set_object(ACME.id, name)
        store.build()
        editions.keep({first})
        editions.view(editions.now(), CPU, torch.bfloat16)
    assert editions.view(first, CPU, torch.bfloat16) is old
    assert 1 in generations(store.banks), "it is in use"
    editions.keep(())
    store.set_object(ACME.id, "Rome")
    store.build()
    assert 1 not in generations(store.banks)


def test_a_purge_is_an_edition_of_its_own(store: Store) -> None:
    editions = Editions(store.path)
    first = editions.now()
    assert ACME.id in editions.view(first, CPU, torch.float32).ids
    store.purge([ACME.id])
    assert editions.now() != first
    assert ACME.id not in editions.view(editions.now(), CPU, torch.float32).ids


def test_facts_that_ended_make_an_edition_of_their_own(store: Store) -> None:
    ended = replace(ACME, valid_to="2021-01-01")
    store.ledger.apply([Put(ended)], actor="", reason="")
    store.build()
    editions = Editions(store.path)
    assert editions.now() == "gen-0000002@2021-01-01T00:00:00+00:00"
    assert ACME.id not in editions.view(editions.now(), CPU, torch.float32).ids
    assert ACME.id in editions.view("gen-0000002@", CPU, torch.float32).ids


def test_without_one_models_banks_it_says_so(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.banks, store.banks.with_name("0" * 16))
    with pytest.raises(WrongModel, match="banks of 2 models"):
        Editions(store.path)
    shutil.rmtree(store.path / "banks")
    with pytest.raises(NotBuilt):
        Editions(store.path)
