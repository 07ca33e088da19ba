"""Open a causal model and its tokenizer, and name it by a fingerprint.

A model is a packaged one's name, a Hugging Face id, a local folder or a `.gguf` file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from revisor.errors import ModelUnavailable, NotSupported, UsageError
from revisor.models.allocator import keep_freed_memory
from revisor.models.packaged import PACKAGED, gguf_folder, packaged_folder
from revisor.models.quiet import quiet_transformers
from revisor.models.spec import known_families

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
BITS = {1: torch.int8, 2: torch.int16}  # by bytes an element; wider ones are read as int32
SAMPLES = 1024  # elements of a tensor that enter the fingerprint one by one


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        name: what the user called it; the name under which it is served.
        model: the causal language model, in evaluation mode, gradients off.
        tokenizer: its fast tokenizer.
    """

    name: str
    model: nn.Module
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where input ids go."""
        embeddings: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]
        return next(embeddings.parameters()).device


def default_dtype(device: str) -> torch.dtype:
    """bf16 where the hardware multiplies it natively, else fp32."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if native else torch.float32


def default_device() -> str:
    """The first accelerator, or the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type


def checked_device(name: str) -> str:
    """A device by its name, `auto` being the default one; UsageError if it is not here."""
    if name == "auto":
        return default_device()
    own = default_device()
    count = torch.accelerator.device_count() if own != "cpu" else 0
    here = ("cpu", *((own,) if count else ()), *(f"{own}:{at}" for at in range(count)))
    if name not in here:
        raise UsageError(
            f"There is no device '{name}' here.", f"Choose one of: auto, {', '.join(here)}."
        )
    return name


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
) -> LoadedModel:
    """Open a model by name.

    Args:
        name: a packaged model's, a local folder, a `.gguf` file or a Hugging Face id.
        dtype: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto` or a torch device; ignored where `device_map` is given.
        device_map: passed to transformers; the model may be spread over several devices, since
            the gate works where its layer lives. Layers offloaded to disk are refused.

    Raises:
        ModelUnavailable: there is no such model here or on the hub.
        UsageError: an unknown dtype, or a device that is not here.
        NotSupported: the tokenizer is not a fast one, or a part of the model is on disk.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = checked_device(device)
    if dtype == "auto":
        torch_dtype = default_dtype(device)
    elif dtype in DTYPES:
        torch_dtype = DTYPES[dtype]
    else:
        raise UsageError(f"Unknown dtype '{dtype}'.", f"Choose one of: auto, {', '.join(DTYPES)}.")
    source = _source(name)
    if device == "cpu":
        keep_freed_memory()  # not what a conversion frees
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
            model, loading = AutoModelForCausalLM.from_pretrained(
                source, dtype=torch_dtype, device_map=device_map, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()
            near = get_close_matches(name.lower(), PACKAGED, n=1)
            meant = f"Did you mean '{near[0]}'? " if near else ""
            raise ModelUnavailable(
                f"Cannot open the model '{name}': {reason[0] if reason else error}",
                f"{meant}Give {' or '.join(PACKAGED)} (packaged), a folder with config.json and "
                "safetensors, a .gguf file, or the id of a model that the Hugging Face hub (if it "
                "can be reached) has.",
            ) from error
    if missing := sorted(loading["missing_keys"]):  # transformers would draw them at random
        raise ModelUnavailable(
            f"The model '{name}' lacks {len(missing)} of its weights, such as {missing[0]}.",
            "Save or fetch the model again.",
        )
    if device_map is None:
        model = model.to(device)
    return wrap_model(name, model, tokenizer)


def load_tokenizer(name: str) -> Any:
    """A model's tokenizer alone; ModelUnavailable if it is neither here nor on the hub."""
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            return AutoTokenizer.from_pretrained(_source(name))
        except (OSError, ValueError, KeyError) as error:
            raise ModelUnavailable(
                f"Cannot open the tokenizer of '{name}': {str(error).strip().splitlines()[0]}",
                "Check the model that store.toml names.",
            ) from error


def wrap_model(name: str, model: nn.Module, tokenizer: Any) -> LoadedModel:
    """Put a model that the user loaded into evaluation mode, with gradients off.

    Raises:
        NotSupported: the tokenizer cannot give character offsets, or weights are on disk.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise NotSupported(
            f"The tokenizer of '{name}' is not a fast one, so it gives no character offsets.",
            "Load it with AutoTokenizer.from_pretrained(..., use_fast=True).",
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise NotSupported(
            f"Parts of '{name}' are offloaded to disk; their weights cannot be read.",
            "Use a device_map that keeps all layers on GPUs or the CPU.",
        )
    model.eval().requires_grad_(False)
    return LoadedModel(name=name, model=model, tokenizer=tokenizer)


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Restore, after the block, which modules train and which parameters have gradients."""
    training = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, was in training:
            module.training = was
        for parameter, was in gradients:
            parameter.requires_grad_(was)


def end_tokens(loaded: LoadedModel) -> set[int]:
    """Token ids that end an answer."""
    found: Any = loaded.model.generation_config.eos_token_id  # type: ignore[union-attr]
    ends = found if isinstance(found, list) else [found]
    return {int(token) for token in (*ends, loaded.tokenizer.eos_token_id) if token is not None}


def _source(name: str) -> str:
    """The folder or hub id behind a model name."""
    if name in PACKAGED:
        return str(packaged_folder(name))
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelUnavailable(f"There is no file {path}.", "Check the path.")
        return str(gguf_folder(path))
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelUnavailable(
                f"The folder {path} has no config.json.",
                "Give a folder written by save_pretrained (config, weights, tokenizer).",
            )
        return str(path)
    if path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelUnavailable(f"There is no folder {path}.", "Check the path.")
    return name


def fingerprint(loaded: LoadedModel, *, layer: int | None = None) -> str:
    """Names a model: 16 hex digits that change with weights, tokenizer, template, dtype or layer.

    Every tensor enters with its name, shape, dtype, the sum of its bits and a strided sample, so it
    takes no longer than reading the weights on their device. It guards against mistakes, not
    against forgery.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(loaded.model.named_parameters()):
        flat = tensor.detach().reshape(-1)
        bits = flat.view(BITS.get(flat.element_size(), torch.int32))
        stride = max(1, bits.numel() // SAMPLES)
        facts = [key, list(tensor.shape), str(tensor.dtype), int(bits.sum(dtype=torch.int64))]
        digest.update(json.dumps(facts).encode())
        digest.update(bits[::stride].cpu().numpy().tobytes())
    tokenizer = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    for state in ("padding", "truncation"):  # of the latest call, not of the tokenizer
        tokenizer.pop(state, None)
    digest.update(json.dumps(tokenizer).encode())
    template = getattr(loaded.tokenizer, "chat_template", None)
    digest.update(json.dumps([template, layer]).encode())
    family = known_families().get(str(getattr(loaded.model.config, "model_type", "")))
    if family is not None and family.output is not None:
        digest.update(family.output.encode())
    return digest.hexdigest()[:16]
