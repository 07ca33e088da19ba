"""Banks on disk: safetensors and a JSON manifest with hashes, published by one rename.

What comes in: a `View` to save, or a folder to open. What goes out: a folder `gen-NNNNNNN` that
is either whole or absent, or a `Bank` over the files. What it does not do: decide which generation
is served (store.py). Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from revisor.bank.bank import Bank, Row, View
from revisor.bank.encode import KeyEncoder
from revisor.errors import NotBuilt, StoreDamaged, WrongModel

FORMAT = 2
MANIFEST = "manifest.json"
ROWS = "rows.safetensors"
ENCODER = "encoder.safetensors"
PREFIX = "gen-"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bank folder says of itself.

    Attributes:
        fingerprint: of the model it was built for.
        model: that model's name.
        layer: where its gate belongs.
        generation: of the ledger it was built from.
        rows, entries: N and M.
        bytes_per_fact: stored bytes of keys and residuals, over the rows.
        build: settings and figures of the build that made it.
        failed: facts that could not be written: {id, fault}.
        files: name -> sha256.
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
    format: int = FORMAT
    seal: str = ""


def generation_folder(root: Path, generation: int) -> Path:
    """Where one generation of a bank lies."""
    return root / f"{PREFIX}{generation:07d}"


def generations(root: Path) -> list[int]:
    """The published generations under a model's bank folder, oldest first."""
    if not root.is_dir():
        return []
    found = (path.name.removeprefix(PREFIX) for path in root.glob(f"{PREFIX}*"))
    return sorted(int(name) for name in found if name.isdigit())


def save_bank(
    view: View,
    root: Path,
    *,
    fingerprint: str,
    model: str,
    layer: int,
    build: dict[str, Any],
    failed: list[dict[str, str]],
) -> Path:
    """Publish a view as one generation; a reader sees all of it or nothing.

    Residuals and keys are stored in fp32: a row that is loaded gives the same bits.
    """
    target = generation_folder(root, view.generation)
    root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root, prefix=".publishing-"))
    try:
        tensors = {
            "keys": view.keys_ME.contiguous(),
            "gamma": view.gamma_M.contiguous(),
            "row": view.row_M.contiguous(),
            "residuals": view.R_ND.contiguous(),
        }
        if view.names is not None:
            tensors |= {"names": view.names.hash_H, "name_row": view.names.row_H}
        save_file(tensors, scratch / ROWS, metadata={"ids": json.dumps(view.ids)})
        encoder = {}
        if view.encoder.matrix_FE is not None and view.encoder.mean_F is not None:
            encoder = {"mean": view.encoder.mean_F, "matrix": view.encoder.matrix_FE}
        save_file(encoder, scratch / ENCODER, metadata={"kind": view.encoder.kind})
        stored = sum(t.numel() * t.element_size() for t in tensors.values())
        manifest = Manifest(
            fingerprint=fingerprint,
            model=model,
            layer=layer,
            generation=view.generation,
            rows=len(view.ids),
            entries=len(view.keys_ME),
            bytes_per_fact=round(stored / max(1, len(view.ids)), 1),
            build=build,
            failed=failed,
            files={name: _sha256(scratch / name) for name in (ROWS, ENCODER)},
        )
        sealed = vars(manifest) | {"seal": _seal(vars(manifest))}
        text = json.dumps(sealed, indent=2, sort_keys=True)
        (scratch / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for path in scratch.iterdir():
            _flush(path)
        scratch.chmod(0o755)
        _publish(scratch, target)
        _flush(root)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return target


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


def load_bank(folder: Path, *, fingerprint: str | None = None, check: bool = False) -> Bank:
    """Open a bank; its tensors are memory-mapped.

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
        encoder = _load_encoder(folder / ENCODER)
        with safe_open(folder / ROWS, framework="pt") as file:
            ids = json.loads(file.metadata()["ids"])
            keys, gamma = file.get_tensor("keys"), file.get_tensor("gamma")
            row, residuals = file.get_tensor("row"), file.get_tensor("residuals")
            named = "names" in file.keys()  # noqa: SIM118  (a file has no `in`)
            names = _names_by_row(file, len(ids)) if named else []
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StoreDamaged(
            f"The bank at {folder} cannot be read: {error}.",
            "Build again: delete that folder and run revisor build.",
        ) from error
    bank = Bank(
        encoder=encoder,
        key_width=keys.shape[1],
        hidden_width=residuals.shape[1],
        named=named,
    )
    counts = torch.bincount(row, minlength=len(ids)).tolist()
    start = 0
    for index, (row_id, count) in enumerate(zip(ids, counts, strict=True)):
        part = slice(start, start + count)
        bank.put(
            Row(
                row_id=row_id,
                keys_CE=keys[part],
                gamma_C=gamma[part],
                r_D=residuals[index],
                **({"names_H": names[index]} if named else {}),
            ),
            manifest.generation,
        )
        start += count
    bank.generation = manifest.generation
    return bank


def _names_by_row(file: Any, rows: int) -> list[torch.Tensor]:
    """The name hashes of each row."""
    hash_H, row_H = file.get_tensor("names"), file.get_tensor("name_row")
    order_H = row_H.argsort(stable=True)
    return list(torch.split(hash_H[order_H], torch.bincount(row_H, minlength=rows).tolist()))


def hash_faults(folder: Path) -> list[str]:
    """Every file of a bank folder that is missing or not what its manifest says."""
    faults = []
    for name, expected in read_manifest(folder).files.items():
        path = folder / name
        if not path.exists():
            faults.append(f"{path} is missing.")
        elif _sha256(path) != expected:
            faults.append(f"{path} was changed: its sha256 is not the manifest's.")
    return faults


def _load_encoder(path: Path) -> KeyEncoder:
    with safe_open(path, framework="pt") as file:
        if file.metadata()["kind"] == "raw":
            return KeyEncoder()
        return KeyEncoder(mean_F=file.get_tensor("mean"), matrix_FE=file.get_tensor("matrix"))


def _seal(manifest: dict[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _publish(scratch: Path, target: Path) -> None:
    """Rename a finished folder to its place; what stood there stays if that fails."""
    if not target.exists():
        os.replace(scratch, target)
        return
    aside = scratch.with_name(f"{scratch.name}-old")
    os.replace(target, aside)
    try:
        os.replace(scratch, target)
    except BaseException:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


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
