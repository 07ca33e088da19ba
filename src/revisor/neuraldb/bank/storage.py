"""Rows as a safetensors file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from revisor.neuraldb.bank.bank import View

ROWS = "rows.safetensors"
FRESH = "fresh.safetensors"  # rows put since the other file was written, and which are no more
INDEX = "coarse.faiss"


def write_rows(view: View, path: Path, **more: torch.Tensor) -> None:
    """Write rows, and `more` tensors, as safetensors; OSError or SafetensorError if that fails."""
    texts = [row_id.encode() for row_id in view.ids]
    tensors = {
        "ids": torch.tensor(np.frombuffer(b"".join(texts), dtype=np.uint8)),
        "id_end": torch.tensor([len(text) for text in texts], dtype=torch.long).cumsum(0),
        "gamma": view.gamma_M,
        "row": view.row_M,
        "keys": view.keys_ME,
        "residuals": view.R_ND,
    }
    save_file({name: part.contiguous() for name, part in (tensors | more).items()}, path)


def read_rows(path: Path) -> tuple[View, dict[str, torch.Tensor]]:
    """What `write_rows` wrote, mapped from the file, and what else is in it."""
    found = load_file(path)
    text = found.pop("ids").numpy().tobytes()
    ends = pairwise([0, *found.pop("id_end").tolist()])
    view = View(
        ids=tuple(text[start:end].decode() for start, end in ends),
        gamma_M=found.pop("gamma"),
        row_M=found.pop("row"),
        keys_ME=found.pop("keys"),
        R_ND=found.pop("residuals"),
    )
    return view, found
