"""Banks on disk: safetensors and a JSON manifest with hashes, published by one rename.

What comes in: a `View` to save, or a folder to open. What goes out: a folder `gen-NNNNNNN` that
is either whole or absent, or a `Bank` over the files. What it does not do: decide which generation
is served (store.py). Nothing is pickled.

A generation that is published again gets a folder of its own, `gen-NNNNNNN.2` and so on; the last
one counts, and the others are taken away. So at no moment is a generation missing or half there,
whenever a process is killed; what it leaves behind starts with a dot, and `recover` removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from revisor.bank.bank import Bank, View
from revisor.bank.coarse import Coarse
from revisor.bank.encode import KeyEncoder
from revisor.bank.ids import Ids
from revisor.bank.leases import unless_in_use
from revisor.bank.names import NameIndex
from revisor.bank.tensors import Stored, write_tensors
from revisor.bank.vectors import WHOLE, Matrix, Packed, bits_of, chunks
from revisor.errors import CannotWrite, NotBuilt, StoreDamaged, WrongModel

FORMAT = 3
MANIFEST = "manifest.json"
ROWS = "rows.safetensors"
ENCODER = "encoder.safetensors"
RAW = "unchecked.safetensors"
CHECKED = "checked.json"
LARGE = 1 << 28  # bytes: a file from this size on is not read whole at every opening
PREFIX = "gen-"
SCRATCH = ".publishing-"
GONE = ".gone-"
_NAME = re.compile(rf"{PREFIX}(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bank folder says of itself.

    Attributes:
        fingerprint: of the model it was built for.
        model: that model's name.
        layer: where its gate belongs.
        generation: of the ledger it was built from.
        rows, entries: N and M.
        bytes_per_fact: stored bytes of all that makes up the rows, over the rows.
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


def generation_folder(root: Path, generation: int) -> Path:
    """Where one generation of a bank lies, or would."""
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
    view: View,
    root: Path,
    *,
    fingerprint: str,
    model: str,
    layer: int,
    build: dict[str, Any],
    failed: list[dict[str, str]],
    unchecked: View | None = None,
) -> Path:
    """Publish a view as one generation; a reader sees all of it or nothing.

    Vectors are written in the bits the view has them in: a row that is loaded gives the same
    numbers. They are written piece by piece; a bank may be larger than memory.

    Args:
        unchecked: the rows as they were before the check through the gate, to be kept beside.

    Raises:
        CannotWrite: the disk is full, or the folder may only be read; nothing is published.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=root, prefix=SCRATCH))
    except OSError as error:
        raise _cannot_write(root, error) from error
    try:
        names = [ROWS, ENCODER]
        size = write_view(view, scratch)
        if unchecked is not None:
            _save_rows(unchecked, scratch / RAW)
            names.append(RAW)
        manifest = Manifest(
            fingerprint=fingerprint,
            model=model,
            layer=layer,
            generation=view.generation,
            rows=len(view.ids),
            entries=len(view.keys_ME),
            bits=bits_of(view.keys_ME),
            bytes_per_fact=round(size / max(1, len(view.ids)), 1),
            build=build,
            failed=failed,
            files={name: _sha256(scratch / name) for name in names},
        )
        sealed = vars(manifest) | {"seal": _seal(vars(manifest))}
        text = json.dumps(sealed, indent=2, sort_keys=True)
        (scratch / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for path in scratch.iterdir():
            _flush(path)
        _note_checked(scratch, names)
        scratch.chmod(0o755)
        target = _publish(scratch, root, view.generation)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            raise _cannot_write(root, error) from error
        raise
    return target


def write_view(view: View, folder: Path) -> int:
    """Write a view's two files into a folder; returns the bytes of its rows' tensors."""
    _save_encoder(view.encoder, folder / ENCODER)
    return _save_rows(view, folder / ROWS)


def _save_rows(view: View, path: Path) -> int:
    """Write the rows of a view; the bytes of their tensors."""
    ids = Ids.of(view.ids)
    tensors = {
        "ids": Stored.of(ids.text_C),
        "id_end": Stored.of(ids.end_N),
        "gamma": Stored.of(view.gamma_M),
        "row": Stored.of(view.row_M.int()),
        **_vectors("keys", view.keys_ME),
        **_vectors("residuals", view.R_ND),
    }
    if view.names is not None:
        tensors |= {
            "names": Stored.of(view.names.hash_H),
            "name_row": Stored.of(view.names.row_H.int()),
            "after": Stored.of(view.names.after_N),
        }
        if view.names.kind_V is not None:
            tensors["kinds"] = Stored.of(view.names.kind_V)
    if view.coarse is not None:
        tensors |= _coarse(view.coarse)
    write_tensors(path, tensors)
    return sum(tensor.nbytes for tensor in tensors.values())


def _vectors(name: str, matrix: Matrix) -> dict[str, Stored]:
    """What is stored of a matrix; its rows are fetched when they are written."""
    count, width = matrix.shape
    bits = bits_of(matrix)
    if bits == WHOLE:
        whole = (part for part in chunks(matrix) if isinstance(part, torch.Tensor))
        return {name: Stored(dtype=torch.float32, shape=(count, width), parts=whole)}
    codes = (part.codes_NB for part in chunks(matrix) if isinstance(part, Packed))
    scales = (part.scale_N for part in chunks(matrix) if isinstance(part, Packed))
    kind, stride = (torch.int8, width) if bits == 8 else (torch.uint8, width // 2)
    return {
        name: Stored(dtype=kind, shape=(count, stride), parts=codes),
        f"{name}_scale": Stored(dtype=torch.float32, shape=(count,), parts=scales),
    }


def _coarse(index: Coarse) -> dict[str, Stored]:
    tensors = {
        "direction": index.direction_EW,
        "centre": index.centre_CW,
        "start": index.start_C,
        "codes": index.codes_MW.codes_NB,
        "codes_scale": index.codes_MW.scale_N,
        "entry": index.entry_M,
        "probes": torch.tensor([index.probes]),
    }
    return {f"coarse_{name}": Stored.of(tensor) for name, tensor in tensors.items()}


def _load_coarse(file: Any) -> Coarse | None:
    if "coarse_entry" not in file.keys():  # noqa: SIM118
        return None
    return Coarse(
        direction_EW=file.get_tensor("coarse_direction"),
        centre_CW=file.get_tensor("coarse_centre"),
        start_C=file.get_tensor("coarse_start"),
        codes_MW=Packed(
            codes_NB=file.get_tensor("coarse_codes"), scale_N=file.get_tensor("coarse_codes_scale")
        ),
        entry_M=file.get_tensor("coarse_entry"),
        probes=int(file.get_tensor("coarse_probes")),
    )


def _save_encoder(encoder: KeyEncoder, path: Path) -> None:
    tensors = {name: Stored.of(tensor) for name, tensor in encoder.tensors().items()}
    write_tensors(path, tensors, metadata={"kind": encoder.kind})


def _cannot_write(root: Path, error: Exception) -> CannotWrite:
    reason = getattr(error, "strerror", None) or str(error)
    return CannotWrite(
        f"Cannot write a bank to {root}: {reason}.",
        "Nothing was published; the generations that are there are whole. Make room, or check "
        "that the folder may be written to, and run the command again.",
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bank folder.

    Raises:
        NotBuilt: there is no bank there.
        StoreDamaged: its manifest cannot be read, or is of a newer format.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        newer = found["format"] > FORMAT
        # A newer format may have other fields, and another seal.
        if not newer:
            manifest = Manifest(**found)
            if manifest.seal not in ("", _seal(found)):
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
    return manifest


def load_bank(
    folder: Path,
    *,
    fingerprint: str | None = None,
    check: bool = False,
    unchecked: bool = False,
) -> Bank:
    """Open a bank; its tensors are memory-mapped.

    Args:
        folder: one generation's folder.
        fingerprint: of the model that will run it; None to open it without a model.
        check: compare every file with its hash first; a large one that is as it was when this was
            last done, by its size and the time it was written, is not read again.
        unchecked: the rows as they were before the check through the gate.

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
        for fault in hash_faults(folder, trust=_trusted(folder)):
            raise StoreDamaged(fault, "Build again: delete that folder and run revisor build.")
    try:
        rows = folder / (RAW if unchecked else ROWS)
        return Bank.of(read_view(rows, folder / ENCODER, generation=manifest.generation))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StoreDamaged(
            f"The bank at {folder} cannot be read: {error}.",
            "Build again: delete that folder and run revisor build.",
        ) from error


def read_view(rows: Path, encoder: Path, *, generation: int) -> View:
    """The view that `write_view` wrote; its tensors are memory-mapped."""
    with safe_open(rows, framework="pt") as file:
        return View(
            ids=_load_ids(file),
            keys_ME=_load_vectors(file, "keys"),
            gamma_M=file.get_tensor("gamma"),
            row_M=file.get_tensor("row"),
            R_ND=_load_vectors(file, "residuals"),
            encoder=_load_encoder(encoder),
            generation=generation,
            names=_load_names(file),
            coarse=_load_coarse(file),
        )


def _load_ids(file: Any) -> Sequence[str]:
    if (metadata := file.metadata()) and "ids" in metadata:  # format 2
        return tuple(json.loads(metadata["ids"]))
    return Ids(file.get_tensor("ids"), file.get_tensor("id_end"))


def _load_vectors(file: Any, name: str) -> Matrix:
    found: torch.Tensor = file.get_tensor(name)
    if found.dtype == torch.float32:
        return found
    return Packed(codes_NB=found, scale_N=file.get_tensor(f"{name}_scale"))


def _load_names(file: Any) -> NameIndex | None:
    if "names" not in file.keys():  # noqa: SIM118  (a file has no `in`)
        return None
    after_N = file.get_tensor("after")
    return NameIndex.of_rows(
        file.get_tensor("names"),
        file.get_tensor("name_row"),
        torch.bincount(file.get_tensor("row"), minlength=len(after_N)),
        after_N,
        file.get_tensor("kinds") if "kinds" in file.keys() else None,  # noqa: SIM118
    )


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
        elif name not in trust and _sha256(path) != expected:
            faults.append(f"{path} was changed: its sha256 is not the manifest's.")
    if not faults:
        _note_checked(folder, files)
    return faults


def _note_checked(folder: Path, names: Iterable[str]) -> None:
    """Remember how the large files of a folder looked when their hashes were right."""
    large = {name: mark for name in names if (mark := _mark(folder / name))[0] >= LARGE}
    if not large:
        return
    with suppress(OSError):  # a store that may only be read is read whole at every opening
        (folder / CHECKED).write_text(json.dumps(large), encoding="utf-8")


def _trusted(folder: Path) -> set[str]:
    """The large files that look as they did when their hashes were right."""
    try:
        noted = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
        return {name for name, mark in noted.items() if _mark(folder / name) == mark}
    except (OSError, ValueError, AttributeError):
        return set()


def _mark(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _load_encoder(path: Path) -> KeyEncoder:
    with safe_open(path, framework="pt") as file:
        return KeyEncoder.of({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _seal(manifest: dict[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _publish(scratch: Path, root: Path, generation: int) -> Path:
    """Rename a finished folder to its place, then take away what it replaces."""
    older = [number for one, number in _folders(root) if one == generation]
    target = _folder(root, generation, max(older, default=0) + 1)
    os.replace(scratch, target)
    _flush(root)
    for number in older:
        with suppress(OSError):  # the next writer's `recover` does it
            _take_away(_folder(root, generation, number))
    return target


def _take_away(folder: Path) -> None:
    """Remove a published folder: first its name, so that nobody sees it half there."""
    gone = Path(tempfile.mkdtemp(dir=folder.parent, prefix=GONE))
    try:
        os.replace(folder, gone / folder.name)
    finally:
        shutil.rmtree(gone, ignore_errors=True)


def remove_generation(root: Path, generation: int) -> bool:
    """Remove one generation, unless somebody uses it; says whether it is gone."""
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


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the system write a file or folder out before the rename that publishes it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
