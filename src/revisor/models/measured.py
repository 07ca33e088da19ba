"""Measurements of a model, kept in the cache folder as safetensors files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from revisor.models.packaged import cache_folder


def cached(kind: str, name: str) -> Path:
    """The file of a measurement, whose name changes with all that it depends on, in the cache's
    folder `kind`."""
    return cache_folder() / kind / f"{name}.safetensors"


def write_cached(
    path: Path, tensors: dict[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a measurement; another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(descriptor)
    os.chmod(scratch, 0o644)  # mkstemp's is for the user alone, and caches are shared
    save_file(tensors, scratch, metadata=dict(metadata) if metadata else None)
    os.replace(scratch, path)
