"""Old banks go, never one in use; what is wrong is told; of a purged fact nothing is left."""

from __future__ import annotations

import os
import resource
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from revisor.errors import CannotWrite, StoreDamaged, UsageError
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.neuraldb.bank.files import (
    generation_folder,
    generations,
    load_bank,
    recover,
)
from revisor.neuraldb.bank.leases import Lease
from revisor.neuraldb.bank.manifest import MANIFEST, read_manifest
from revisor.neuraldb.method import (
    Workspace,
    bank_faults,
    build,
    collect_all,
    engine,
    only_purger,
    open_bank,
    purge_rows,
)
from tests.neuraldb.banks import (
    ACME,
    FACTS,
    ZORA,
    answer,
    bank_of,
    change,
    holders,
    on_disk,
    put,
    workspace,
)


def grow(ws: Workspace) -> None:
    for obj in ("Tokyo", "Bonn"):
        change(ws, ACME, obj)
        build(ws)


def test_gc_keeps_the_last_and_those_that_are_tagged_live_or_in_use(built: Workspace) -> None:
    made, lease = engine(built)
    with closing(lease):
        before = made.generate([ACME.text], max_tokens=8)
        grow(built)
        assert generations(built.banks) == [1, 2, 3], "a reader uses 1, a build keeps two"
        built.ledger.tag("two", 2, actor="ann")
        assert collect_all(built, 1) == []
        assert made.generate([ACME.text], max_tokens=8) == before, "a reader keeps its own"
    built.ledger.publish(1, actor="ann")
    assert collect_all(built, 1) == []
    built.ledger.publish(built.ledger.generation, actor="ann")
    assert collect_all(built, 1) == [1]
    built.ledger.untag("two", actor="ann")
    assert collect_all(built, 1) == [2]
    assert answer(built, ACME).startswith("Bonn")
    with pytest.raises(UsageError):
        collect_all(built, 0)


def test_a_lease_of_a_process_that_was_killed_holds_nothing(built: Workspace) -> None:
    manifest = generation_folder(built.banks, 1) / MANIFEST
    child = os.fork()
    if not child:
        Lease(manifest)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    change(built, ACME, "Tokyo")
    build(built)
    assert collect_all(built, 1) == [1]


def test_what_a_killed_publication_left_is_removed(built: Workspace) -> None:
    folder = generation_folder(built.banks, 1)
    shutil.copytree(folder, built.banks / ".publishing-abc")
    shutil.copytree(folder, built.banks / ".gone-abc" / folder.name)
    shutil.copytree(folder, built.banks / f"{folder.name}.2")
    assert generation_folder(built.banks, 1).name.endswith(".2"), "the last one counts"
    assert recover(built.banks) == 3
    assert sorted(path.name for path in built.banks.glob("[!.]*")) == [f"{folder.name}.2"]
    assert list(bank_faults(built)) == []


@pytest.mark.parametrize("name", ["rows.safetensors", "manifest.json"])
def test_a_flipped_byte_is_found_and_named(name: str, built: Workspace) -> None:
    path = generation_folder(built.banks, 1) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=name):
        open_bank(built)
    assert any(name in fault for fault in bank_faults(built))


def test_a_bank_of_another_history_is_told(built: Workspace, folder: Path, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "other.sqlite", create=True) as other:
        ws = workspace(built.path, folder, ledger=other)
        put(ws, ACME, ZORA)
        assert any("another history" in fault for fault in bank_faults(ws))


def test_a_purged_fact_is_in_no_bank_of_any_generation(built: Workspace) -> None:
    vectors = on_disk(bank_of(built).get(ZORA.id))
    change(built, ACME, "Tokyo")
    build(built)
    needles = (ZORA.id.encode(), *vectors)
    assert len(holders(built.root, vectors[0])) == 2, "the search itself works"
    with only_purger(built.root):
        assert len(purge_rows(built.root, [ZORA.id])) == 2
        assert purge_rows(built.root, [ZORA.id]) == []
    assert holders(built.root, *needles) == []
    assert list(bank_faults(built)) == []
    assert answer(built, ACME).startswith("Tokyo")


def test_the_fault_of_a_purged_fact_is_purged_with_it(built: Workspace) -> None:
    hopeless = Fact(subject="Delta", prompt="{} is", object="qzx~W#%k9@! zzzq^^jj")
    put(built, hopeless)
    assert [one["id"] for one in build(built).failed] == [hopeless.id]
    purge_rows(built.root, [hopeless.id])
    newest = generation_folder(built.banks, built.ledger.generation)
    assert read_manifest(newest).failed == []


def test_a_full_disk_is_told_and_leaves_what_was_there(built: Workspace) -> None:
    change(built, ACME, "Tokyo")
    _ = built.fingerprint
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    bank, lease = open_bank(built)
    with closing(lease):
        child = os.fork()
        if not child:
            # No file may grow beyond this, as on a disk that is full.
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
            try:
                from revisor.neuraldb.bank.files import save_bank

                about: Any = {"fingerprint": "x", "model": "x", "layer": 1, "build": {}}
                save_bank(bank, built.banks, failed=[], whole=True, **about)
            except CannotWrite:
                os._exit(7)
            os._exit(0)
        told = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert told == 7
    assert generations(built.banks) == [1]
    assert list(bank_faults(built)) == []
    assert build(built).failed == []


def test_a_loaded_bank_stays_readable_when_its_folder_is_gone(built: Workspace) -> None:
    folder = generation_folder(built.banks, 1)
    view = load_bank(folder).view()
    again = load_bank(folder)
    shutil.rmtree(folder)
    assert torch.equal(again.view().R_ND, view.R_ND)


def test_facts_of_a_bank_are_those_of_the_ledger(built: Workspace) -> None:
    assert set(bank_of(built).ids) == {fact.id for fact in FACTS}
