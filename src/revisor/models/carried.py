"""What a model that carries facts in its folder does to open them: their files, or no answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

_WHERE = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)


def where_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments of `from_pretrained` that tell where files are."""
    return {key: arguments[key] for key in _WHERE if key in arguments}


def checked_files(
    name: Any, folder: str, hashes: Mapping[str, str], where: Mapping[str, Any]
) -> dict[str, Path]:
    """The files in `folder` beside a model's weights, by name; OSError if one is missing,
    RuntimeError if its SHA-256 is not that of `hashes`."""
    found: dict[str, Path] = {}
    for file, expected in hashes.items():
        path = Path(cached_file(name, f"{folder}/{file}", **where))
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != expected:
            raise RuntimeError(f"{path} was changed: its sha256 is not that of config.json.")
        found[file] = path
    return found


def refuse(model: Any) -> Any:
    """Have a model refuse to answer until the returned handle is removed."""
    return model.register_forward_pre_hook(_refuse)


def _refuse(_module: Any, _args: Any) -> None:
    raise RuntimeError(
        "This model has not got its facts yet: open it with from_pretrained, not from_config."
    )
