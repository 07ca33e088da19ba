"""The settings of a store: one definition, from which options and docs follow."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from revisor.commands.building import init
from revisor.config import SETTINGS, about, default_of, settings_from
from revisor.errors import BadInput

PAGE = Path(__file__).parent.parent / "docs" / "store.md"


def rows() -> Iterator[str]:
    """The table of docs/store.md as the settings have it."""
    yield "| setting | values | `revisor init` without it | meaning |"
    yield "|---|---|---|---|"
    for name in SETTINGS:
        told, default = about(name), default_of(name)
        if name == "model":
            shown = "refuses"
        elif told.default is not None:
            shown = told.default
        else:
            shown = "" if default is None else f"`{str(default).lower()}`"
        values = ", ".join(f"`{one}`" for one in told.choices) or told.allowed
        own = f"`{told.of}`: " if told.of else ""
        yield f"| `{name}` | {values} | {shown} | {own}{told.help} |"


def test_the_page_has_the_settings_as_they_are() -> None:
    """Where this fails, what it says is the table to put there."""
    assert "\n".join(rows()) in PAGE.read_text("utf-8"), "\n" + "\n".join(rows())


def test_init_has_an_option_for_each_setting_with_its_help() -> None:
    found = inspect.signature(init).parameters
    for name in SETTINGS:
        _, option = get_args(found[name].annotation)
        assert option.help == about(name).help
        assert (found[name].default is inspect.Parameter.empty) == (name == "model")


def test_what_is_not_given_is_as_init_has_it() -> None:
    made = settings_from({"model": "m"})
    assert (made.dtype, made.method, made.strictness) == ("auto", "revisor", "normal")
    assert settings_from({"model": "m", "dtype": "auto", "search": "auto"}) == made


def test_every_fault_of_new_settings_is_told() -> None:
    with pytest.raises(BadInput) as caught:
        settings_from({"strictness": "lax", "device": 7, "dtyp": "fp32"})
    told = " ".join(map(str, caught.value.faults))
    for part in ("'model' is missing", "'strictness' is 'lax'", "'device' is 7", "'dtype'?"):
        assert part in told
    with pytest.raises(BadInput, match="'layer' is -1 .a whole number from 0."):
        settings_from({"model": "m", "method": "neuraldb", "layer": -1})
