"""The probe of a model: shipped with revisor, found in the cache, or fitted and kept there."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

import torch

from revisor import data
from revisor.errors import NotSupported
from revisor.gate.functional import (
    FORMAT,
    Probe,
    ProbeFigures,
    read_probe,
    require,
    save_probe,
)
from revisor.gate.probe_fit import fit_probe
from revisor.models.load import LoadedModel, load_model
from revisor.models.packaged import cache_folder

__all__ = ["Probe", "ProbeFigures", "load_probe", "probe_fingerprint", "require"]

log = logging.getLogger(__name__)

SAMPLES = 64  # elements of each parameter that enter the fingerprint
SMALLEST = 2.0**-14  # below, fp16 has fewer digits than bf16
READ = (  # what a tokenizer is known by: how it reads this
    "The chief executive of ACME (founded 1987, 4,711 employees) is\n\tÉmilie “Mimi” O’Neill.",
    'def f(x): return {"question": x}  # Страна, 東京, नमस्ते, 🙂',
)


def load_probe(loaded: LoadedModel, *, cache: Path | None = None, fit: bool = True) -> Probe:
    """The probe of a model: shipped, else cached, else fitted and cached.

    The caller checks whether it is good enough: `require(probe.figures)`.

    Args:
        cache: folder of fitted probes; `cache_folder()/probes` if None.
        fit: fit one where none is found; it takes minutes on a CPU.

    Raises:
        NotSupported: none was found and `fit` is False, or the model's LM head is not linear.
    """
    name = f"{probe_fingerprint(loaded)}.safetensors"
    with as_file(files(data) / "probes" / name) as shipped:
        probe = read_probe(shipped)
    path = (cache or cache_folder() / "probes") / name
    probe = probe or read_probe(path)
    if probe is not None:
        return probe
    if not fit:
        raise NotSupported(
            f"There is no probe for the model '{loaded.name}' yet.",
            "Fit it: revisor init, or load_probe(loaded).",
        )
    probe = fit_probe(loaded)
    try:
        save_probe(probe, path)
    except OSError as error:
        log.warning("The probe cannot be kept in %s, so it will be fitted again: %s", path, error)
    return probe


def probe_fingerprint(loaded: LoadedModel) -> str:
    """Names a model for its probe: 16 hex digits, the same in fp32, bf16 and fp16.

    It depends on the weights (some elements of each parameter, rounded to bf16), the tokenizer and
    the chat template. It guards against mistakes, not against forgery.
    """
    digest = hashlib.sha256(str(FORMAT).encode())
    for key, tensor in sorted(loaded.model.named_parameters()):
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // SAMPLES)][:SAMPLES].float()
        rounded = sample.where(sample.abs() >= SMALLEST, 0.0).to(torch.bfloat16)
        digest.update(json.dumps([key, list(tensor.shape)]).encode())
        digest.update(rounded.view(torch.int16).cpu().numpy().tobytes())
    tokenizer = loaded.tokenizer
    template = getattr(tokenizer, "chat_template", None)
    digest.update(json.dumps([len(tokenizer), tokenizer(list(READ))["input_ids"]]).encode())
    digest.update(json.dumps(template).encode())
    return digest.hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit a model's probe and write it into a folder under its fingerprint, as it is shipped."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    options = parser.parse_args(arguments)
    loaded = load_model(options.model, dtype=options.dtype)
    save_probe(fit_probe(loaded), options.out / f"{probe_fingerprint(loaded)}.safetensors")


if __name__ == "__main__":
    main()
