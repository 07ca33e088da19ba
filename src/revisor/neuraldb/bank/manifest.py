"""What a bank folder says of itself, and whether it is so.

A large file is not read whole at every opening: how it looked when its hash was right is noted
beside it, its size, inode and the time it was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revisor.errors import NotBuilt, StoreDamaged
from revisor.neuraldb.bank.vectors import WHOLE

FORMAT = 7
MANIFEST = "manifest.json"
CHECKED = "checked.json"
LARGE = 1 << 28  # bytes: a file from this size on is not read whole at every opening


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bank folder says of itself.

    Attributes:
        fingerprint: of the model it was built for.
        model: that model's name.
        layer: where its gate belongs.
        generation: of the ledger it was built from.
        rows, entries: N and M.
        bytes_per_fact: stored bytes of all that makes up the rows, over the rows; rows of a linked
            file that are no more count.
        build: settings and figures of the build that made it.
        failed: facts that could not be written: {id, fault}.
        files: name -> sha256.
        bits: in which numbers of keys and residuals are stored.
        seal: sha256 of everything above, so that a changed manifest is found too.
    """

    fingerprint: str
    model: str
    layer: int
    generation: int
    rows: int
    entries: int
    bytes_per_fact: float
    build: dict[str, Any]
    failed: list[dict[str, str]]
    files: dict[str, str]
    bits: int = WHOLE
    format: int = FORMAT
    seal: str = ""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bank folder.

    Raises:
        NotBuilt: there is no bank there.
        StoreDamaged: its manifest cannot be read, or is of a newer format.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        newer, older = found["format"] > FORMAT, found["format"] < FORMAT
        # Another format may have other fields, and another seal.
        if not newer and not older:
            manifest = Manifest(**found)
            if manifest.seal not in ("", seal_of(found)):
                raise ValueError("it was changed: its seal is another")
    except FileNotFoundError as error:
        raise NotBuilt(f"There is no bank at {folder}.", "Run: revisor build") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StoreDamaged(
            f"The manifest {path} cannot be read: {error}.",
            "Build again: delete that folder and run revisor build.",
        ) from error
    if newer:
        raise StoreDamaged(
            f"{path} is of format {found['format']}; this revisor reads {FORMAT}.",
            "Upgrade revisor, or build again with this one.",
        )
    if older:
        raise NotBuilt(
            f"The bank {folder} was built by an earlier revisor.", "Build it anew: revisor build"
        )
    return manifest


def hash_faults(folder: Path, *, trust: Collection[str] = ()) -> list[str]:
    """Every file of a bank folder that is missing or not what its manifest says.

    Args:
        trust: files that need not be read, if they are there.
    """
    faults, files = [], read_manifest(folder).files
    for name, expected in files.items():
        path = folder / name
        if not path.exists():
            faults.append(f"{path} is missing.")
        elif name not in trust and sha256_of(path) != expected:
            faults.append(f"{path} was changed: its sha256 is not the manifest's.")
    if not faults:
        note_checked(folder, files)
    return faults


def note_checked(folder: Path, names: Iterable[str]) -> None:
    """Remember how the large files of a folder looked when their hashes were right."""
    large = {name: mark for name in names if (mark := _mark(folder / name))[0] >= LARGE}
    if not large:
        return
    with suppress(OSError):  # a store that may only be read is read whole at every opening
        (folder / CHECKED).write_text(json.dumps(large), encoding="utf-8")


def trusted_files(folder: Path) -> set[str]:
    """The large files that look as they did when their hashes were right."""
    try:
        noted = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
        return {name for name, mark in noted.items() if _mark(folder / name) == mark}
    except (OSError, ValueError, AttributeError):
        return set()


def _mark(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def seal_of(manifest: dict[str, Any]) -> str:
    """The seal of a manifest: a hash of all the rest of it."""
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
