"""Banks on disk: files of rows and their manifest, published by one rename.

A folder `gen-NNNNNNN` is either whole or absent. A generation that is published again gets a new
folder, `gen-NNNNNNN.2` and so on; the last one counts, and the others are removed. So no generation
is ever missing or incomplete, whenever a process is killed; what it leaves behind starts with a
dot, and `recover` removes it.

A large bank of which few rows changed is not written again: its folder gets a link to the file of
the generation before, whose hash is known, and a small file of what changed since. Every folder is
complete by itself, so each may be removed without a look at the others.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from revisor.errors import CannotWrite, StoreDamaged, WrongModel
from revisor.facts.private import sha256_of
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.leases import unless_in_use
from revisor.neuraldb.bank.manifest import (
    MANIFEST,
    Manifest,
    hash_faults,
    read_manifest,
    seal_of,
)
from revisor.neuraldb.bank.search import MISSING, read_index
from revisor.neuraldb.bank.storage import FRESH, INDEX, ROWS, read_rows, write_rows

SMALL = 1 << 26  # bytes: a file of rows up to this size is written again at every change
MERGED = 1 / 20  # share of a file's rows that may have gone or come since it was written
PREFIX = "gen-"
SCRATCH = ".publishing-"
GONE = ".gone-"
_NAME = re.compile(rf"{PREFIX}(\d+)(?:\.(\d+))?")

_log = logging.getLogger(__name__)


def generation_folder(root: Path, generation: int) -> Path:
    """The folder of one generation of a bank, there or not."""
    found = [number for one, number in _folders(root) if one == generation]
    return _folder(root, generation, max(found, default=1))


def generations(root: Path) -> list[int]:
    """The published generations under a model's bank folder, oldest first."""
    return sorted({generation for generation, _ in _folders(root)})


def _folders(root: Path) -> list[tuple[int, int]]:
    """Each published folder as (generation, how many times it was published)."""
    if not root.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in root.iterdir())
    return [(int(match[1]), int(match[2] or 1)) for match in found if match]


def _folder(root: Path, generation: int, number: int) -> Path:
    again = f".{number}" if number > 1 else ""
    return root / f"{PREFIX}{generation:07d}{again}"


def save_bank(
    bank: Bank,
    root: Path,
    *,
    fingerprint: str,
    model: str,
    layer: int,
    build: dict[str, Any],
    failed: list[dict[str, str]],
    whole: bool = False,
) -> Path:
    """Publish a bank as one generation; a reader sees all of it or nothing.

    Of a large bank, of which at most `MERGED` of the rows changed since its file was written, only
    the changes are written, unless `whole`.

    Raises:
        CannotWrite: the disk is full, or the folder is read-only; nothing is published.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=root, prefix=SCRATCH))
    except OSError as error:
        raise _cannot_write(root, error) from error
    try:
        files = {} if whole else _link_rows(bank, scratch)
        if not files:
            write_rows(bank.view(), scratch / ROWS)
        if bank.index is not None:
            bank.index.write(scratch / INDEX)
        written = [path for path in scratch.iterdir() if path.name not in files]
        manifest = Manifest(
            fingerprint=fingerprint,
            model=model,
            layer=layer,
            generation=bank.generation,
            rows=len(bank),
            build=build,
            failed=failed,
            files=files | {path.name: sha256_of(path) for path in written},
        )
        sealed = vars(manifest) | {"seal": seal_of(vars(manifest))}
        text = json.dumps(sealed, indent=2, sort_keys=True)
        (scratch / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for path in (*written, scratch / MANIFEST):
            _flush(path)
        scratch.chmod(0o755)
        return _publish(scratch, root, bank.generation)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            raise _cannot_write(root, error) from error
        raise


def _link_rows(bank: Bank, folder: Path) -> dict[str, str]:
    """Link the file that a bank was opened from and write the changes, if that is better; the hash
    of the file by its name, or nothing."""
    file = bank.file
    if file is None or not file.is_file() or file.stat().st_size <= SMALL:
        return {}
    gone, fresh = bank.changes()
    before = len(bank) - len(fresh) + len(gone)
    if len(gone) + len(fresh) > MERGED * before:
        return {}
    link_file(file, folder / ROWS)
    write_rows(bank.of_rows(fresh), folder / FRESH, gone=torch.tensor(gone, dtype=torch.long))
    return {ROWS: read_manifest(file.parent).files[ROWS]}


def link_file(source: Path, target: Path) -> None:
    """One file under two names; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        _flush(target)


