"""A model with its facts as a folder that transformers opens: written whole, or not at all.

The folder's model type is its own, so that it is never opened without its facts in silence. Its
manifest has the SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revisor import __version__
from revisor.errors import CannotWrite, NotSupported, UsageError
from revisor.models.load import LoadedModel
from revisor.models.quiet import quiet_transformers

FORMAT = 1
MANIFEST = "manifest.json"
FACTS = "facts.jsonl"
CARD = "README.md"
CONFIG = "config.json"
CODE = "modeling_revisor.py"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_GONE = ".revisor-gone-"
_SHOWN = 20  # facts in a card

_HEADER = '''"""A model that carries its facts: written by `revisor export --hf`, revisor {version}.

Apache-2.0; the gate is revisor's own code.
"""

'''
_CLASSES = '''

from transformers import {config}, {model}


class RevisorConfig({config}):
    """The model's own config; `revisor` in it says what facts it has, and where."""

    model_type = "{model_type}"


class RevisorForCausalLM(CarriesFacts, {base}):
    """The model with its facts."""

    config_class = RevisorConfig
'''


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a folder holds.

    Attributes:
        facts: how many.
        generation: of which they are.
    """

    facts: int
    generation: int


def must_be_free(folder: Path) -> None:
    """Raise UsageError unless a folder is empty or missing, and its parent is there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"There is something at {folder} already.", "Name a new folder.")
    if not folder.absolute().parent.is_dir():
        raise UsageError(
            f"Cannot write {folder}: there is no folder {folder.parent}.",
            "Name a folder in one that is there.",
        )


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes `folder` at the end of the block, whole, or vanishes;
    CannotWrite if it could not be written."""
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
def replacing(folder: Path, rewritten: Collection[str]) -> Iterator[Path]:
    """As `appearing`, for a copy that takes the folder's place; `rewritten` files and those that
    tell of facts are left out, all others are hard links. After CannotWrite the folder is as it
    was."""
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=_GONE) as gone,
        appearing(folder) as scratch,
    ):
        left = {folder / name for name in (*rewritten, FACTS, CARD, MANIFEST)}

        def leave(place: str, names: list[str]) -> set[str]:
            return {name for name in names if Path(place) / name in left}

        shutil.copytree(folder, scratch, copy_function=_linked, ignore=leave, dirs_exist_ok=True)
        yield scratch
        os.replace(folder, Path(gone) / folder.name)


def _linked(source: str, target: str) -> None:
    """One file under two names; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_model(
    loaded: LoadedModel, folder: Path, *, code: str, base: str = "{model}", entry: Mapping[str, Any]
) -> None:
    """Write weights, config, tokenizer and the code that opens them.

    Args:
        code: Python that defines or imports `CarriesFacts`, from `from __future__` on.
        base: the class that this is mixed into; `{model}` is the model's own.
        entry: the config's value of `revisor`.

    Raises:
        NotSupported: the model's class is not one of transformers'.
    """
    model: Any = loaded.model
    kind, config = type(model).__name__, type(model.config).__name__
    if type(model).__module__.partition(".")[0] != "transformers":
        raise NotSupported(
            f"The model's class {kind} is not one of transformers', so a folder cannot carry it.",
            "Serve the store instead, or attach its facts to the model.",
        )
    model_type = f"revisor_{model.config.model_type}"
    with quiet_transformers():
        model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    stem = Path(CODE).stem
    edit_json(
        folder / CONFIG,
        model_type=model_type,
        architectures=["RevisorForCausalLM"],
        auto_map={
            "AutoConfig": f"{stem}.RevisorConfig",
            "AutoModelForCausalLM": f"{stem}.RevisorForCausalLM",
        },
        revisor=dict(entry),
    )
    # Exactly tokenizer.json; a family's own class would build parts of it anew.
    edit_json(folder / _TOKENIZER_CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    classes = _CLASSES.format(
        model=kind, config=config, model_type=model_type, base=base.format(model=kind)
    )
    text = _HEADER.format(version=__version__) + code.strip("\n") + classes
    (folder / CODE).write_text(text, encoding="utf-8")


def write_facts(
    folder: Path,
    facts: Sequence[Mapping[str, Any]],
    *,
    card: str,
    about: Mapping[str, Any],
    **counts: int,
) -> None:
    """Write facts as lines of a fact file, the card, and the manifest of all files with `about`,
    `counts`."""
    with (folder / FACTS).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in facts)
    (folder / CARD).write_text(card, encoding="utf-8")
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {
        "format": FORMAT,
        "revisor": __version__,
        "about": about,
        "facts": len(facts),
        **counts,
        "files": files,
    }
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_facts(folder: Path) -> list[dict[str, Any]]:
    """The facts of a folder as lines of a fact file."""
    with (folder / FACTS).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def read_about(folder: Path) -> dict[str, Any]:
    """What the manifest tells beside files and counts."""
    about: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))["about"]
    return about


def read_entry(folder: Path) -> dict[str, Any]:
    """What the config tells as `revisor`."""
    entry: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))["revisor"]
    return entry


def is_whole(folder: Path) -> bool:
    """Whether a folder is an export of a model, and all of it what its manifest says."""
    try:
        files: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return all(sha256_of(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def edit_json(file: Path, **changes: Any) -> None:
    """Change some values of a JSON object in a file."""
    found = json.loads(file.read_text("utf-8")) | changes
    file.unlink()  # it may be one file with that of another folder
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def facts_table(facts: Sequence[Mapping[str, Any]]) -> str:
    """The first facts as a table of a card, and how many there are beside."""
    rows = [
        "| " + " | ".join(_cell(fact[key]) for key in ("subject", "prompt", "object")) + " |"
        for fact in facts[:_SHOWN]
    ]
    left = len(facts) - len(rows)
    head = "| subject | prompt | object |\n|---|---|---|\n"
    return head + "\n".join(rows) + (f"\n\nand {left:,} more." if left else "")


def _cell(text: str) -> str:
    plain = " ".join(text.split())
    for sign in ("\\", "|", "`", "*", "_", "<", "["):
        plain = plain.replace(sign, "\\" + sign)
    return plain


def plain_name(model: str) -> str:
    """A model's name without its folder."""
    return Path(model).name if os.sep in model else model


def counted(count: int, noun: str) -> str:
    """A number with its noun, as in "3 facts"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
