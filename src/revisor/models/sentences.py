"""Sentence encoders that transformers opens: vectors of texts, pooled over their tokens.

The folder's further files are those that sentence-transformers writes, a package that is not
needed: how tokens are pooled, what stands before a text, how long one may be.

Letters: N texts, T tokens, W width.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from revisor.errors import ModelUnavailable, NotSupported
from revisor.models.quiet import quiet_transformers

HUB = "sentence-transformers"  # whose models are named without an owner
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a model on the hub
LONGEST = 512  # tokens of a text where no file says how many
POOLED = ("mean", "cls", "max", "lasttoken")
_MODULES = ("Transformer", "Pooling", "Normalize")
_HEADS = ("pooler.", "lm_head.")  # weights that no vector is made of


class SentenceModel:
    """Deterministic vectors of length 1 of texts, each by itself, on the CPU. Thread-safe.

    The folder is as of sentence-transformers or `save_pretrained`, and named by its `fingerprint`.

    Raises:
        ModelUnavailable: transformers cannot open it, or a file of it is damaged.
        NotSupported: the vectors need more than pooling.
    """

    def __init__(self, folder: Path) -> None:
        _check_modules(folder)
        self.fingerprint = _fingerprint(folder)
        self._pooled = _pooling(folder)
        self._prefix = _prefix(folder)
        self._model, self._tokenizer = _opened(folder)
        self._longest = _longest(folder, self._tokenizer, self._model.config)
        self._lock = threading.Lock()  # a fast tokenizer is of one thread at a time
        try:
            self.embed(["Who?"])
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise ModelUnavailable(
                f"The encoder in {folder} reads no text: {_first_line(error)}",
                "Give a model that takes tokens and gives a vector of each.",
            ) from error

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts (N, W), float32."""
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> np.ndarray:
        with self._lock:
            ids: list[int] = self._tokenizer(
                f"{self._prefix}{text}", truncation=True, max_length=self._longest
            )["input_ids"]
        ids_1T = torch.tensor([ids])
        with torch.inference_mode():
            state_TW = self._model(ids_1T, attention_mask=torch.ones_like(ids_1T))[0][0].float()
        if self._pooled == "mean":
            vector_W = state_TW.mean(0)
        elif self._pooled == "max":
            vector_W = state_TW.amax(0)
        else:
            vector_W = state_TW[0 if self._pooled == "cls" else -1]
        found: np.ndarray = torch.nn.functional.normalize(vector_W, dim=0).numpy()
        return found


def open_sentence_model(name: str) -> SentenceModel:
    """A sentence encoder by its folder or its name on the Hugging Face hub; errors as of
    `SentenceModel`, and ModelUnavailable if there is none or the hub cannot be reached."""
    return SentenceModel(_folder(name))


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelUnavailable(
                f"The folder {path} has no config.json.",
                "Give a folder with a sentence encoder (config, weights, tokenizer).",
            )
        return path
    if path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelUnavailable(f"There is no folder {path}.", "Check `encoder` in store.toml.")
    from huggingface_hub import snapshot_download

    hub = name if "/" in name else f"{HUB}/{name}"
    try:
        with quiet_transformers():
            return Path(snapshot_download(hub, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"Cannot fetch the encoder '{hub}': {_first_line(error)}",
            "Check the name and the network, or give a folder on this machine: "
            "sentence-transformers:/PATH/TO/FOLDER",
        ) from error


def _opened(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, truncation_side="left")
            model, loading = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelUnavailable(
                f"Cannot open the encoder in {folder}: {_first_line(error)}",
                "Give a folder that AutoModel and AutoTokenizer of transformers open.",
            ) from error
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(_HEADS))
    if missing:  # transformers would draw them at random
        raise ModelUnavailable(
            f"The encoder in {folder} lacks {len(missing)} of its weights, such as {missing[0]}.",
            "Save or fetch it again.",
        )
    return model.eval().requires_grad_(False), tokenizer


def _check_modules(folder: Path) -> None:
    """Refuse a model that computes something else behind its pooling."""
    for module in _read(folder / "modules.json", []):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _MODULES:
            raise NotSupported(
                f"The encoder in {folder} has a module '{kind}', which revisor does not compute.",
                f"Give one that has no other modules than {', '.join(_MODULES)}.",
            )


def _pooling(folder: Path) -> str:
    """How tokens are pooled: by the mean, if no file says otherwise."""
    found: dict[str, Any] = _read(folder / "1_Pooling" / "config.json", {})
    chosen = [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in found.items()
        if key.startswith("pooling_mode_") and value is True
    ]
    named = found.get("pooling_mode")
    if named is not None:
        chosen = [named] if isinstance(named, str) else list(named)
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in POOLED:
        raise NotSupported(
            f"The encoder in {folder} pools its tokens by {' and '.join(map(str, chosen))}.",
            f"Give one that pools by one of: {', '.join(POOLED)}.",
        )
    return str(chosen[0])


def _prefix(folder: Path) -> str:
    """The prefix of a text: the model's own default, else that of a query."""
    found: dict[str, Any] = _read(folder / "config_sentence_transformers.json", {})
    prompts = found.get("prompts") or {}
    return str(prompts.get(found.get("default_prompt_name") or "query") or "")


def _longest(folder: Path, tokenizer: Any, config: Any) -> int:
    told = _read(folder / "sentence_bert_config.json", {}).get("max_seq_length") or LONGEST
    places = getattr(config, "max_position_embeddings", None) or LONGEST
    return int(min(told, places, tokenizer.model_max_length))


def _read(file: Path, default: Any) -> Any:
    """A JSON file's content; the default without the file."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return default
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{file} cannot be read: {_first_line(error)}", "Save or fetch it again."
        ) from error


def _fingerprint(folder: Path) -> str:
    """A hash of the names and bytes of the files that a vector depends on."""
    digest = hashlib.sha256()
    files = {
        file for pattern in FILES for file in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))
    }
    for file in sorted(files):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
