"""The settings of a store, as TOML in and out."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from revisor.errors import BadInput, Fault, NotFound

METHODS = ("revisor", "neuraldb")
DTYPES = ("fp32", "bf16", "fp16")
PROBES = ("auto", "off")
BITS = (32, 8, 4)
SEARCHES = ("auto", "exact", "coarse")

_OF_NEURALDB = ("layer", "gamma", "whiten", "layers_path", "projection_path", "bits", "search")
# Of a store of version 0.1: read, and not written again.
_OF_0_1 = ("preset", "scope", "exact")


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What a store is bound to.

    Attributes:
        model: `smollm2`, a Hugging Face id, a folder or a `.gguf` file.
        dtype: of the weights: fp32, bf16 or fp16.
        device: `auto` or a torch device.
        method: `revisor`, or `neuraldb` for the system as published.
        database: SQLAlchemy URL of the ledger; None for `ledger.sqlite` in the store.
        probe: with the method `revisor`, `auto`: the model's logits tell where an answer is due;
            `off`: facts answer at the ends of their own prompts, and where a turn or a label opens
            an answer.
        layer: with `neuraldb`, the decoder layer whose FFN holds the gate.
        gamma: with `neuraldb`, the cosine threshold; None for the method's own.
        whiten: with `neuraldb`, whitened keys instead of raw ones.
        layers_path, projection_path: with `neuraldb`, where the FFN is, for a family that is not
            in the table.
        bits: with `neuraldb`, in which a number of a row is stored.
        search: with `neuraldb`, how the nearest key is found: `exact`, by a look at all; `coarse`,
            over an index; `auto`, over an index where there are many.
    """

    model: str
    dtype: str
    device: str = "auto"
    method: str = "revisor"
    database: str | None = None
    probe: str = "auto"
    layer: int | None = None
    gamma: float | None = None
    whiten: bool = False
    layers_path: str | None = None
    projection_path: str | None = None
    bits: int = 32
    search: str = "auto"


def write_settings(path: Path, settings: StoreSettings) -> None:
    """Write `store.toml`; settings that are as they are without it are left out."""
    defaults = {field.name: field.default for field in fields(StoreSettings)}
    known = {
        key: value
        for key, value in asdict(settings).items()
        if key in ("model", "dtype", "method") or value != defaults[key]
    }
    # A JSON string, number or boolean is a TOML one.
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in known.items())
    path.write_text("# What this store is bound to; see docs/store.md.\n" + text, encoding="utf-8")


def read_settings(path: Path) -> StoreSettings:
    """Read `store.toml`.

    Raises:
        NotFound: there is no such file.
        BadInput: it cannot be read, is not TOML or has faults; all of them are listed.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"There is no store at {path.parent}.",
            "Make one with: revisor init --model smollm2",
        ) from error
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}.", "Have its owner let you read it."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.", "Mend that line.") from error
    if "method" not in found and ("layer" in found or "preset" in found):
        found = _of_0_1(found)
    faults = list(_faults(found))
    if faults:
        raise BadInput(f"{path} has {len(faults)} fault(s).", "Mend them all.", faults)
    return StoreSettings(**found)


def _of_0_1(found: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a store that version 0.1 made, as they are now."""
    kept = {key: value for key, value in found.items() if key not in _OF_0_1}
    if found.get("preset") == "paper":
        return kept | {"method": "neuraldb"}
    kept = {key: value for key, value in kept.items() if key not in _OF_NEURALDB}
    return kept | {"method": "revisor"}


def _faults(found: Mapping[str, Any]) -> list[Fault]:
    names = {field.name for field in fields(StoreSettings)}
    faults = []
    for key in sorted(found.keys() - names):
        near = get_close_matches(key, names, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(names))}"
        faults.append(Fault(line=0, fault=f"unknown setting '{key}'", remedy=remedy))
    needed = ["model", "dtype"]
    if found.get("method") == "neuraldb":
        needed.append("layer")
    for key in needed:
        if key not in found:
            faults.append(Fault(line=0, fault=f"setting '{key}' is missing"))
    texts = names - {"layer", "gamma", "whiten", "bits"}
    for key in sorted(found.keys() & texts):
        if not isinstance(found[key], str):
            faults.append(Fault(line=0, fault=f"'{key}' is {found[key]!r}", remedy="a string"))
    choices = {"method": METHODS, "dtype": DTYPES, "search": SEARCHES, "probe": PROBES}
    for key, allowed in choices.items():
        if isinstance(found.get(key), str) and found[key] not in allowed:
            faults.append(
                Fault(line=0, fault=f"'{key}' is '{found[key]}'", remedy=f"one of {allowed}")
            )
    if found.get("method", "revisor") == "revisor":
        for key in sorted(found.keys() & set(_OF_NEURALDB)):
            remedy = 'leave it out, or set method = "neuraldb"'
            faults.append(Fault(line=0, fault=f"'{key}' is of another method", remedy=remedy))
    return faults + _faults_of_numbers(found)


def _faults_of_numbers(found: Mapping[str, Any]) -> list[Fault]:
    faults = []
    layer = found.get("layer", 0)
    if type(layer) is not int or layer < 0:  # a bool is an int
        faults.append(Fault(line=0, fault=f"'layer' is {layer!r}", remedy="0, 1, 2, ..."))
    whiten = found.get("whiten", False)
    if not isinstance(whiten, bool):
        faults.append(Fault(line=0, fault=f"'whiten' is {whiten!r}", remedy="true or false"))
    bits = found.get("bits", BITS[0])
    if type(bits) is not int or bits not in BITS:
        faults.append(Fault(line=0, fault=f"'bits' is {bits!r}", remedy=f"one of {BITS}"))
    gamma = found.get("gamma")
    if gamma is not None and not (type(gamma) in (int, float) and -1 <= gamma <= 1):
        faults.append(Fault(line=0, fault=f"'gamma' is {gamma!r}", remedy="a cosine in [-1, 1]"))
    return faults
