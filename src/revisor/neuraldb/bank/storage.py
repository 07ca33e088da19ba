"""A view as safetensors files: its rows, the encoder of its keys, and what changed since.
An index over its keys is a file of FAISS's own.

Files are written piece by piece, and tensors are memory-mapped when they are read. Changes are a
file of their own: the rows put since, and which rows of the other file are no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from revisor.neuraldb.bank.coarse import read_index
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.ids import Ids
from revisor.neuraldb.bank.tensors import Stored, write_tensors
from revisor.neuraldb.bank.vectors import WHOLE, Matrix, Packed, bits_of, chunks
from revisor.neuraldb.bank.view import Changes, View

ROWS = "rows.safetensors"
ENCODER = "encoder.safetensors"
FRESH = "fresh.safetensors"
INDEX = "coarse.faiss"
WHOLE_VIEW = (ROWS, ENCODER, INDEX)  # the files of a view, of which some have the last


def write_view(view: View, folder: Path) -> int:
    """Write a view's files into a folder; returns the bytes of its rows' tensors and the index.

    An index of other keys than the view's, as after a change, is left out.
    """
    tensors = {name: Stored.of(tensor) for name, tensor in view.encoder.tensors().items()}
    write_tensors(folder / ENCODER, tensors, metadata={"kind": view.encoder.kind})
    size = write_rows(view, folder / ROWS)
    if view.coarse is not None and view.coarse.whole:
        view.coarse.write(folder / INDEX)
        size += (folder / INDEX).stat().st_size
    return size


def write_rows(view: View, path: Path) -> int:
    """Write the rows of a view; the bytes of their tensors."""
    return _write(_row_tensors(view), path)


def write_changes(changes: Changes, path: Path) -> int:
    """Write what changed since a view was written; the bytes of the tensors."""
    return _write({"gone": Stored.of(changes.gone_G), **_row_tensors(changes.fresh)}, path)


def _write(tensors: dict[str, Stored], path: Path) -> int:
    write_tensors(path, tensors)
    return sum(tensor.nbytes for tensor in tensors.values())


def _row_tensors(view: View) -> dict[str, Stored]:
    ids = Ids.of(view.ids)
    return {
        "ids": Stored.of(ids.text_C),
        "id_end": Stored.of(ids.end_N),
        "gamma": Stored.of(view.gamma_M),
        "row": Stored.of(view.row_M.int()),
        **_vectors("keys", view.keys_ME),
        **_vectors("residuals", view.R_ND),
    }


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


def read_view(rows: Path, encoder: Path, *, generation: int, index: Path | None = None) -> View:
    """The view that `write_view` wrote; its tensors are memory-mapped.

    Args:
        index: the file of its index, if there is one; it is left aside where FAISS is not
            installed.
    """
    with safe_open(rows, framework="pt") as file:
        view = replace(_load(file, _load_encoder(encoder), generation), file=rows)
    return view if index is None else replace(view, coarse=read_index(index, view.keys_ME))


def read_changes(path: Path, base: View) -> Changes:
    """What `write_changes` wrote, over the view it was written for."""
    with safe_open(path, framework="pt") as file:
        fresh = _load(file, base.encoder, base.generation)
        return Changes(base=base, gone_G=file.get_tensor("gone"), fresh=fresh)


def _load(file: Any, encoder: KeyEncoder, generation: int) -> View:
    return View(
        ids=_load_ids(file),
        keys_ME=_load_vectors(file, "keys"),
        gamma_M=file.get_tensor("gamma"),
        row_M=file.get_tensor("row"),
        R_ND=_load_vectors(file, "residuals"),
        encoder=encoder,
        generation=generation,
    )


def _load_ids(file: Any) -> Sequence[str]:
    return Ids(file.get_tensor("ids"), file.get_tensor("id_end"))


def _load_vectors(file: Any, name: str) -> Matrix:
    found: torch.Tensor = file.get_tensor(name)
    if found.dtype == torch.float32:
        return found
    return Packed(codes_NB=found, scale_N=file.get_tensor(f"{name}_scale"))


def _load_encoder(path: Path) -> KeyEncoder:
    with safe_open(path, framework="pt") as file:
        return KeyEncoder.of({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
