"""A store goes into one file and comes out equal, elsewhere and in another database."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from revisor.errors import BadInput, NotFound, UsageError
from revisor.store import Store
from tests.databases import Databases
from tests.life.stores import ACME, BASEL, FACTS, said, same_bank


@pytest.fixture
def lived(built: Store) -> Store:
    """A store with a history."""
    built.set_object(ACME.id, "Tokyo", actor="ann", reason="news")
    built.ledger.tag("news", actor="ann")
    built.build()
    built.remove([BASEL.id], actor="bob")
    return built


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_store_is_equal(
    lived: Store, tmp_path: Path, kind: str, databases: Databases
) -> None:
    file = tmp_path / "all.zip"
    assert lived.export(file, actor="ann") == 2
    elsewhere = None if kind == "sqlite" else databases.new(kind)
    with Store.restore(file, tmp_path / "again", database=elsewhere, actor="eve") as again:
        assert list(again.ledger.facts()) == list(lived.ledger.facts())
        assert again.ledger.log() == lived.ledger.log()
        assert again.ledger.tags() == lived.ledger.tags()
        for fact in FACTS:
            assert again.ledger.history(fact.id) == lived.ledger.history(fact.id)
        assert again.ledger.events()[1:] == lived.ledger.events()[1:], "then restored, exported"
        assert again.ledger.events(1)[0].kind == "restore"
        assert same_bank(again, lived)
        assert again.verify() == []
        assert said(again, ACME).startswith("Tokyo")
        again.build()
        again.add([BASEL])
        assert again.verify() == []


def test_an_archive_of_an_equal_store_is_the_same_file(lived: Store, tmp_path: Path) -> None:
    from revisor.life.archive import file_hash, pack

    pack(lived, tmp_path / "a.zip")
    pack(lived, tmp_path / "b.zip")
    assert file_hash(tmp_path / "a.zip") == file_hash(tmp_path / "b.zip")


def test_a_password_does_not_leave_the_store(lived: Store, tmp_path: Path) -> None:
    from dataclasses import replace

    lived.settings = replace(lived.settings, database="postgresql://ann:secret@host/db")
    lived.export(tmp_path / "all.zip")
    assert b"secret" not in (tmp_path / "all.zip").read_bytes()


def test_whatever_is_wrong_with_an_archive_leaves_nothing(lived: Store, tmp_path: Path) -> None:
    good = tmp_path / "all.zip"
    lived.export(good)
    members = {}
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])

    def written(name: str, contents: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in contents.items():
                archive.writestr(member, content)
        return tmp_path / name

    changed = members["ledger/revisions.jsonl"].replace(b"Tokyo", b"Kyoto")
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
        Store.restore(good, lived.path)


def test_a_database_that_has_facts_is_not_written_over(
    lived: Store, tmp_path: Path, databases: Databases
) -> None:
    lived.export(tmp_path / "all.zip")
    taken = databases.new("postgresql")
    Store.restore(tmp_path / "all.zip", tmp_path / "one", database=taken).close()
    with pytest.raises(UsageError, match="not empty"):
        Store.restore(tmp_path / "all.zip", tmp_path / "two", database=taken)
    assert not (tmp_path / "two").exists()
