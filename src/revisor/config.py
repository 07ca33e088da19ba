"""All settings of a store, as TOML in and out, and the presets behind their names.

What comes in: `store.toml`. What goes out: frozen settings, or one error that lists every fault.
What it does not do: open models or databases.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from revisor.errors import BadInput, Fault, NotFound

PRESETS = ("revisor", "paper")
PAPER_GAMMA = 0.65  # Fei et al. 2026, section 5.1
DTYPES = ("fp32", "bf16", "fp16")
BITS = (32, 8, 4)
SCOPES = ("question", "subject")
SEARCHES = ("auto", "exact", "coarse")

# Layers found by a full sweep (docs/layers.md); other models are probed by `revisor init`.
SWEPT_LAYERS: Mapping[str, Mapping[str, int]] = {"smollm2": {"revisor": 10, "paper": 5}}


def swept_layer(model: str, preset: str = "revisor") -> int | None:
    """The layer that a sweep found best for a model's preset; None where nobody has swept it."""
    return SWEPT_LAYERS.get(model, {}).get(preset)


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What a store is bound to.

    Attributes:
        model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
        dtype: of the weights: fp32, bf16 or fp16.
        device: `auto` or a torch device.
        layer: the decoder layer whose FFN holds the gate.
        preset: `revisor`, or `paper` for the method as published.
        gamma: the cosine threshold; None for the preset's own.
        layers_path, projection_path: where the FFN is, for a family that is not in the table.
        database: SQLAlchemy URL of the ledger; None for `ledger.sqlite` in the store.
        exact: make each subject's rows alone and check all rows at every build, so that a bank
            depends on the facts alone, to the bit, and not on how they came; slower.
        scope: of a fact that is its subject's only one: `question`, it is told where it is asked
            for, as facts are that share their subject; or `subject`, at the name, to whatever is
            asked about it.
        bits: in which a number of a row is stored: 32, 8 or 4 (docs/scale.md); 32 where a
            `store.toml` says nothing.
        search: with the preset `paper`, how the nearest key is found: `exact`, by a look at all;
            `coarse`, over an index; `auto`, over an index where there are many. An index that
            decides otherwise than a look at all is never used.
    """

    model: str
    dtype: str
    layer: int
    device: str = "auto"
    preset: str = "revisor"
    gamma: float | None = None
    layers_path: str | None = None
    projection_path: str | None = None
    database: str | None = None
    exact: bool = False
    bits: int = 32
    scope: str = "question"
    search: str = "auto"


def write_settings(path: Path, settings: StoreSettings) -> None:
    """Write `store.toml`; settings that are None or false are left out."""
    known = {
        key: value
        for key, value in asdict(settings).items()
        if value is not None
        and value is not False  # 0 and 0.0 are settings
        and (key, value) not in (("scope", SCOPES[0]), ("search", SEARCHES[0]))
    }
    # A JSON string, number or boolean is a TOML one.
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in known.items())
    path.write_text("# What this store is bound to; see docs/store.md.\n" + text, encoding="utf-8")


def read_settings(path: Path) -> StoreSettings:
    """Read `store.toml`.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not TOML or has faults; all of them are listed.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no store at {path.parent}.",
            "Make one with: revisor init --model smollm2",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.", "Mend that line.") from error
    faults = list(_faults(found))
    if faults:
        raise BadInput(f"{path} has {len(faults)} fault(s).", "Mend them all.", faults)
    return StoreSettings(**found)


def _faults(found: Mapping[str, Any]) -> list[Fault]:
    names = {field.name for field in fields(StoreSettings)}
    faults = []
    for key in sorted(found.keys() - names):
        near = get_close_matches(key, names, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(names))}"
        faults.append(Fault(line=0, fault=f"unknown setting '{key}'", remedy=remedy))
    for key in ("model", "dtype", "layer"):
        if key not in found:
            faults.append(Fault(line=0, fault=f"setting '{key}' is missing"))
    for key in sorted(found.keys() & names - {"layer", "gamma", "exact", "bits"}):
        if not isinstance(found[key], str):
            faults.append(Fault(line=0, fault=f"'{key}' is {found[key]!r}", remedy="a string"))
    layer = found.get("layer", 0)
    if type(layer) is not int or layer < 0:  # a bool is an int
        faults.append(Fault(line=0, fault=f"'layer' is {layer!r}", remedy="0, 1, 2, ..."))
    choices = {"preset": PRESETS, "dtype": DTYPES, "scope": SCOPES, "search": SEARCHES}
    for key, allowed in choices.items():
        if isinstance(found.get(key), str) and found[key] not in allowed:
            faults.append(
                Fault(line=0, fault=f"'{key}' is '{found[key]}'", remedy=f"one of {allowed}")
            )
    if found.get("search", "auto") != "auto" and found.get("preset") != "paper":
        remedy = "leave it out: only the preset 'paper' searches through keys"
        faults.append(Fault(line=0, fault="'search' goes with another preset", remedy=remedy))
    if not isinstance(found.get("exact", False), bool):
        faults.append(Fault(line=0, fault=f"'exact' is {found['exact']!r}", remedy="true or false"))
    bits = found.get("bits", BITS[0])
    if type(bits) is not int or bits not in BITS:
        faults.append(Fault(line=0, fault=f"'bits' is {bits!r}", remedy=f"one of {BITS}"))
    gamma = found.get("gamma")
    if gamma is not None and not (type(gamma) in (int, float) and -1 <= gamma <= 1):
        faults.append(Fault(line=0, fault=f"'gamma' is {gamma!r}", remedy="a cosine in [-1, 1]"))
    return faults
