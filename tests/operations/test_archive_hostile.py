"""Archives of somebody else: they take no more room than they have, crash nothing, and no path in
them is followed."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from revisor.errors import BadInput
from revisor.facts.private import sha256_of
from revisor.store import Store
from tests.stores import ACME, FACTS

Members = dict[str, bytes]


@pytest.fixture
def members(store: Store, tmp_path: Path) -> Members:
    """The files of an archive in which an older generation is live."""
    store.set_object(ACME.id, "Bob Poe")
    store.publish(1)
    store.export(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(file: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive of these files, with the hashes that they have."""
    manifest = json.loads(members["manifest.json"])
    manifest["files"] = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in members.items()
        if name != "manifest.json"
    }
    return packed(file, members | {"manifest.json": json.dumps(manifest).encode()}, compression)


def packed(file: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def refuses(file: Path, tmp_path: Path, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Store.restore(file, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".revisor")]


def test_it_is_no_larger_unpacked_than_it_is(members: Members, tmp_path: Path) -> None:
    members["banks/0123456789abcdef/gen-0000001/rows.safetensors"] = bytes(30_000_000)
    bomb = written(tmp_path / "bomb.zip", members, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    refuses(bomb, tmp_path, "packed or encrypted")


def test_files_that_share_their_bytes_are_refused(members: Members, tmp_path: Path) -> None:
    large, name = bytes(100_000), "banks/0123456789abcdef/gen-000000{}/rows.safetensors"
    members |= {name.format(number): b"" for number in range(1, 9)}
    members[name.format(0)] = large
    file = written(tmp_path / "shared.zip", members)
    with zipfile.ZipFile(file, "a") as archive:
        first = archive.getinfo(name.format(0))
        for number in range(1, 9):
            one = archive.getinfo(name.format(number))
            one.header_offset, one.CRC = first.header_offset, first.CRC
            one.file_size = one.compress_size = first.file_size
        archive.comment = b"written anew"
    refuses(file, tmp_path, "more bytes than it has")


def test_what_is_nested_or_long_beyond_reason_is_refused(members: Members, tmp_path: Path) -> None:
    deep = b"[" * 50_000 + b"]" * 50_000
    file = tmp_path / "deep.zip"
    refuses(packed(file, members | {"manifest.json": deep}), tmp_path, "no manifest")
    refuses(packed(file, members | {"manifest.json": bytes(17 << 20)}), tmp_path, "more than")
    settings = members["store.toml"] + b"x = " + b"[" * 30_000
    refuses(written(file, members | {"store.toml": settings}), tmp_path, "TOML")
    refuses(written(file, members | {"store.toml": bytes(70_000)}), tmp_path, "more than")
    for name in ("audit", "tags", "generations", "revisions"):
        line = members | {f"ledger/{name}.jsonl": deep + b"\n"}
        refuses(written(file, line), tmp_path, f"Line 1 of {name}.jsonl")
    for links in ({"banks/0123456789abcdef/gen-0000001/rows.faiss": ["store.toml"]}, {"../x": "y"}):
        manifest = json.loads(members["manifest.json"]) | {"links": links}
        linked = members | {"manifest.json": json.dumps(manifest).encode()}
        refuses(packed(file, linked), tmp_path, "no file of a store")


DEEP = "[" * 50_000 + "]" * 50_000
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("revisions", {"key": 10**30}),
    ("revisions", {"key": -1}),
    ("revisions", {"generation": True}),
    ("revisions", {"generation": 77}),
    ("revisions", {"subject": {"a": 1}}),
    ("revisions", {"subject": "\ud800"}),
    ("revisions", {"object": "a\x00b"}),
    ("revisions", {"namespace": None}),
    ("revisions", {"subject": None}),
    ("revisions", {"fact_id": "x" * 200}),
    ("revisions", {"aliases": "[1]"}),
    ("revisions", {"aliases": DEEP}),
    ("revisions", {"paraphrases": '{"a": "b"}'}),
    ("revisions", {"paraphrases": None}),
    ("revisions", {"valid_from": "soon"}),
    ("revisions", {"salt": "zz"}),
    ("revisions", {"more": 1}),
    ("generations", {"number": 1.5}),
    ("audit", {"details": DEEP}),
    ("audit", {"details": "3"}),
    ("audit", {"kind": "publish", "generation": 77, "details": '{"pinned": true}'}),
]


@pytest.mark.parametrize(("table", "values"), ROWS)
def test_a_row_that_no_ledger_has_is_refused(
    table: str, values: dict[str, Any], members: Members, tmp_path: Path
) -> None:
    lines = members[f"ledger/{table}.jsonl"].splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]) | values).encode()
    changed = members | {f"ledger/{table}.jsonl": b"\n".join(lines) + b"\n"}
    refuses(written(tmp_path / "evil.zip", changed), tmp_path, "archive|together|no row|in the")


@pytest.mark.parametrize("claim", [lambda path: str(path), lambda _: 3, lambda _: None])
def test_a_file_that_an_archive_claims_to_be_an_export_is_left_alone(
    claim: Callable[[Path], object], members: Members, tmp_path: Path
) -> None:
    """Whoever made it knows a file of this machine, and what a fact is called that will go."""
    victim = tmp_path / "victim.jsonl"
    victim.write_text(json.dumps({"id": FACTS[1].id, "precious": True}) + "\n")
    before = victim.read_bytes()
    lines = members["ledger/audit.jsonl"].splitlines()
    told = {"file": claim(victim), "sha256": sha256_of(victim)}
    event = {"seq": len(lines) + 1, "kind": "export", "details": json.dumps(told)}
    lines.append(json.dumps(json.loads(lines[-1]) | event).encode())
    changed = members | {"ledger/audit.jsonl": b"\n".join(lines) + b"\n"}
    with Store.restore(written(tmp_path / "evil.zip", changed), tmp_path / "target") as restored:
        erased = restored.purge([FACTS[1].id])
        assert erased.exports == ()
        assert str(told["file"]) in erased.unreached, "somebody has to look at it"
        restored.export(tmp_path / "own.jsonl")
        assert restored.purge([FACTS[2].id]).exports == (str(tmp_path / "own.jsonl"),)
    assert victim.read_bytes() == before
