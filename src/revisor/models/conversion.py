"""From a GGUF file to a transformers folder: bf16 safetensors, config, tokenizer, template.

The folder appears whole or not at all. Files are fetched and placed by packaged.py.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from revisor.errors import CannotWrite, ModelUnavailable
from revisor.progress import Progress

CONVERSION = 1  # counts up when the conversion changes, so that old caches are not reused


def convert(gguf: Path, target: Path, *, title: str, ends: Sequence[str] = ()) -> None:
    """Write `gguf` as a transformers folder, published by one rename; for one process at a time.

    Args:
        title: the model's name for people.
        ends: all tokens that end an answer; a GGUF file names one.

    Raises:
        ModelUnavailable: transformers cannot read this file.
        CannotWrite: there is no room for it.
    """
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
        if ends:
            model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(ends))
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        _publish(model, tokenizer, target)


def _publish(model: Any, tokenizer: Any, target: Path) -> None:
    """Write a folder beside the target and rename it."""
    from safetensors import SafetensorError

    scratch = target.with_name(f"{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    try:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        for file in scratch.iterdir():
            file.chmod(0o644)  # safetensors writes for the user alone, and caches are shared
        os.replace(scratch, target)
    except (OSError, SafetensorError) as error:
        raise CannotWrite(
            f"Cannot write {target}: {getattr(error, 'strerror', None) or error}.",
            "Make room, or set REVISOR_CACHE to a folder on another disk.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _repair_digits(tokenizer: Any, gguf: Path) -> None:
    """Give a SmolLM tokenizer its digit splitting back, which the GGUF conversion drops."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    if _pre_tokenizer_name(gguf) != "smollm":
        return
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def _repair_ends(tokenizer: Any, gguf: Path) -> None:
    """Set the special tokens that the file names: some releases of transformers take the token that
    opens a turn for the one that ends it, and none for padding."""
    for name, key in (("eos_token", "eos_token_id"), ("pad_token", "padding_token_id")):
        token = _field(gguf, f"tokenizer.ggml.{key}")
        if token is not None and getattr(tokenizer, f"{name}_id") != token:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(token))


def _pre_tokenizer_name(gguf: Path) -> str:
    name = _field(gguf, "tokenizer.ggml.pre")
    return "" if name is None else str(name)


def _field(gguf: Path, name: str) -> Any:
    from gguf import GGUFReader

    field = GGUFReader(str(gguf)).get_field(name)
    return None if field is None else field.contents()
