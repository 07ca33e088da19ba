"""A model with its facts as a folder of its own, which transformers opens without revisor.

What comes in: a built store, and a folder that is not there yet. What goes out: weights, tokenizer,
bank, the facts as text, the code of the gate, a model card and a manifest with the SHA-256 of every
file; or, of such a folder, one without some facts. What it does not do: run the model; the code
that does is gate/carried.py.

The folder's model type is its own, so that it is never opened without its facts in silence.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor import __version__
from revisor.errors import CannotWrite, NotSupported, UsageError
from revisor.facts.epochs import bounds
from revisor.facts.lines import fact_line
from revisor.life.archive import file_hash
from revisor.life.bundle import bundle
from revisor.life.card import model_card
from revisor.models.quiet import quiet_transformers
from revisor.neuraldb.bank.bank import Bank, View
from revisor.neuraldb.bank.storage import ENCODER, ROWS, WHOLE_VIEW, read_view, write_view
from revisor.neuraldb.editing.build import row_facts
from revisor.neuraldb.gate.carried import BANK

if TYPE_CHECKING:
    from revisor.models.load import LoadedModel
    from revisor.store import Store

FORMAT = 1
MANIFEST = "manifest.json"
FACTS = "facts.jsonl"
CARD = "README.md"
CONFIG = "config.json"
CODE = "modeling_revisor.py"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_GONE = ".revisor-gone-"

_CLASSES = '''
class RevisorConfig({config}):
    """The model's own config; `revisor` in it says what bank it has and where the gate is."""

    model_type = "{model_type}"


class RevisorForCausalLM(CarriesFacts, {model}):
    """The model with its facts."""

    config_class = RevisorConfig
    _supports_attention_backend = False  # a server that manages the cache itself keeps no ids
