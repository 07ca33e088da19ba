"""Target values of the last edited layer, optimised on the unedited model and cached.

On the unedited model target values do not depend on the method that is to reach them, so MEMIT,
RECT and AlphaEdit share them; they are in `REVISOR_CACHE` by the model's fingerprint, a file a
hundred facts. The methods' published code shares its caches in the same way.

Shapes: N facts, D hidden width.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from revisor.bench.methods.binding import Binding
from revisor.bench.methods.common import leaving_at
from revisor.models.load import fingerprint
from revisor.models.measured import cached, write_cached
from revisor.neuraldb.editing.request import Request
from revisor.neuraldb.editing.residuals import ValueSettings, compute_residuals

VERSION = 1
TOGETHER = 100  # facts a file: the published size of a batch


def goals(
    binding: Binding,
    layer: int,
    requests: Sequence[Request],
    settings: ValueSettings,
    on_done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Target values on the model as it stands: (N, D), fp32, on the CPU."""
    residuals = compute_residuals(
        binding.loaded.model, binding.spec, layer, requests, settings, on_done=on_done
    )
    bare = [request.contexts[0] for request in requests]
    return leaving_at(binding.loaded, binding.spec, layer, bare) + residuals.R_ND


def kept_goals(
    binding: Binding,
    layer: int,
    requests: Sequence[Request],
    settings: ValueSettings,
    on_done: Callable[[int], None] | None = None,
) -> tuple[torch.Tensor, float]:
    """Target values (N, D) on the unedited model, cached, and the seconds that the cache spared."""
    found = []
    spared = 0.0
    for start in range(0, len(requests), TOGETHER):
        part = requests[start : start + TOGETHER]
        path = _path(binding, layer, part, settings)
        if path.exists():
            kept = load_file(path)
            spared += float(kept["seconds"])
            if on_done:
                on_done(len(part))
        else:
            begun = time.perf_counter()
            goal_ND = goals(binding, layer, part, settings, on_done)
            seconds = torch.tensor(time.perf_counter() - begun)
            kept = {"goal": goal_ND.contiguous(), "seconds": seconds}
            write_cached(path, kept)
        found.append(kept["goal"])
    return torch.cat(found), spared


def _path(
    binding: Binding, layer: int, requests: Sequence[Request], settings: ValueSettings
) -> Path:
    digest = hashlib.sha256(repr((VERSION, settings)).encode())
    for request in requests:
        digest.update(repr(request.contexts).encode())
    mark = fingerprint(binding.loaded, layer=layer)
    return cached("targets", f"{mark}-{digest.hexdigest()[:16]}")
