"""The settings of a store: what there are, what each may be, and `store.toml` in and out.

`StoreSettings` is the one definition. From its fields come the checks of `store.toml`, the options
of `revisor init` and the table in docs/store.md.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from revisor.errors import BadInput, Fault, NotFound, UsageError
from revisor.facts.private import written_whole

METHODS = ("revisor", "neuraldb")
PROBES = ("auto", "off")
STRICTNESS = ("low", "normal", "high")
SENTENCE_ENCODER = "sentence-transformers:"
_ENCODERS = f"default, or {SENTENCE_ENCODER} with a folder or the name of a model"
_ABOUT = "about"
# Of a store of version 0.1: read, and not written again.
_OF_0_1 = ("preset", "scope", "exact", "bits", "whiten")


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
        raise UsageError(f"There is no encoder '{setting}'.", f"Choose {_ENCODERS}.")
    return name


@dataclass(frozen=True, kw_only=True)
class About:
    """What there is to know of a setting beside its name and its default.

    Attributes:
        help: what it means, for people.
        kind: the type of its values.
        of: the method that alone has it; None where both have.
        choices: all values there are; empty where `kind` and the bounds say it.
        at_init: a value that `revisor init` takes for its default, and replaces by what it finds.
        least, most: the bounds of a number.
        values: the values in words, where the above do not tell them.
        metavar: what stands for a value in the help of an option.
        default: what stands for the default, where it is found out or lies elsewhere.
        variable: of the environment, which gives `revisor init` a value.
        check: raises UsageError where a text means nothing.
    """

    help: str
    kind: type = str
    of: str | None = None
    choices: tuple[Any, ...] = ()
    at_init: str | None = None
    least: float | None = None
    most: float | None = None
    values: str | None = None
    metavar: str | None = None
    default: str | None = None
    variable: str | None = None
    check: Callable[[str], object] | None = None

    @property
    def allowed(self) -> str:
        """The values that it may have, in words."""
        if self.values is not None:
            return self.values
        if self.choices:
            return f"one of {self.choices}"
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return "a whole number" if self.least is None else f"a whole number from {self.least:g}"
        if self.kind is float:
            return f"a number in [{self.least:g}, {self.most:g}]"
        return "a string"

    def takes(self, value: object) -> bool:
        """Whether the setting may have this value."""
        kinds = (int, float) if self.kind is float else (self.kind,)  # a bool is an int
        if type(value) not in kinds or (self.choices and value not in self.choices):
            return False
        if isinstance(value, int | float) and not isinstance(value, bool):
            above = self.least is None or value >= self.least
            return above and (self.most is None or value <= self.most)
        if self.check is not None and isinstance(value, str):
            try:
                self.check(value)
            except UsageError:
                return False
        return True


def _setting(value: Any, help: str, **more: Any) -> Any:
    """A field of the settings with its default, `MISSING` for none, and what there is to know."""
    return field(default=value, metadata={_ABOUT: About(help=help, **more)})


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What a store is bound to. `about` tells what each setting means and may be."""

    model: str = _setting(
        MISSING,
        "smollm2 or qwen2.5-coder-1.5b (packaged; the first is small, to try things with), a "
        "Hugging Face id, a local folder or a .gguf file.",
        metavar="MODEL",
    )
    method: str = _setting(
        "revisor",
        "revisor: facts are found in the text and written at the output, live at once. "
        "neuraldb: the published system, a bank of residuals in one layer, to be built.",
        choices=METHODS,
    )
    dtype: str = _setting(
        MISSING,
        "Of the weights; auto takes what is fast here.",
        choices=("fp32", "bf16", "fp16"),
        at_init="auto",
    )
    device: str = _setting("auto", "auto, cpu, cuda, cuda:1, mps ...", metavar="NAME")
    database: str | None = _setting(
        None,
        "Keep the facts in PostgreSQL: postgresql://USER@HOST/DATABASE.",
        metavar="URL",
        default="SQLite in the store",
        variable="REVISOR_DATABASE",
    )
    probe: str = _setting(
        "auto",
        "off: do not ask the model's logits where an answer is due; facts then answer at "
        "their own prompts, and where a turn or a label opens an answer.",
        choices=PROBES,
    )
    strictness: str = _setting(
        "normal",
        "How surely a fact has to be asked for. low answers more wordings, and more that "
        "ask for something else; high fewer of both.",
        of="revisor",
        choices=STRICTNESS,
    )
    encoder: str = _setting(
        "default",
        "What compares questions: default, or sentence-transformers: with the folder or "
        "the name of a sentence encoder.",
        of="revisor",
        values=_ENCODERS,
        metavar="NAME",
        check=sentence_encoder,
    )
    layer: int | None = _setting(
        None,
        "The decoder layer that takes the facts.",
        kind=int,
        of="neuraldb",
        least=0,
        metavar="N",
        default="the best one, measured",
    )
    gamma: float | None = _setting(
        None,
        "The cosine above which a row fires.",
        kind=float,
        of="neuraldb",
        least=-1.0,
        most=1.0,
        metavar="COS",
        default="0.65",
    )
    search: str = _setting(
        "auto",
        "How the nearest key is found: a look at all, or over an index (extra scale); "
        "auto takes the index where there are many.",
        of="neuraldb",
        choices=("auto", "exact", "coarse"),
    )
    layers_path: str | None = _setting(
        None,
        "For a model family that revisor does not know: where its decoder layers are, "
        "such as model.layers.",
        of="neuraldb",
        metavar="PATH",
    )
    projection_path: str | None = _setting(
        None,
        "And where in a layer the FFN's output projection is, such as mlp.down_proj.",
        of="neuraldb",
        metavar="PATH",
    )


