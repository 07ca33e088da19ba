"""Where a model keeps its decoder layers and FFN projections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from revisor.errors import UnknownFamily, UsageError
from revisor.models import spec
from revisor.models.hooks import inputs_of, outputs_of
from revisor.models.spec import FAMILIES, Family, known_families, spec_of
from tests import tiny

IDS = torch.arange(20, 32)[None]


class Stranger(nn.Module):
    """A model of no known family: its parts have names of their own."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="stranger")
        self.body = nn.Module()
        self.body.stack = nn.ModuleList([nn.ModuleDict({"last": projection})])


def test_the_tests_have_a_model_of_every_family_in_the_table() -> None:
    assert [family.model_type for family in FAMILIES] == list(tiny.FAMILIES)


def test_every_family_is_found_with_its_depth_and_widths(family: str) -> None:
    found = spec_of(tiny.model(family))
    assert (found.depth, found.key_width, found.hidden_width) == (
        tiny.DEPTH,
        tiny.KEY_WIDTH,
        tiny.HIDDEN_WIDTH,
    )


def test_the_projection_receives_the_key_and_puts_out_the_hidden_width(family: str) -> None:
    model = tiny.model(family)
    found = spec_of(model)
    for layer in range(found.depth):
        projection = found.ffn_projection(layer)
        with inputs_of(projection) as keys, outputs_of(projection) as values:
            model(IDS)
        assert [key.shape[-1] for key in keys] == [found.key_width]
        assert [value.shape[-1] for value in values] == [found.hidden_width]
        assert keys[0].numel() == IDS.numel() * found.key_width


def test_each_layer_has_a_projection_of_its_own() -> None:
    found = spec_of(tiny.model())
    assert len({id(found.ffn_projection(layer)) for layer in range(found.depth)}) == found.depth


def test_an_unknown_family_is_refused_with_the_two_settings_that_help() -> None:
    with pytest.raises(UnknownFamily, match="'stranger'") as caught:
        spec_of(Stranger(nn.Linear(6, 4)))
    assert "layers_path" in caught.value.hint
    assert "projection_path" in caught.value.hint


def test_a_module_without_a_config_is_an_unknown_family() -> None:
    with pytest.raises(UnknownFamily, match="'unknown'"):
        spec_of(nn.Linear(2, 2))


def test_an_unknown_family_works_with_paths() -> None:
    found = spec_of(Stranger(nn.Linear(6, 4)), layers_path="body.stack", projection_path="last")
    assert (found.depth, found.key_width, found.hidden_width) == (1, 6, 4)


def test_one_given_path_replaces_the_one_of_the_table() -> None:
    found = spec_of(tiny.model(), projection_path="mlp.up_proj")
    assert (found.key_width, found.hidden_width) == (tiny.HIDDEN_WIDTH, tiny.KEY_WIDTH)


@pytest.mark.parametrize(
    ("layers_path", "projection_path"),
    [
        ("model.blocks", "mlp.down_proj"),
        ("model.layers", "mlp.c_proj"),
        ("model.norm", "mlp.down_proj"),
        ("", ""),
    ],
)
def test_a_path_that_leads_nowhere_is_a_clear_error(layers_path: str, projection_path: str) -> None:
    with pytest.raises(UsageError, match="leads nowhere in this llama model") as caught:
        spec_of(tiny.model(), layers_path=layers_path, projection_path=projection_path)
    assert f"'{layers_path}' + '{projection_path}'" in caught.value.message
    assert "Print the model" in caught.value.hint


def test_layers_that_are_no_module_list_are_refused() -> None:
    stranger = Stranger(nn.Linear(6, 4))
    stranger.body.stack = nn.Sequential(*stranger.body.stack)
    with pytest.raises(UsageError, match="'body.stack' is a Sequential"):
        spec_of(stranger, layers_path="body.stack", projection_path="last")


@pytest.mark.parametrize("projection", [nn.LayerNorm(4), nn.ReLU()])
def test_a_projection_that_is_no_linear_map_is_refused(projection: nn.Module) -> None:
    with pytest.raises(UsageError, match=type(projection).__name__):
        spec_of(Stranger(projection), layers_path="body.stack", projection_path="last")


@pytest.mark.parametrize("layer", [-1, tiny.DEPTH, 99])
def test_a_layer_out_of_range_is_refused_with_the_range(layer: int) -> None:
    with pytest.raises(UsageError, match=f"no layer {layer}: its layers are 0 to 2"):
        spec_of(tiny.model()).ffn_projection(layer)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Family:
    """A package of a stranger is installed that declares a family."""
    family = Family(model_type="stranger", layers="body.stack", projection="last")

    def entry_points(*, group: str) -> list[Any]:
        assert group == "revisor.families"
        return [SimpleNamespace(load=lambda: family)]

    monkeypatch.setattr(spec, "entry_points", entry_points)
    return family


def test_a_strangers_package_adds_a_family(installed: Family) -> None:
    found = spec_of(Stranger(nn.Linear(6, 4)))
    assert (found.key_width, found.projection) == (6, installed.projection)


def test_a_strangers_family_leaves_the_others_in_place(installed: Family) -> None:
    assert set(known_families()) == {*tiny.FAMILIES, "stranger"}
