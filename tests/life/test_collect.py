"""Old generations go, never one that is in use; a place that cannot be written says so."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

from revisor.errors import StoreDamaged, UsageError
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, recover
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST
from revisor.store import Store
from tests.life.stores import ACME, FACTS, ZORA, said


def grow(store: Store) -> None:
    for obj in ("Tokyo", "Bonn"):
        store.set_object(ACME.id, obj)
        store.build()


def test_gc_keeps_the_last_and_those_that_are_tagged_or_in_use(built: Store) -> None:
    with Store.open(built.path) as reader:
        engine = reader.engine()
        before = engine.generate([ACME.text], max_tokens=8)
        grow(built)
        assert generations(built.banks) == [1, 2, 3], "a reader uses 1, a build keeps two"
        built.ledger.tag("two", 2, actor="ann")
        assert built.collect(1) == []
        assert engine.generate([ACME.text], max_tokens=8) == before, "a reader keeps its own"
    assert built.collect(1) == [1]
    built.ledger.untag("two", actor="ann")
    assert built.collect(1) == [2]
    assert built.ledger.events(1)[0].details == {"removed": [2]}
    assert said(built, ACME).startswith("Bonn")
    with pytest.raises(UsageError):
        built.collect(0)


def test_a_lease_of_a_process_that_was_killed_holds_nothing(built: Store) -> None:
    manifest = generation_folder(built.banks, 1) / MANIFEST
    child = os.fork()
    if not child:
        Lease(manifest)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    built.set_object(ACME.id, "Tokyo")
    built.build()
    assert built.collect(1) == [1]


def test_what_a_killed_publication_left_is_removed(built: Store) -> None:
    folder = generation_folder(built.banks, 1)
    shutil.copytree(folder, built.banks / ".publishing-abc")
    shutil.copytree(folder, built.banks / ".gone-abc" / folder.name)
    shutil.copytree(folder, built.banks / f"{folder.name}.2")
    assert generation_folder(built.banks, 1).name.endswith(".2"), "the last one counts"
    assert recover(built.banks) == 3
    assert sorted(path.name for path in built.banks.glob("[!.]*")) == [f"{folder.name}.2"]
    assert built.verify() == []


@pytest.mark.parametrize("name", ["rows.safetensors", "encoder.safetensors", "manifest.json"])
def test_a_flipped_byte_is_found_by_loading_and_named(name: str, built: Store) -> None:
    path = generation_folder(built.banks, 1) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=name):
        built.engine()


def test_settings_that_somebody_changed_are_told_until_a_build(built: Store) -> None:
    path = built.path / "store.toml"
    path.write_text(path.read_text() + "gamma = 0.9\n")
    with Store.open(built.path) as opened:
        (fault,) = opened.verify()
        assert "store.toml was changed" in fault
        opened.build()
        assert opened.verify() == []


def test_a_bank_of_another_history_is_told(built: Store) -> None:
    """Who writes the whole ledger anew, chain and all, cannot mend what the banks remember."""
    with built.ledger._connection(writes=True) as connection:
        for table in ("tags", "audit", "revisions", "generations"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql("DELETE FROM meta WHERE key = 'audit_head'")
    built.add([ACME, ZORA])
    assert any("another history" in fault for fault in built.verify())


def in_a_child(work: object, path: Path) -> str:
    """What a function of a store's path says in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        try:
            work(path)  # type: ignore[operator]
            theirs.send("done")
        except BaseException as error:
            theirs.send(f"{type(error).__name__}: {error}")
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    process.join(120)
    return str(ours.recv()) if ours.poll() else "nothing"


def _full(size: int) -> None:
    """No file may grow beyond this, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("doing", ["set", "build"])
def test_a_full_disk_is_told_and_leaves_the_store_whole(built: Store, doing: str) -> None:
    def write(path: Path) -> None:
        with Store.open(path) as store:
            _ = store.fingerprint
            if doing == "build":
                store.set_object(ACME.id, "Tokyo")
            _full(2_048)
            if doing == "build":
                store.build()
            store.set_object(ACME.id, "Tokyo")

    built.ledger.close()
    told = in_a_child(write, built.path)
    assert told.startswith("CannotWrite"), told
    assert built.verify() == []
    assert generations(built.banks) == [1]
    assert said(built, ZORA).startswith("French")
    built.set_object(ACME.id, "Bonn")
    assert built.build().failed == []


def test_a_store_that_may_only_be_read_says_so(built: Store) -> None:
    place = built.path
    built.ledger.close()

    def write(path: Path) -> None:
        with Store.open(path) as store:
            store.set_object(ACME.id, "Tokyo")

    for path in (place, *place.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in place.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o055)

    def as_nobody(path: Path) -> None:
        if os.getuid() == 0:  # root may write everywhere
            os.setgid(65534)
            os.setuid(65534)
        write(path)

    try:
        told = in_a_child(as_nobody, place)
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert told.startswith("CannotWrite"), told
    assert built.verify() == []
    assert [fact.object for fact in built.ledger.facts()] == [fact.object for fact in FACTS]


def test_a_loaded_bank_stays_readable_when_its_folder_is_gone(built: Store) -> None:
    folder = generation_folder(built.banks, 1)
    view = load_bank(folder).view()
    again = load_bank(folder)
    shutil.rmtree(folder)
    assert torch.equal(again.view().R_ND[:], view.R_ND[:])
