"""Erasure: a fact's text and vectors taken out of everything that a store wrote.

What comes in: a store and ids. What goes out: the ledger, the banks, the exports and a server's
logs without them, and an `Erased` that says what could not be reached. What it does not do:
overwrite the sectors of a disk, or know copies that somebody else made.

The order matters: banks and files first, the ledger last. A process that is killed in between
has erased nothing from the ledger, and the same command does the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.errors import CannotWrite, NotBuilt
from revisor.facts.fact import normal_form
from revisor.life.archive import file_hash, is_archive, pack, unpack
from revisor.neuraldb.bank import leases

if TYPE_CHECKING:
    from revisor.store import Store


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did.

    Attributes:
        facts, revisions: how many facts, and how many values of them.
        generation: of the ledger afterwards.
        banks: folders of banks that were written anew without the facts' rows.
        exports: files that were written anew without them.
        unreached: files to which the store was once exported and that are no longer there, or are
            no longer what was written: somebody has to look at them.
    """

    facts: int
    revisions: int
    generation: int
    banks: tuple[str, ...]
    exports: tuple[str, ...]
    unreached: tuple[str, ...]


def purge(store: Store, fact_ids: Collection[str], *, actor: str, reason: str) -> Erased:
    """Erase facts by their whole ids.

    Raises:
        Conflict: another process builds; or reads the database, which keeps old pages: then all
            but those is erased, and `revisor gc` finishes it.
        CannotWrite: a file cannot be written anew.
    """
    ids = set(fact_ids)
    with ExitStack() as locks:
        root = store.path / "banks"
        models = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
        for model in models:
            locks.enter_context(leases.only_writer(model))
        alone = _left_alone(store, ids)
        banks = [folder for model in models for folder in _purge_banks(model, ids, alone)]
        exports, unreached = _purge_exports(store, ids, actor=actor)
        for log in sorted((store.path / "logs").glob("*.jsonl")):
            _purge_lines(log, ids, _tells_of)
        gone = store.ledger.purge(ids, actor=actor, reason=reason)
    store.ledger.scrub()
    return Erased(
        facts=len(gone.ids),
        revisions=gone.revisions,
        generation=gone.generation,
        banks=tuple(banks),
        exports=tuple(exports),
        unreached=tuple(unreached),
    )


def _left_alone(store: Store, ids: set[str]) -> set[str]:
    """The facts that are their subject's only ones once these are gone, if their rows have to go.

    Found by its question, such a row answers on, in the wordings in which it was told from its
    siblings, until its subject is built again; where a bank is to be as if they had never been, and
    where an only fact is keyed at its name, it is made anew.
    """
    ledger = store.ledger
    if store.settings.scope == "question" and not store.settings.exact:
        return set()
    going = ledger.known(ids, generation=ledger.generation)
    staying: dict[str, list[str]] = {}
    for fact in ledger.about({fact.subject for fact in going.values()}):
        if fact.id not in ids:
            staying.setdefault(normal_form(fact.subject), []).append(fact.id)
    return {mine[0] for mine in staying.values() if len(mine) == 1}