'''


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a folder holds.

    Attributes:
        facts, rows: how many.
        generation: of the bank.
        stale: facts have changed since that was built.
    """

    facts: int
    rows: int
    generation: int
    stale: bool


def export_model(store: Store, folder: Path, *, actor: str) -> Exported:
    """Write the store's model with the facts of its newest bank that hold now.

    Raises:
        UsageError: there is something at `folder`, or no folder to put it in.
        NotBuilt: there is no bank yet.
        NotSupported: the model's class is not one of transformers'.
        CannotWrite: the disk is full, or the place may only be read; nothing is left behind.
    """
    _must_be_free(folder)
    bank = store.bank()
    rows = store.rows_in_force(bank)
    moment = rows.clock()
    view = rows.at(moment)
    timed = store.ledger.timed(generation=bank.generation)
    later = [bound for bound in bounds(timed) if bound > moment]
    settings = store.settings
    model: Any = store.loaded.model
    said = {
        "layer": settings.layer,
        "layers_path": next(n for n, part in model.named_modules() if part is store.spec.layers),
        "projection_path": store.spec.projection,
        "output_path": store.spec.output,
        "key_width": store.spec.key_width,
        "hidden_width": store.spec.hidden_width,
        "generation": bank.generation,
        "holds_until": later[0].isoformat() if later else None,
    }
    about = {
        "model": Path(settings.model).name if os.sep in settings.model else settings.model,
        "fingerprint": store.fingerprint,
        "preset": settings.preset,
        "dtype": settings.dtype,
        "layer": settings.layer,
        "generation": bank.generation,
        "holds_from": moment.isoformat() if timed else None,
        "holds_until": said["holds_until"],
    }
    facts = _facts_of(store, view)
    with _appearing(folder) as scratch:
        _write_model(store.loaded, scratch, said)
        _write_facts(scratch, view, facts, about)
    store.ledger.record(
        "export",
        actor=actor,
        generation=store.ledger.generation,
        file=str(folder.resolve()),
        sha256=file_hash(folder / MANIFEST),
    )
    return Exported(
        facts=len(facts),
        rows=len(view.ids),
        generation=bank.generation,
        stale=bank.generation != store.ledger.generation,
    )


def is_whole(folder: Path) -> bool:
    """Whether a folder is an export of a model, and all of it what its manifest says."""
    try:
        files: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return all(file_hash(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def purge_folder(folder: Path, ids: Collection[str]) -> bool:
    """Write an exported folder anew without some facts; whether it held any.

    Raises:
        CannotWrite: it cannot be written; it is as it was.
    """
    lines = [json.loads(line) for line in (folder / FACTS).read_text("utf-8").splitlines()]
    kept = [line for line in lines if line["id"] not in ids]
    if len(kept) == len(lines):
        return False
    about = json.loads((folder / MANIFEST).read_text("utf-8"))["about"]
    bank_folder = folder / BANK
    bank = Bank.of(
        read_view(bank_folder / ROWS, bank_folder / ENCODER, generation=about["generation"])
    )
    for row_id in bank.holding(ids):
        bank.drop(row_id, about["generation"])
    with _replacing(folder) as scratch:
        _write_facts(scratch, bank.view(), kept, about)
    return True


def _must_be_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"There is something at {folder} already.", "Name a new folder.")
    if not folder.absolute().parent.is_dir():
        raise UsageError(
            f"Cannot write {folder}: there is no folder {folder.parent}.",
            "Name a folder in one that is there.",
        )


def _facts_of(store: Store, view: View) -> list[dict[str, Any]]:
    """The facts of a view's rows as lines of a fact file, in the ledger's order."""
    ids = {i for row_id in view.ids for i in row_facts(row_id)}
    facts = store.ledger.facts(generation=view.generation)
    return [fact_line(fact) for fact in facts if fact.id in ids]


def _write_model(loaded: LoadedModel, folder: Path, said: dict[str, Any]) -> None:
    """Weights, config, tokenizer and code."""
    model: Any = loaded.model
    kind, config = type(model).__name__, type(model.config).__name__
    if type(model).__module__.partition(".")[0] != "transformers":
        raise NotSupported(
            f"The model's class {kind} is not one of transformers', so a folder cannot carry it.",
            "Serve the store instead, or use store.attached(model).",
        )
    model_type = f"revisor_{model.config.model_type}"
    with quiet_transformers():
        model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    _edit(
        folder / CONFIG,
        model_type=model_type,
        architectures=["RevisorForCausalLM"],
        auto_map={
            "AutoConfig": f"{Path(CODE).stem}.RevisorConfig",
            "AutoModelForCausalLM": f"{Path(CODE).stem}.RevisorForCausalLM",
        },
        revisor=said,
    )
    # Exactly tokenizer.json; a family's own class would build parts of it anew.
    _edit(folder / _TOKENIZER_CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    classes = _CLASSES.format(model=kind, config=config, model_type=model_type)
    header = (
        '"""A model that carries its facts: written by `revisor export --hf`, '
        f'revisor {__version__}.\n\nApache-2.0; the code below is revisor\'s own gate.\n"""\n\n'
    )
    imports = f"\nfrom transformers import {config}, {kind}\n\n"
    code = header + bundle("revisor.neuraldb.gate.carried", ["CarriesFacts"]) + imports + classes
    (folder / CODE).write_text(code, encoding="utf-8")


def _write_facts(
    folder: Path, view: View, facts: Sequence[dict[str, Any]], about: dict[str, Any]
) -> None:
    """Everything that facts are in, then the manifest of all files."""
    bank = folder / BANK
    bank.mkdir(exist_ok=True)
    write_view(view, bank)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    hashes = {name: file_hash(bank / name) for name in WHOLE_VIEW if (bank / name).exists()}
    _edit(folder / CONFIG, revisor=config["revisor"] | {"bank": hashes})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in facts)
    (folder / FACTS).write_text(text, encoding="utf-8")
    (folder / CARD).write_text(model_card(facts, len(view.ids), about), encoding="utf-8")
    files = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {
        "format": FORMAT,
        "revisor": __version__,
        "about": about,
        "facts": len(facts),
        "rows": len(view.ids),
        "files": files,
    }
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _edit(file: Path, **changes: Any) -> None:
    found = json.loads(file.read_text("utf-8")) | changes
    file.unlink()  # it may be one file with that of another folder
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes `folder` at the end of the block, whole, or vanishes."""
    from safetensors import SafetensorError

    parent = folder.absolute().parent
    scratch: Path | None = None
    try:
        scratch = Path(tempfile.mkdtemp(dir=parent, prefix=".revisor-export-"))
        yield scratch
        scratch.chmod(0o755)
        os.replace(scratch, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotWrite(
            f"Cannot write {folder}: {reason}.",
            "Nothing was left there. Make room, or choose another place, and run it again.",
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """As `_appearing`, of a copy of a folder that takes the folder's place; weights are shared."""
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=_GONE) as gone,
        _appearing(folder) as scratch,
    ):
        shutil.copytree(folder, scratch, copy_function=_link, dirs_exist_ok=True)
        shutil.rmtree(scratch / BANK)
        for name in (FACTS, CARD, MANIFEST):
            (scratch / name).unlink()
        yield scratch
        os.replace(folder, Path(gone) / folder.name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not on one disk, or a file system without links
        shutil.copy2(source, target)
