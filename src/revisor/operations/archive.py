"""A whole store as one file, and back: facts, their history, the audit, its probe or its banks.

The ledger is packed as JSON lines, so that it may move from one database to another. The URL of
the database stays behind: it may hold a password. A file that several generations of a bank share
is packed once, and shared again where the archive is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from revisor.config import read_settings, write_settings
from revisor.errors import BadInput, NotFound, UsageError
from revisor.facts.dump import TABLES
from revisor.facts.ledger import Ledger
from revisor.facts.lines import write_facts
from revisor.facts.private import make_private, private, sha256_of, writing, written_whole
from revisor.workspace import Workspace

FORMAT = 4  # 3 had no probes
SUFFIX = ".zip"
MANIFEST = "manifest.json"
SETTINGS = "store.toml"
_MEMBER = re.compile(
    rf"{re.escape(SETTINGS)}|ledger/({'|'.join(TABLES)})\.jsonl|"
    r"probes/[0-9a-f]{16}\.safetensors|"
    r"banks/[0-9a-f]{16}/gen-\d{7,}(\.\d+)?/(manifest\.json|[a-z]+\.(safetensors|faiss))"
)
_OTHERS = {
    **{".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet", ".gz": "gzip"},
    **dict.fromkeys((".xlsx", ".xls"), "Excel"),
}
_OWN = (SETTINGS, "index", "probes", "banks", "logs")
_BLOCK = 1 << 20
_MANIFEST_BYTES = 16 << 20  # of some 100,000 files
_SETTINGS_BYTES = 1 << 16
_ENCRYPTED = 1  # a member's flag
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member: an equal store gives an equal archive


def is_archive(file: Path) -> bool:
    """Whether the file's name is that of an archive."""
    return file.suffix.lower() == SUFFIX


def export(ws: Workspace, file: Path, *, actor: str) -> int:
    """Write the facts to a file: an archive of all, or JSONL of the live ones. Returns how many."""
    if not file.parent.is_dir():
        raise UsageError(
            f"Cannot write {file}: there is no folder {file.parent}.",
            "Name a file in a folder that is there.",
        )
    _must_be_free(file)
    if other := _OTHERS.get(file.suffix.lower()):
        raise UsageError(
            f"Cannot write {file}: facts are exported as JSONL, and the name says {other}.",
            f"Name it {file.with_suffix('.jsonl').name}, or .zip for an archive of everything.",
        )
    if _is_own(ws, file):
        raise UsageError(
            f"Cannot write {file}: the store keeps a file of its own there.",
            "Name a file outside of the store.",
        )
    count = ws.ledger.count()
    if is_archive(file):
        pack(ws, file)
    else:
        own = (fact for fact in ws.ledger.facts() if fact.reverse_of is None)
        count = write_facts(own, file)
    ws.note_export(file.resolve(), file, actor=actor)
    return count


