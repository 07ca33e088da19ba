"""A bank folder's manifest, and whether its files agree with it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revisor.errors import NotBuilt, StoreDamaged
from revisor.facts.private import sha256_of

FORMAT = 8
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A bank folder's manifest.

    Attributes:
        fingerprint, model: of the model it was built for, and that model's name.
        layer: of the gate.
        generation: of the ledger it was built from.
        rows: their number.
        build: settings and figures of the build.
        failed: facts that could not be written: {id, fault}.
        files: sha256 by name.
        seal: sha256 of everything above, so that a changed manifest is found, too.
    """

    fingerprint: str
    model: str
    layer: int
    generation: int
    rows: int
    build: dict[str, Any]
    failed: list[dict[str, str]]
    files: dict[str, str]
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


def hash_faults(folder: Path) -> list[str]:
    """Every file of a bank folder that is missing or differs from its manifest."""
    faults = []
    for name, expected in read_manifest(folder).files.items():
        path = folder / name
        if not path.exists():
            faults.append(f"{path} is missing.")
        elif sha256_of(path) != expected:
            faults.append(f"{path} was changed: its sha256 is not the manifest's.")
    return faults


def seal_of(manifest: dict[str, Any]) -> str:
    """The seal of a manifest: a hash of the rest of it."""
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