SETTINGS: Mapping[str, Field[Any]] = {one.name: one for one in fields(StoreSettings)}


def about(name: str) -> About:
    """What there is to know of a setting."""
    found: About = SETTINGS[name].metadata[_ABOUT]
    return found


def default_of(name: str) -> Any:
    """The value that a new store has without the setting; None where it has to be given."""
    told, default = about(name), SETTINGS[name].default
    return told.at_init if default is MISSING else default


def settings_from(given: Mapping[str, Any]) -> StoreSettings:
    """The settings of a new store, with the defaults of `revisor init` for those not given.

    Raises:
        BadInput: they have faults; all of them are listed.
    """
    told = {
        name: value
        for name, value in given.items()
        if name not in SETTINGS or value != default_of(name)
    }
    replaced = {name: about(name).at_init for name in SETTINGS if about(name).at_init is not None}
    faults = list(_faults({**told, "layer": 0} if _needs_layer(told) else told, needed=("model",)))
    if faults:
        first = str(faults[0])
        message = f"{first[0].upper()}{first[1:]}."
        if len(faults) > 1:
            message = f"{len(faults)} settings are wrong, the first: {first}."
        raise BadInput(message, "See: revisor init --help", faults if len(faults) > 1 else ())
    return StoreSettings(**{**replaced, **told})


def write_settings(path: Path, settings: StoreSettings) -> None:
    """Write `store.toml`; settings that are as they are without it are left out."""
    known = {
        key: value
        for key, value in asdict(settings).items()
        if key in ("model", "dtype", "method") or value != SETTINGS[key].default
    }
    # A JSON string, number or boolean is a TOML one.
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in known.items())
    # The URL of a database may hold a password.
    with written_whole(path) as stream:
        stream.write(f"# What this store is bound to; see docs/store.md.\n{text}".encode())


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
            f"There is no store at {path.parent}.", "Make one with: revisor init --model smollm2"
        ) from error
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}.", "Have its owner let you read it."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path} is not TOML: {error}.", "Mend that line.") from error
    if "method" not in found and ("layer" in found or "preset" in found):
        found = _of_0_1(found)
    faults = list(_faults(found, needed=("model", "dtype")))
    if faults:
        raise BadInput(f"{path} has {len(faults)} fault(s).", "Mend them all.", faults)
    return StoreSettings(**found)


def _of_0_1(found: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a store that version 0.1 made, as they are now."""
    kept = {key: value for key, value in found.items() if key not in _OF_0_1}
    if found.get("preset") == "paper":
        return kept | {"method": "neuraldb"}
    own = {
        key: value
        for key, value in kept.items()
        if key not in SETTINGS or about(key).of != "neuraldb"
    }
    return own | {"method": "revisor"}


def _needs_layer(found: Mapping[str, Any]) -> bool:
    """Whether a layer has to be measured."""
    return found.get("method") == "neuraldb" and "layer" not in found


def _faults(found: Mapping[str, Any], *, needed: tuple[str, ...]) -> Iterator[Fault]:
    """Everything wrong with settings by name, of which some have to be there."""
    for key in sorted(found.keys() - SETTINGS.keys()):
        near = get_close_matches(key, SETTINGS, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(SETTINGS))}"
        yield Fault(f"unknown setting '{key}'", remedy)
    for key in (*needed, *(["layer"] if _needs_layer(found) else [])):
        if key not in found:
            yield Fault(f"setting '{key}' is missing")
    method = found.get("method", SETTINGS["method"].default)
    for key in (key for key in SETTINGS if key in found):
        told = about(key)
        if not told.takes(found[key]):
            right_kind = type(found[key]) is told.kind
            allowed = told.allowed if right_kind or told.kind is not str else "a string"
            yield Fault(f"'{key}' is {found[key]!r}", allowed)
        if told.of is not None and method in METHODS and method != told.of:
            remedy = f"it is of {told.of}: leave it out, or choose that method"
            yield Fault(f"'{key}' is of another method", remedy)
