"""What is written piece by piece is what the safetensors library reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from revisor.neuraldb.bank.tensors import Stored, write_tensors


def test_any_reader_opens_it(tmp_path: Path) -> None:
    whole = {
        "odd": torch.tensor([True, False, True]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "codes": torch.arange(-3, 3, dtype=torch.int8).view(2, 3),
        "rows": torch.arange(4, dtype=torch.int32),
        "hashes": torch.tensor([-(2**63), 2**63 - 1]),
        "vectors": torch.randn(7, 3),
        "none": torch.empty(0, 4),
    }
    tensors = {name: Stored.of(tensor) for name, tensor in whole.items()}
    parts = (whole["vectors"][first : first + 3] for first in range(0, 7, 3))
    tensors["vectors"] = Stored(dtype=torch.float32, shape=(7, 3), parts=parts)
    path = tmp_path / "x.safetensors"
    write_tensors(path, tensors, {"kind": "é"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"kind": "é"}
        assert set(file.keys()) == set(whole)
        for name, tensor in whole.items():
            assert torch.equal(file.get_tensor(name), tensor), name


def test_missing_rows_are_noticed(tmp_path: Path) -> None:
    short = Stored(dtype=torch.float32, shape=(3, 2), parts=[torch.zeros(2, 2)])
    with pytest.raises(ValueError, match="x do not make up"):
        write_tensors(tmp_path / "x.safetensors", {"x": short})
