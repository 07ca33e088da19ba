"""A store goes into one file and comes out equal, elsewhere and in another database."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from revisor.errors import BadInput, NotFound, UsageError
from revisor.facts.private import sha256_of
from revisor.operations.archive import pack
from revisor.store import Store
from tests.databases import Databases
from tests.stores import ACME, BASEL, FACTS, answer


@pytest.fixture
def grown(store: Store) -> Store:
    """A store with a history, of which an older generation is live."""
    store.set_object(ACME.id, "Bob Poe", actor="ann", reason="news")
    store.ledger.tag("news", actor="ann")
    store.remove([BASEL.id], actor="bob")
    store.publish("news", actor="ann")
    store.ledger.set_policy("law", needs_approval=True, actor="eve")
    return store


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_store_is_equal(
    grown: Store, tmp_path: Path, kind: str, databases: Databases
) -> None:
    file = tmp_path / "all.zip"
    assert grown.export(file, actor="ann") == 2
    elsewhere = None if kind == "sqlite" else databases.new(kind)
    with Store.restore(file, tmp_path / "again", database=elsewhere, actor="eve") as again:
        assert list(again.ledger.facts()) == list(grown.ledger.facts())
        assert again.ledger.log() == grown.ledger.log()
        assert again.ledger.tags() == grown.ledger.tags()
        assert again.ledger.pinned() == 2
        assert again.ledger.policies() == {"law": True}
        for fact in FACTS:
            assert again.ledger.history(fact.id) == grown.ledger.history(fact.id)
        assert again.ledger.events()[1:] == grown.ledger.events()[1:], "then restored, exported"
        assert again.ledger.events(1)[0].kind == "restore"
        assert again.verify() == []
        assert answer(again, ACME).startswith("Bob Poe")
        assert answer(again, BASEL).startswith("Rome"), "the live generation is the same, too"
        again.add([BASEL])
        assert again.verify() == []


def test_an_archive_of_an_equal_store_is_the_same_file(grown: Store, tmp_path: Path) -> None:
    pack(grown.workspace, tmp_path / "a.zip")
    pack(grown.workspace, tmp_path / "b.zip")
    assert sha256_of(tmp_path / "a.zip") == sha256_of(tmp_path / "b.zip")


def test_a_password_does_not_leave_the_store(grown: Store, tmp_path: Path) -> None:
    settings = replace(grown.settings, database="postgresql://ann:secret@host/db")
    pack(replace(grown.workspace, settings=settings), tmp_path / "all.zip")
    assert b"secret" not in (tmp_path / "all.zip").read_bytes()


def test_whatever_is_wrong_with_an_archive_leaves_nothing(grown: Store, tmp_path: Path) -> None:
    good = tmp_path / "all.zip"
    grown.export(good)
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])

    def written(name: str, contents: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in contents.items():
                archive.writestr(member, content)
        return tmp_path / name

    changed = members["ledger/revisions.jsonl"].replace(b"Bob Poe", b"Bob Pom")
    climbing = json.dumps({**manifest, "files": manifest["files"] | {"../evil": "0"}}).encode()
    cases = {
        "changed.zip": members | {"ledger/revisions.jsonl": changed},
        "short.zip": {k: v for k, v in members.items() if k != "ledger/audit.jsonl"},
        "climbing.zip": members | {"../evil": b"", "manifest.json": climbing},
        "newer.zip": members | {"manifest.json": json.dumps(manifest | {"format": 9}).encode()},
        "none.zip": {"readme": b"hello"},
    }
    files = [written(name, contents) for name, contents in cases.items()]
    (tmp_path / "text.zip").write_text("no zip at all")
    for file in [*files, tmp_path / "text.zip"]:
        with pytest.raises(BadInput):
            Store.restore(file, tmp_path / "target")
        assert not (tmp_path / "target").exists(), file.name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".revisor")]
    with pytest.raises(NotFound):
        Store.restore(tmp_path / "nowhere.zip", tmp_path / "target")
    with pytest.raises(UsageError, match="already"):
        Store.restore(good, grown.path)


def test_a_database_that_has_facts_is_not_written_over(
    grown: Store, tmp_path: Path, databases: Databases
) -> None:
    grown.export(tmp_path / "all.zip")
    taken = databases.new("postgresql")
    Store.restore(tmp_path / "all.zip", tmp_path / "one", database=taken).close()
    with pytest.raises(UsageError, match="not empty"):
        Store.restore(tmp_path / "all.zip", tmp_path / "two", database=taken)
    assert not (tmp_path / "two").exists()


def test_settings_that_somebody_changed_are_told_until_a_build(
    grown: Store, tmp_path: Path
) -> None:
    grown.export(tmp_path / "all.zip")
    with Store.restore(tmp_path / "all.zip", tmp_path / "again") as again:
        settings = again.path / "store.toml"
        settings.write_text(settings.read_text() + "# a remark\n")
        (fault,) = again.verify()
        assert "store.toml" in fault
        again.build(actor="ann")
        assert again.verify() == []
        assert again.ledger.events(1)[0].kind == "settings"
        again.build(actor="ann")
        assert len(again.ledger.events()) == len(grown.ledger.events()) + 1


@pytest.mark.parametrize("name", ["facts.csv", "facts.TSV", "f.parquet", "f.jsonl.gz", "f.xlsx"])
def test_a_name_that_says_another_format_is_refused(
    grown: Store, tmp_path: Path, name: str
) -> None:
    """What `revisor add` would not read again under that name."""
    with pytest.raises(UsageError, match="exported as JSONL"):
        grown.export(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-wal", "store.toml", "index/x"])
def test_an_export_never_takes_the_place_of_a_file_of_the_store(grown: Store, name: str) -> None:
    (grown.path / "index").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match="keeps a file of its own"):
        grown.export(grown.path / name)
    assert grown.verify() == []
    assert grown.export(grown.path / "kept.jsonl") == grown.ledger.count()


def test_an_export_takes_the_place_of_files_only(grown: Store, tmp_path: Path) -> None:
    """Written by root, one to /dev/stdout took the place of the device."""
    pipe, loop = tmp_path / "pipe", tmp_path / "loop.jsonl"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for file, what in (
        (pipe, "device or a pipe"),
        (Path("/dev/null"), "device or a pipe"),
        (loop, "symbolic links"),
        (tmp_path / ("x" * 300), "name too long"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(UsageError, match=what):
            grown.export(file)
    assert pipe.is_fifo()
