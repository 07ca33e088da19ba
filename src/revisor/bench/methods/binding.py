"""What every baseline is bound to, and which layers it edits where nobody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from revisor.errors import UsageError
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec, spec_of

# First and last edited layer, and the depth they were published for (Meng et al. 2023; Llama 3
# as in Fang et al. 2025). A model takes the row of its family in proportion to its own depth.
PUBLISHED_LAYERS: Mapping[str, tuple[int, int, int]] = {
    "gpt2": (13, 17, 48),
    "gptj": (3, 8, 28),
    "llama": (4, 8, 32),
}


@dataclass(frozen=True, kw_only=True)
class Binding:
    """The model that an editor edits, and the folder whose corpus second moments are measured on,
    None for the text that ships with the package."""

    loaded: LoadedModel
    data_dir: Path | None = None

    @cached_property
    def spec(self) -> Spec:
        """The model's FFNs, UnknownFamily if they are unknown; not all methods need them."""
        return spec_of(self.loaded.model)


def published_range(binding: Binding) -> tuple[int, ...]:
    """The layers that MEMIT and its kin edit, scaled to this model."""
    family = str(getattr(getattr(binding.loaded.model, "config", None), "model_type", ""))
    first, last, of = PUBLISHED_LAYERS.get(family, PUBLISHED_LAYERS["llama"])
    depth = binding.spec.depth
    return tuple(range(round(first * depth / of), round(last * depth / of) + 1))


def layer_at(binding: Binding, share: float) -> int:
    """The layer at a share of the depth, 0 the first and 1 the last."""
    return round(share * (binding.spec.depth - 1))


def check_layers(binding: Binding, layers: Sequence[int]) -> tuple[int, ...]:
    """Layers in ascending order; UsageError for none, duplicates, or one that the model lacks."""
    ordered = tuple(sorted(layers))
    if not ordered or len(set(ordered)) < len(ordered):
        raise UsageError(
            f"The layers {list(layers)} cannot be edited.", "Name at least one, each once."
        )
    for layer in ordered:
        binding.spec.ffn_projection(layer)
    return ordered
