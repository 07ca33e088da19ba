"""Erasure: a fact's text and vectors taken out of everything that a store wrote; and what nobody
needs, removed.

The order matters. Banks and exports come before the ledger: a process that is killed in between
has erased nothing from the ledger, and the same command does the rest. What comes after the ledger
(a server's hit log, the index's file, the database's free pages) `revisor gc` finishes. The sectors
of the disk are not overwritten, and copies that somebody else made are not known.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from revisor.errors import BadInput, CannotWrite, Conflict, NotFound, UsageError
from revisor.facts.audit import Event
from revisor.facts.private import sha256_of, writing, written_whole
from revisor.index.basefile import forget
from revisor.models.folder import is_whole
from revisor.neuraldb import method as neuraldb
from revisor.operations import hf_export
from revisor.operations.archive import is_archive, pack, unpack
from revisor.operations.hits import blank_erased
from revisor.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did.

    Attributes:
        facts, revisions: how many facts, and how many values of them.
        generation: of the ledger afterwards.
        banks: folders of banks that were written anew without the facts' rows, or, where the
            store's method needs none, taken away.
        exports: files that were written anew without them.
        unreached: files to which the store was once exported and that are no longer there, or are
            no longer what was written, or that an archive names from which the store was restored:
            somebody has to look at them.
    """

    facts: int
    revisions: int
    generation: int
    banks: tuple[str, ...]
    exports: tuple[str, ...]
    unreached: tuple[str, ...]


def purge(
    ws: Workspace,
    fact_ids: Collection[str],
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> Erased:
    """Erase facts by their whole ids."""
    ids = set(fact_ids)
    ws.ledger.need_approval(ids, actor=actor, approved_by=approved_by)
    with neuraldb.only_purger(ws.banks):
        has_banks = ws.settings.method == "neuraldb"
        banks = neuraldb.purge_rows(ws.banks, ids) if has_banks else _remove_banks(ws)
        exports, unreached = _purge_exports(ws, ids, actor=actor)
        gone = ws.ledger.purge(ids, actor=actor, reason=reason, approved_by=approved_by)
    try:
        finish(ws)
    except (CannotWrite, Conflict) as error:  # "nothing was changed" is not so here
        told = error.message.rstrip(".")
        raise type(error)(
            f"The facts are erased, but their text may still lie in the store's files: {told}.",
            "See to that, then run `revisor gc`, which finishes the erasure.",
        ) from error
    return Erased(
        facts=len(gone.ids),
        revisions=gone.revisions,
        generation=gone.generation,
        banks=tuple(str(folder) for folder in banks),
        exports=tuple(exports),
        unreached=tuple(unreached),
    )


def finish(ws: Workspace) -> None:
    """Do what is left of an erasure after the facts went from the ledger's tables."""
    forget(ws.index)  # what is left of the facts is read anew from the ledger
    for log in sorted((ws.path / "logs").glob("*.jsonl")):
        blank_erased(log, lambda number, ids: ws.ledger.known(ids, generation=number))
    ws.ledger.scrub()


def note_collected(ws: Workspace, gone: Collection[int], *, actor: str) -> None:
    """Finish an erasure, and note the generations of which a bank was removed."""
    if ws.ledger.unscrubbed:
        finish(ws)
    if gone:
        ws.ledger.record("gc", actor=actor, removed=sorted(gone))


def collect_old_banks(ws: Workspace, keep: int) -> list[int]:
    """Remove the banks that version 0.1 left in a store whose method has none; returns the
    generations of which a bank was removed."""
    if keep < 1:
        raise UsageError(f"Cannot keep {keep} generations.", "Keep at least 1.")
    with neuraldb.only_purger(ws.banks):
        folders = _remove_banks(ws)
    numbers = (folder.name.removeprefix("gen-").partition(".")[0] for folder in folders)
    return sorted({int(number) for number in numbers if number.isdigit()})


def _remove_banks(ws: Workspace) -> list[Path]:
    """Remove them; returns the folders of generations that were there."""
    folders = sorted(ws.banks.glob("*/gen-*"))
    try:
        if ws.banks.is_dir():
            shutil.rmtree(ws.banks)
    except OSError as error:
        raise CannotWrite(
            f"{error.filename or ws.banks} cannot be removed: {error.strerror}.",
            "Have somebody run it who may write there.",
        ) from error
    return folders


def _purge_exports(ws: Workspace, ids: set[str], *, actor: str) -> tuple[list[str], list[str]]:
    """Write anew what the store was exported to, where it is still what was written."""
    latest, foreign = _exports(reversed(ws.ledger.events()))
    written, unreached = [], sorted(foreign - latest.keys())
    for name, digest in latest.items():
        file = Path(name)
        proof = file / "manifest.json" if file.is_dir() else file  # of a model's folder
        if not proof.is_file() or sha256_of(proof) != digest:
            unreached.append(name)
            continue
        if file.is_dir():
            if not is_whole(file):
                unreached.append(name)
                continue
            kind = hf_export if hf_export.carries_gate(file) else neuraldb
            changed = kind.purge_folder(file, ids)
        else:
            try:
                changed = _purge_archive(file, ids) if is_archive(file) else _purge_lines(file, ids)
            except BadInput:  # an archive of a form that is not read any more
                unreached.append(name)
                continue
        if changed:
            written.append(name)
            ws.ledger.record("export", actor=actor, file=name, sha256=sha256_of(proof))
    return written, unreached


def _exports(events: Iterable[Event]) -> tuple[dict[str, str], set[str]]:
    """The files that the store was exported to, with their last hashes; and those that an archive
    names which it was restored from.

    The latter are what somebody else says, so they are never opened: whoever made the archive could
    have a file of this machine written over.

    Args:
        events: the audit, the first event first.
    """
    latest: dict[str, str] = {}
    foreign: set[str] = set()
    for event in events:
        if event.kind == "restore":
            foreign |= latest.keys()
            latest = {}
        elif event.kind == "export":
            latest[str(event.details.get("file"))] = str(event.details.get("sha256"))
    return latest, foreign


def _purge_lines(file: Path, ids: set[str]) -> bool:
    """Leave the facts out of a file of facts; whether there were any."""
    hint = "Nothing was purged from the ledger. Make it writable, or move it away."
    with writing(f"{file} cannot be written anew", hint), file.open("rb") as old:
        if not any(json.loads(line)["id"] in ids for line in old):
            return False
        old.seek(0)
        with written_whole(file) as new:
            new.writelines(line for line in old if json.loads(line)["id"] not in ids)
            os.fchmod(new.fileno(), file.stat().st_mode & 0o777)
    return True


def _purge_archive(file: Path, ids: set[str]) -> bool:
    """Unpack an archive, erase the facts there, and pack it again; whether it held any."""
    try:
        return _purge_packed(file, ids)
    except CannotWrite as error:
        raise CannotWrite(
            f"{file} cannot be written anew: {error.message}",
            "Nothing was purged from the ledger. Make room, or move it away.",
        ) from error


def _purge_packed(file: Path, ids: set[str]) -> bool:
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".revisor-") as scratch:
        inner = Path(scratch) / "store"
        unpack(file, inner, actor="revisor")  # with that, files that it was exported to are left
        old = Workspace.open(inner)
        with old.ledger:
            known = []
            for fact_id in ids:
                try:
                    known += old.ledger.ids_of([fact_id])
                except NotFound:
                    continue
            if not known:
                return False
            why = "purged from the store it came from"
            purge(old, known, actor="revisor", reason=why, approved_by="that store")
            mode = file.stat().st_mode
            pack(old, file)
            file.chmod(mode)
    return True
