"""A model with its bank as a folder of its own, which transformers opens without revisor.

It holds weights, tokenizer, bank, the facts as text, the code of the gate, a model card and a
manifest with the SHA-256 of every file (models/folder.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revisor import __version__
from revisor.facts.epochs import bounds
from revisor.facts.lines import fact_line
from revisor.models.folder import (
    CONFIG,
    MANIFEST,
    Exported,
    appearing,
    edit_json,
    must_be_free,
    plain_name,
    read_about,
    read_entry,
    read_facts,
    replacing,
    sha256_of,
    write_facts,
    write_model,
)
from revisor.models.modules import flat_modules, flat_name
from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.bank.storage import INDEX, ROWS, read_rows, write_rows
from revisor.neuraldb.export.card import model_card
from revisor.neuraldb.export.carried import BANK
from revisor.neuraldb.opening import open_bank, valid_rows
from revisor.neuraldb.workspace import Workspace

_CARRIED = "revisor.neuraldb.export.carried"


@dataclass(frozen=True, kw_only=True)
class ExportedBank(Exported):
    """The number of rows in a folder, and whether facts have changed since they were built
    (`stale`)."""

    rows: int
    stale: bool


def export_model(ws: Workspace, folder: Path, *, actor: str = "") -> ExportedBank:
    """Write the model with the facts of its bank that hold now.

    Raises:
        UsageError: there is something at `folder`, or it has no parent folder.
        NotBuilt: there is no bank yet.
        NotSupported: the model's class is not one of transformers'.
        CannotWrite: the disk is full, or the place is read-only; nothing is left behind.
    """
    must_be_free(folder)
    bank, lease = open_bank(ws)
    with closing(lease):
        return _export(ws, bank, folder, actor)


def _export(ws: Workspace, bank: Bank, folder: Path, actor: str) -> ExportedBank:
    rows = valid_rows(ws, bank)
    moment = rows.clock()
    view = rows.at(moment)
    timed = ws.ledger.timed(generation=bank.generation)
    later = [bound for bound in bounds(timed) if bound > moment]
    settings = ws.settings
    model: Any = ws.loaded.model
    gate = {
        "layer": settings.layer,
        "layers_path": next(n for n, part in model.named_modules() if part is ws.spec.layers),
        "projection_path": ws.spec.projection,
        "output_path": ws.spec.output,
        "key_width": ws.spec.key_width,
        "hidden_width": ws.spec.hidden_width,
        "generation": bank.generation,
        "holds_until": later[0].isoformat() if later else None,
    }
    about = {
        "model": plain_name(settings.model),
        "fingerprint": ws.fingerprint,
        "dtype": settings.dtype,
        "layer": settings.layer,
        "generation": bank.generation,
        "holds_from": moment.isoformat() if timed else None,
        "holds_until": gate["holds_until"],
    }
    ids = set(view.ids)
    facts = [
        fact_line(fact) for fact in ws.ledger.facts(generation=bank.generation) if fact.id in ids
    ]
    code = (
        f"from __future__ import annotations\n\nfrom .{flat_name(_CARRIED)} import CarriesFacts\n"
    )
    with appearing(folder) as scratch:
        for name, text in flat_modules(_CARRIED, {}).items():
            head = f"# Of revisor {__version__}, Apache-2.0.\n"
            (scratch / name).write_text(head + text, encoding="utf-8")
        write_model(ws.loaded, scratch, code=code, entry=gate)
        _write_bank(scratch, view, facts, about)
    ws.ledger.record_if_writable(
        "export",
        actor=actor,
        generation=ws.ledger.generation,
        file=str(folder.resolve()),
        sha256=sha256_of(folder / MANIFEST),
    )
    return ExportedBank(
        facts=len(facts),
        rows=len(view.ids),
        generation=bank.generation,
        stale=bank.generation != ws.ledger.live_generation(),
    )


def purge_folder(folder: Path, ids: Collection[str]) -> bool:
    """Write an exported folder anew without some facts; returns whether it held any. CannotWrite
    leaves it as it was."""
    lines = read_facts(folder)
    kept = [line for line in lines if line["id"] not in ids]
    if len(kept) == len(lines):
        return False
    about = read_about(folder)
    bank = Bank.of(read_rows(folder / BANK / ROWS)[0])
    for row_id in bank.present(ids):
        bank.drop(row_id)
    with replacing(folder, (BANK,)) as scratch:
        _write_bank(scratch, bank.view(), kept, about)
    return True


def _write_bank(
    folder: Path, view: View, facts: Sequence[dict[str, Any]], about: dict[str, Any]
) -> None:
    """Write everything that has facts in it."""
    bank = folder / BANK
    bank.mkdir()
    write_rows(view, bank / ROWS)
    if view.coarse is not None:
        view.coarse.write(bank / INDEX)
    hashes = {path.name: sha256_of(path) for path in sorted(bank.iterdir())}
    edit_json(folder / CONFIG, revisor=read_entry(folder) | {"bank": hashes})
    card = model_card(facts, len(view.ids), about)
    write_facts(folder, facts, card=card, about=about, rows=len(view.ids))
