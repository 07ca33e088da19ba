"""The settings of a store, as TOML in and out."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from revisor.errors import BadInput, Fault, NotFound, UsageError
from revisor.facts.private import private

METHODS = ("revisor", "neuraldb")
DTYPES = ("fp32", "bf16", "fp16")
PROBES = ("auto", "off")
STRICTNESS = ("low", "normal", "high")
SENTENCE_ENCODER = "sentence-transformers:"
ENCODERS = f"default, or {SENTENCE_ENCODER} with a folder or the name of a model"
BITS = (32, 8, 4)
SEARCHES = ("auto", "exact", "coarse")

OF_REVISOR = ("strictness", "encoder")
OF_NEURALDB = ("layer", "gamma", "whiten", "layers_path", "projection_path", "bits", "search")
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
        strictness: with `revisor`, how surely a fact has to be asked for: `low`, `normal`, `high`.
        encoder: with `revisor`, what compares questions: `default`, the shipped one, or
            `sentence-transformers:` and the folder or the name of a sentence encoder.
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
    strictness: str = "normal"
    encoder: str = "default"
    layer: int | None = None
    gamma: float | None = None
    whiten: bool = False
    layers_path: str | None = None
    projection_path: str | None = None
    bits: int = 32
    search: str = "auto"


def sentence_encoder(setting: str) -> str | None:
    """The folder or name of a sentence encoder that the setting `encoder` names; None for the
    shipped one.

    Raises:
        UsageError: the setting means nothing.
    """
    if setting == "default":
        return None
    name = setting.removeprefix(SENTENCE_ENCODER).strip()
    if not setting.startswith(SENTENCE_ENCODER) or not name:
        raise UsageError(f"There is no encoder '{setting}'.", f"Choose {ENCODERS}.")
    return name


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
    # The URL of a database may hold a password.
    with open(path, "w", encoding="utf-8", opener=private) as stream:
        stream.write("# What this store is bound to; see docs/store.md.\n" + text)


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
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
    kept = {key: value for key, value in kept.items() if key not in OF_NEURALDB}
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
    choices = {
        "method": METHODS,
        "dtype": DTYPES,
        "search": SEARCHES,
        "probe": PROBES,
        "strictness": STRICTNESS,
    }
    for key, allowed in choices.items():
        if isinstance(found.get(key), str) and found[key] not in allowed:
            faults.append(
                Fault(line=0, fault=f"'{key}' is '{found[key]}'", remedy=f"one of {allowed}")
            )
    method = found.get("method", "revisor")
    for other, own in (("neuraldb", OF_NEURALDB), ("revisor", OF_REVISOR)):
        if method in METHODS and method != other:
            for key in sorted(found.keys() & set(own)):
                remedy = f'leave it out, or set method = "{other}"'
                faults.append(Fault(line=0, fault=f"'{key}' is of another method", remedy=remedy))
    return faults + _faults_of_encoder(found) + _faults_of_numbers(found)


def _faults_of_encoder(found: Mapping[str, Any]) -> list[Fault]:
    encoder = found.get("encoder", "default")
    try:
        if isinstance(encoder, str):
            sentence_encoder(encoder)
    except UsageError:
        return [Fault(line=0, fault=f"'encoder' is '{encoder}'", remedy=ENCODERS)]
    return []


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