def _must_be_free(file: Path) -> None:
    """Refuse a name that no file can have, or whose place something else than a file has."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:  # the name is too long; a link leads in a circle
        raise UsageError(
            f"Cannot write {file}: {error.strerror}.", "Choose another name."
        ) from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"Cannot write {file}: it is a folder.", "Name a file in it.")
    if not stat.S_ISREG(mode):  # the file would take the place of it
        raise UsageError(f"Cannot write {file}: it is a device or a pipe.", "Name a file.")


def _is_own(ws: Workspace, file: Path) -> bool:
    """Whether a file would take the place of one that a store is made of."""
    store, place = ws.path.resolve(), file.parent.resolve() / file.name  # a link is replaced
    if store not in place.parents:
        return False
    first = place.relative_to(store).parts[0]
    return first in _OWN or first.startswith("ledger.sqlite")


def pack(ws: Workspace, file: Path) -> None:
    """Write a store as an archive; a file of this name is replaced."""
    with (
        writing(f"Cannot write {file}", "Name a file in a folder that is there."),
        tempfile.TemporaryDirectory(dir=file.parent, prefix=".revisor-") as scratch,
        written_whole(file) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        _fill(ws, archive, Path(scratch))


def _fill(ws: Workspace, archive: zipfile.ZipFile, scratch: Path) -> None:
    hashes: dict[str, str] = {}
    links: dict[str, str] = {}
    packed: dict[tuple[int, int], str] = {}

    def put(name: str, source: Path) -> None:
        member = zipfile.ZipInfo(name, _DATE)
        member.external_attr = 0o644 << 16
        digest = hashlib.sha256()  # of what is packed, whatever becomes of the file meanwhile
        with source.open("rb") as old, archive.open(member, "w", force_zip64=True) as new:
            while block := old.read(_BLOCK):
                digest.update(block)
                new.write(block)
        hashes[name] = digest.hexdigest()

    settings = scratch / SETTINGS
    write_settings(settings, replace(ws.settings, database=None))
    put(SETTINGS, settings)
    # One reading of all tables: a write in between would tear them apart.
    with ws.ledger.dumped(scratch) as tables:
        for name, path in tables.items():
            put(f"ledger/{name}.jsonl", path)
    for path in sorted(ws.path.glob("probes/*.safetensors")):
        put(path.relative_to(ws.path).as_posix(), path)
    for folder in sorted(ws.path.glob("banks/*/gen-*")):
        for path in sorted(folder.iterdir()):
            name, found = path.relative_to(ws.path).as_posix(), path.stat()
            first = packed.setdefault((found.st_dev, found.st_ino), name)
            if first == name:
                put(name, path)
            else:
                links[name] = first
    said = {"format": FORMAT, "files": hashes, "links": links}
    text = json.dumps(said, indent=2, sort_keys=True)
    archive.writestr(zipfile.ZipInfo(MANIFEST, _DATE), text + "\n")


def unpack(file: Path, path: Path, *, actor: str, database: str | None = None) -> None:
    """Make a store from an archive: all of it, or nothing.

    The archive may be anybody's: its files are no larger than it is, and no path in it is followed.
    (A bank's FAISS index is read by FAISS, which does not say that it is safe to read anybody's.)

    Args:
        path: where there is no store yet.
        actor: who restores it, for the audit.
        database: URL of an empty database for the ledger; an SQLite file in the store without.
    """
    if file.is_dir():
        raise BadInput(f"{file} is a folder, not an archive.", "Name one file in it.")
    if not file.is_file():
        raise NotFound(f"There is no file {file}.", "Check the path.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"There is something at {path} already.", "Choose another --store.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            writing(f"Cannot write to {path}", "Choose another."),
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".revisor-import-") as scratch,
            zipfile.ZipFile(file) as archive,
        ):
            inner = Path(scratch) / "store"
            make_private(inner)
            _extract(archive, file, inner)
            settings = replace(read_settings(inner / SETTINGS), database=database)
            write_settings(inner / SETTINGS, settings)
            with (
                Ledger.open(database or inner / "ledger.sqlite", create=True) as ledger,
                ExitStack() as open_files,
            ):
                paths = {name: inner / "ledger" / f"{name}.jsonl" for name in TABLES}
                made = Workspace(path=inner, settings=settings, ledger=ledger)
                ledger.restore(
                    {n: open_files.enter_context(p.open("rb")) for n, p in paths.items()},
                    actor=actor,
                    archive=sha256_of(file),
                    settings=made.settings_digest(),
                )
            shutil.rmtree(inner / "ledger")
            if path.exists():
                path.rmdir()
            os.replace(inner, path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError) as error:
        raise BadInput(
            f"{file} is no archive of a store, or a damaged one: {error}.",
            "Name a file that `revisor export FILE.zip` wrote.",
        ) from error


def _extract(archive: zipfile.ZipFile, file: Path, inner: Path) -> None:
    """Write the members out, each held against its hash; only names that are known."""

    def refused(why: str) -> BadInput:
        return BadInput(
            f"{file}: {why}.", "The archive is damaged, or not one of `revisor export`."
        )

    _check_sizes(archive, file, refused)
    try:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
        newer, files = manifest["format"] > FORMAT, dict(manifest["files"])
        links = {} if newer else dict(manifest.get("links", {}))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise refused("it has no manifest that can be read") from error
    if newer:
        raise BadInput(
            f"{file} has format {manifest['format']}; this revisor reads {FORMAT}.",
            "Upgrade revisor.",
        )
    needed = {SETTINGS, *(f"ledger/{name}.jsonl" for name in TABLES)}
    names = set(archive.namelist()) - {MANIFEST}
    if wrong := sorted(names ^ files.keys()) or sorted(needed - names):
        raise refused(f"{wrong[0]} is not in both the archive and its manifest")
    for name in sorted(names):
        if not _MEMBER.fullmatch(name):
            raise refused(f"it holds {name!r}, which is no file of a store")
        target = inner / name
        make_private(target.parent)
        with archive.open(name) as old, open(target, "wb", opener=private) as new:
            shutil.copyfileobj(old, new, _BLOCK)
        if sha256_of(target) != files[name]:
            raise refused(f"{name} was changed: its sha256 is not the manifest's")
    if links:
        from revisor.neuraldb.bank.files import link_file
    for name, first in sorted(links.items()):
        known = isinstance(first, str) and first in names
        if not _MEMBER.fullmatch(name) or not known or name in names:
            raise refused(f"it links {name!r}, which is no file of a store")
        make_private((inner / name).parent)
        link_file(inner / first, inner / name)


def _check_sizes(archive: zipfile.ZipFile, file: Path, refused: Callable[[str], BadInput]) -> None:
    """Refuse what would take more room or memory than the archive itself."""
    members = archive.infolist()
    for one in members:
        packed = one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size
        if packed or one.flag_bits & _ENCRYPTED:
            raise refused(f"it holds {one.filename!r} packed or encrypted, which no export does")
    if sum(one.file_size for one in members) > file.stat().st_size:
        raise refused("its files have more bytes than it has itself")
    for name, limit in ((MANIFEST, _MANIFEST_BYTES), (SETTINGS, _SETTINGS_BYTES)):
        if any(one.filename == name and one.file_size > limit for one in members):
            raise refused(f"its {name} has more than {limit:,} bytes")