def _cannot_write(root: Path, error: Exception) -> CannotWrite:
    reason = getattr(error, "strerror", None) or str(error)
    return CannotWrite(
        f"Cannot write a bank to {root}: {reason}.",
        "Nothing was published; the generations that are there are whole. Make room, or check "
        "that the folder may be written to, and run the command again.",
    )


def load_bank(
    folder: Path,
    *,
    fingerprint: str | None = None,
    check: bool = False,
) -> Bank:
    """Open a bank; its rows are mapped from its file.

    Args:
        folder: one generation's folder.
        fingerprint: of the model that will run it; None to open it without a model.
        check: compare every file with its hash first.

    Raises:
        NotBuilt, StoreDamaged: see `read_manifest`; also a file that is missing or changed.
        WrongModel: it was built for another model.
    """
    manifest = read_manifest(folder)
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise WrongModel(
            f"The bank at {folder} was built for {manifest.model} with fingerprint "
            f"{manifest.fingerprint}; the model at hand has {fingerprint}.",
            "Weights, tokenizer, chat template, dtype or layer differ. Run: revisor build",
        )
    if check:
        for fault in hash_faults(folder):
            raise StoreDamaged(fault, "Build again: delete that folder and run revisor build.")
    try:
        bank = Bank.of(read_rows(folder / ROWS)[0], folder / ROWS)
        if FRESH in manifest.files:
            fresh, more = read_rows(folder / FRESH)
            ids = bank.ids
            for place in more["gone"].tolist():
                bank.drop(ids[place])
            for row in fresh.rows():
                bank.put(row)
        bank.generation = manifest.generation
        if INDEX in manifest.files:
            bank.index = read_index(folder / INDEX, bank.view().keys_ME)
            if bank.index is None:
                _log.warning("The index of the bank at %s is not used. %s", folder, MISSING)
        return bank
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise StoreDamaged(
            f"The bank at {folder} cannot be read: {error}.",
            "Build again: delete that folder and run revisor build.",
        ) from error


def _publish(scratch: Path, root: Path, generation: int) -> Path:
    """Rename a finished folder to its place, then remove what it replaces."""
    older = [number for one, number in _folders(root) if one == generation]
    target = _folder(root, generation, max(older, default=0) + 1)
    os.replace(scratch, target)
    _flush(root)
    for number in older:
        with suppress(OSError):  # the next writer's `recover` does it
            _take_away(_folder(root, generation, number))
    return target


def _take_away(folder: Path) -> None:
    """Remove a published folder: first its name, so that nobody sees it incomplete."""
    gone = Path(tempfile.mkdtemp(dir=folder.parent, prefix=GONE))
    try:
        os.replace(folder, gone / folder.name)
    finally:
        shutil.rmtree(gone, ignore_errors=True)


def remove_generation(root: Path, generation: int) -> bool:
    """Remove one generation, unless it is in use; returns whether it is gone."""
    folder = generation_folder(root, generation)
    manifest = folder / MANIFEST
    if not manifest.exists():
        _take_away(folder)
        return True
    with unless_in_use(manifest) as free:
        if free:
            _take_away(folder)
    return free


def recover(root: Path) -> int:
    """Remove what killed processes left; returns how many folders. Only the writer may call it."""
    if not root.is_dir():
        return 0
    latest = {generation: _last(root, generation) for generation, _ in _folders(root)}
    left = [path for path in root.iterdir() if path.name.startswith((SCRATCH, GONE))]
    left += [
        _folder(root, generation, number)
        for generation, number in _folders(root)
        if number < latest[generation]
    ]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _last(root: Path, generation: int) -> int:
    return max(number for one, number in _folders(root) if one == generation)


def _flush(path: Path) -> None:
    """Flush a file or folder to disk before the rename that publishes it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
