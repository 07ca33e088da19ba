"""Writes a model with its facts as a folder, and takes facts out of such a folder again.

It holds weights, tokenizer, the facts as text and as an index, what the gate needs, the gate's own
code, a model card and a manifest (models/folder.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from revisor import __version__
from revisor.errors import NotSupported
from revisor.facts.fact import parse_time
from revisor.facts.following import Follower, Row
from revisor.facts.lines import fact_line
from revisor.gate.functional import save_probe
from revisor.gate.gate import FactGate
from revisor.index.base import Base
from revisor.index.build import build
from revisor.index.merge import merged
from revisor.language.lists import LANGUAGES, word_forms, word_list
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
from revisor.models.load import LoadedModel
from revisor.models.modules import flat_modules, flat_name
from revisor.operations.hf_export.card import model_card
from revisor.operations.hf_export.carried import ENCODERS, GATE, INDEX, PROBE
from revisor.question.encoder import default_encoder
from revisor.workspace import Workspace

_CARRIED = "revisor.operations.hf_export.carried"
_LISTS = "revisor.language.lists"
_CODE = f"""
from __future__ import annotations

from .{flat_name(_CARRIED)} import CarriesFacts, class_with_facts
"""
_LISTS_CODE = '''"""The word lists of each language as they are written, TOML."""

from __future__ import annotations

LANGUAGES = {languages!r}
_LISTS = {lists!r}
_FORMS = {forms!r}


def word_list(language: str) -> str:
    """The text of a language's lists."""
    return _LISTS[language]


def word_forms(language: str) -> str:
    """The text of a language's commonest word forms."""
    return _FORMS[language]
'''


def export_model(
    ws: Workspace, loaded: LoadedModel, gate: FactGate, folder: Path, *, actor: str = ""
) -> Exported:
    """Write a model with the facts that are live, but for those whose time is over.

    Args:
        loaded: the model.
        gate: gives encoder, probe and threshold; the facts are all of the live generation's.

    Raises:
        UsageError: there is something at `folder`, or no folder to put it in.
        NotSupported: the model's class is not one of transformers', or the gate's encoder is not
            the shipped one.
        CannotWrite: the disk is full, or the place may only be read; nothing is left behind.
    """
    must_be_free(folder)
    if gate.encoder is not default_encoder():
        raise NotSupported(
            f"The encoder {gate.encoder.name} cannot be put into a folder; the shipped one can.",
            "Leave `encoder` out of store.toml, or serve the store instead.",
        )
    generation, now = ws.ledger.live_generation(), ws.clock()
    rows = map(Row._make, Follower(ws.ledger).rows(generation))
    index = build((row for row in rows if not _is_over(row.valid_to, now)), generation=generation)
    facts = [
        fact_line(fact)
        for fact in ws.ledger.facts(generation=generation)
        if not _is_over(fact.valid_to, now)
    ]
    about = {
        "model": plain_name(ws.settings.model),
        "dtype": ws.settings.dtype,
        "generation": generation,
        "encoder": gate.encoder.name,
    }
    with appearing(folder) as scratch:
        _write_code(scratch)
        write_model(
            loaded,
            scratch,
            code=_CODE,
            base="class_with_facts({model})",
            entry={"generation": generation, "threshold": gate.threshold},
        )
        _write_gate(scratch, gate)
        _write_index(scratch, index, facts, about)
    ws.note_export(folder.resolve(), folder / MANIFEST, actor=actor)
    return Exported(facts=len(facts), generation=generation)


def carries_gate(folder: Path) -> bool:
    """Whether an exported folder is one of these, not one with a bank."""
    return "gate" in read_entry(folder)


def purge_folder(folder: Path, ids: Collection[str]) -> bool:
    """Write an exported folder anew without some facts; whether it held any.

    Raises:
        CannotWrite: it cannot be written; it is as it was.
    """
    lines = read_facts(folder)
    kept = [line for line in lines if line["id"] not in ids]
    if len(kept) == len(lines):
        return False
    base = Base((folder / GATE / INDEX).read_bytes())
    ended = [row for row in range(base.count) if base.fact(row).id in ids]
    index = merged(base, ended, {}, generation=base.generation)
    with replacing(folder, (f"{GATE}/{INDEX}",)) as scratch:
        _write_index(scratch, index, kept, read_about(folder))
    return True


def _is_over(valid_to: str | None, now: datetime) -> bool:
    return bool(valid_to) and parse_time(str(valid_to)) <= now


def _write_code(folder: Path) -> None:
    """The modules of the gate, beside the one that `write_model` writes."""
    lists = _LISTS_CODE.format(
        languages=LANGUAGES,
        lists={language: word_list(language) for language in LANGUAGES},
        forms={language: word_forms(language) for language in LANGUAGES},
    )
    for name, text in flat_modules(_CARRIED, {_LISTS: lists}).items():
        head = f"# Of revisor {__version__}, Apache-2.0.\n"
        (folder / name).write_text(head + text, encoding="utf-8")


def _write_gate(folder: Path, gate: FactGate) -> None:
    """What the gate needs beside code and facts."""
    place = folder / GATE
    place.mkdir()
    for name in ENCODERS:
        (place / name).write_bytes((files("revisor.data") / name).read_bytes())
    if gate.probe is not None:
        save_probe(gate.probe, place / PROBE)


def _write_index(
    folder: Path, index: bytes, facts: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> None:
    """Everything that facts are in."""
    place = folder / GATE
    (place / INDEX).write_bytes(index)
    hashes = {path.name: sha256_of(path) for path in sorted(place.iterdir())}
    edit_json(folder / CONFIG, revisor=read_entry(folder) | {"gate": hashes})
    write_facts(folder, facts, card=model_card(facts, about), about=about)