def _purge_banks(banks: Path, ids: set[str], alone: set[str]) -> list[str]:
    """Publish every generation again that holds one of the facts, without its rows.

    A row that told a fact from its siblings goes too where there are none left: the next build
    makes it anew, as it would have been without them.
    """
    from revisor.neuraldb.bank.files import (
        generation_folder,
        generations,
        load_bank,
        recover,
        save_bank,
    )
    from revisor.neuraldb.bank.manifest import read_manifest
    from revisor.neuraldb.bank.storage import INDEX
    from revisor.neuraldb.build.partial import Partial

    recover(banks)
    Partial(banks).clear()
    written = []
    for number in generations(banks):
        folder = generation_folder(banks, number)
        try:
            manifest = read_manifest(folder)
        except NotBuilt:  # of an earlier revisor: nobody can read it any more
            shutil.rmtree(folder)
            continue
        failed = [entry for entry in manifest.failed if entry["id"] not in ids]
        kept = [load_bank(folder)]
        if manifest.build.get("exact"):
            kept.append(load_bank(folder, unchecked=True))
        hits = 0
        for bank in kept:
            # Rows that are no more lie in a file that was linked as they did.
            hits += bank.remembers(ids)
            gone = bank.holding(ids)
            if gone:
                gone += [row_id for row_id in alone if row_id in bank and bank.get(row_id).after]
            for row_id in gone:
                bank.drop(row_id, number)
        if hits or len(failed) < len(manifest.failed):
            view, build = kept[0].view(), manifest.build | {"complete": False}
            if INDEX in manifest.files and (view.coarse is None or not view.coarse.whole):
                build["search"] = {"kind": "exact"}  # an index knows all keys it was made of
            target = save_bank(
                view,
                banks,
                fingerprint=manifest.fingerprint,
                model=manifest.model,
                layer=manifest.layer,
                build=build,
                failed=failed,
                unchecked=kept[1].view() if len(kept) > 1 else None,
                whole=True,
            )
            written.append(str(target))
    return written


def _purge_exports(store: Store, ids: set[str], *, actor: str) -> tuple[list[str], list[str]]:
    """Write anew what the store was exported to, where it is still what was written."""
    from revisor.life.exported import MANIFEST, is_whole, purge_folder

    latest: dict[str, str] = {}
    for event in reversed(store.ledger.events()):
        if event.kind == "export":
            latest[event.details["file"]] = event.details["sha256"]
    written, unreached = [], []
    for name, digest in latest.items():
        file = Path(name)
        proof = file / MANIFEST if file.is_dir() else file  # of a model's folder
        if not proof.is_file() or file_hash(proof) != digest:
            unreached.append(name)
            continue
        if file.is_dir():
            if not is_whole(file):
                unreached.append(name)
                continue
            changed = purge_folder(file, ids)
        else:
            changed = _purge_archive(file, ids) if is_archive(file) else _purge_lines(file, ids)
        if changed:
            written.append(name)
            store.ledger.record(
                "export",
                actor=actor,
                generation=store.ledger.generation,
                file=name,
                sha256=file_hash(proof),
            )
    return written, unreached


def _is_one(line: dict[str, Any], ids: set[str]) -> bool:
    """Whether the line of a fact file is one of the facts."""
    return line["id"] in ids


def _tells_of(line: dict[str, Any], ids: set[str]) -> bool:
    """Whether the line of a server's hit log tells of one of the facts."""
    return any(used["id"] in ids for used in line["facts_used"])


def _purge_lines(
    file: Path, ids: set[str], holds: Callable[[dict[str, Any], set[str]], bool] = _is_one
) -> bool:
    """Leave the lines that hold one of the facts out of a file; whether there were any."""
    found = False
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".revisor-") as scratch:
            target = Path(scratch) / file.name
            with file.open("rb") as old, target.open("wb") as new:
                for line in old:
                    if holds(json.loads(line), ids):
                        found = True
                    else:
                        new.write(line)
            if found:
                os.replace(target, file)
    except OSError as error:
        raise CannotWrite(
            f"{file} cannot be written anew: {error.strerror}.",
            "Nothing was purged from the ledger. Make it writable, or move it away.",
        ) from error
    return found


def _purge_archive(file: Path, ids: set[str]) -> bool:
    """Unpack an archive, erase the facts there, and pack it again; whether it held any."""
    from revisor.errors import NotFound
    from revisor.store import Store

    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".revisor-") as scratch:
        inner = Path(scratch) / "store"
        unpack(file, inner)
        with Store.open(inner) as old:
            known = []
            for fact_id in ids:
                try:
                    known += old.ledger.ids_of([fact_id])
                except NotFound:
                    continue
            if not known:
                return False
            purge(old, known, actor="revisor", reason="purged from the store it came from")
            pack(old, file)
    return True
