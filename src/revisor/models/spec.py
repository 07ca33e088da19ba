"""One table: model family -> where its decoder layers are and what projects out of the FFN.

A new family is one line here. A stranger's package adds one without a change here, through the
entry point group `revisor.families`: each entry point loads to a `Family`.

Shape letters used in the whole project: N rows of a bank, F width of a key (the input of the FFN
output projection), E width of an encoded key, D hidden width, T tokens, B batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

import torch
from torch import nn

from revisor.errors import UnknownFamily, UsageError

ENTRY_POINT_GROUP = "revisor.families"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where one model family keeps what revisor needs, as attribute paths.

    Attributes:
        model_type: the `model_type` of the Hugging Face config.
        layers: path from the causal model to its list of decoder layers.
        projection: path from a decoder layer to the module that maps the FFN's inner activation
            (the key, width F) to the hidden width D.
        output: path from a decoder layer to the module whose output joins the residual stream,
            where that is not the projection. Gemma 2 and 3 normalise what the projection gives: a
            residual added before the norm would be scaled down to the norm's fixed length, and take
            the FFN's own output with it.
    """

    model_type: str
    layers: str
    projection: str
    output: str | None = None


FAMILIES: tuple[Family, ...] = (
    *(
        Family(model_type=name, layers="model.layers", projection="mlp.down_proj")
        for name in ("llama", "mistral", "qwen2", "qwen3", "gemma")
    ),
    *(
        Family(
            model_type=name,
            layers="model.layers",
            projection="mlp.down_proj",
            output="post_feedforward_layernorm",
        )
        for name in ("gemma2", "gemma3_text")
    ),
    Family(model_type="phi", layers="model.layers", projection="mlp.fc2"),
    Family(model_type="phi3", layers="model.layers", projection="mlp.down_proj"),
    Family(model_type="gpt2", layers="transformer.h", projection="mlp.c_proj"),
    Family(model_type="gptj", layers="transformer.h", projection="mlp.fc_out"),
    Family(model_type="gpt_neox", layers="gpt_neox.layers", projection="mlp.dense_4h_to_h"),
    Family(model_type="opt", layers="model.decoder.layers", projection="fc2"),
)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The parts of one loaded model that revisor touches.

    Paths go from a decoder layer to its FFN output projection and, if it is another module, to that
    after whose `output` a residual is added. `key_width` is F, `hidden_width` D.
    """

    layers: nn.ModuleList
    projection: str
    key_width: int
    hidden_width: int
    output: str | None = None

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    def ffn_projection(self, layer: int) -> nn.Module:
        """A layer's FFN output projection, whose input is the key; UsageError without such a
        layer."""
        if not 0 <= layer < self.depth:
            raise UsageError(
                f"The model has no layer {layer}: its layers are 0 to {self.depth - 1}.",
                "Set `layer` in store.toml, or pass --layer, to one of these.",
            )
        return self.layers[layer].get_submodule(self.projection)

    def ffn_output(self, layer: int) -> nn.Module:
        """The module to whose output a residual is added."""
        projection = self.ffn_projection(layer)
        return projection if self.output is None else self.layers[layer].get_submodule(self.output)


def known_families() -> dict[str, Family]:
    """All families by `model_type`: the table above, then what installed packages add."""
    table = {family.model_type: family for family in FAMILIES}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        family = entry.load()
        table[family.model_type] = family
    return table


def spec_of(
    model: nn.Module, *, layers_path: str | None = None, projection_path: str | None = None
) -> Spec:
    """Find the decoder layers and the FFN projection of a loaded model.

    Args:
        model: a causal language model of transformers.
        layers_path, projection_path: set both for a family that is not in the table.

    Raises:
        UnknownFamily: the family is not in the table and the two paths are not given.
        UsageError: a given path leads nowhere.
    """
    model_type = str(getattr(getattr(model, "config", None), "model_type", "unknown"))
    family = known_families().get(model_type)
    if layers_path is None or projection_path is None:
        if family is None:
            raise UnknownFamily(
                f"The model family '{model_type}' is not in revisor's table.",
                "Pass two settings: layers_path (from the model to its list of decoder layers, "
                "for example model.layers) and projection_path (from a layer to the module that "
                "projects out of the FFN, for example mlp.down_proj). On the command line: "
                "revisor init --layers-path ... --projection-path ...",
            )
        layers_path = layers_path or family.layers
        projection_path = projection_path or family.projection
    try:
        layers = model.get_submodule(layers_path)
        first = layers.get_submodule("0").get_submodule(projection_path)
    except AttributeError as error:
        raise UsageError(
            f"'{layers_path}' + '{projection_path}' leads nowhere in this {model_type} model: "
            f"{error}.",
            "Print the model to see the names of its modules.",
        ) from error
    if not isinstance(layers, nn.ModuleList):
        raise UsageError(
            f"'{layers_path}' is a {type(layers).__name__}, not a list of decoder layers.",
            "layers_path must lead to the nn.ModuleList that holds them.",
        )
    key_width, hidden_width = _widths(first)
    return Spec(
        layers=layers,
        projection=projection_path,
        key_width=key_width,
        hidden_width=hidden_width,
        output=family.output if family and projection_path == family.projection else None,
    )


def _widths(projection: nn.Module) -> tuple[int, int]:
    """(F, D) of a projection. A `Conv1D` of transformers has its weight as (in, out)."""
    if isinstance(projection, nn.Linear):
        return projection.in_features, projection.out_features
    weight = getattr(projection, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.dim() == 2:
        if type(projection).__name__ == "Conv1D":
            return int(weight.shape[0]), int(weight.shape[1])
        return int(weight.shape[1]), int(weight.shape[0])
    raise UsageError(
        f"The FFN projection is a {type(projection).__name__} without a 2-D weight.",
        "projection_path must lead to the last linear map of the FFN.",
    )
