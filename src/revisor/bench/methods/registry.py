"""Every method by its name on the command line; nothing is imported before it is asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Editor
from revisor.errors import BadInput, NotFound, UsageError
from revisor.models.load import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Method:
    """Where a method's editor is and what it is.

    Attributes:
        editor: `module:callable`, called with a `Binding`, its options and `name=`.
        options: the frozen dataclass of its hyperparameters, in the same module.
        preset: hyperparameters that differ from the dataclass's own defaults.
        summary: one line for people.
    """

    editor: str
    options: str
    summary: str
    preset: Mapping[str, Any] = field(default_factory=dict)


_HOME = "revisor.bench.methods"
_LOCATE = f"{_HOME}.locate"

EDITORS: Mapping[str, Method] = {
    "revisor": Method(
        editor=f"{_HOME}.revisor:GateMethod",
        options="GateOptions",
        summary="facts found in the text and written at the output",
    ),
    "neuraldb": Method(
        editor=f"{_HOME}.neuraldb:BankMethod",
        options="BankOptions",
        summary="a gated bank of residuals in one layer, as published",
    ),
    "memit": Method(
        editor=f"{_LOCATE}:LocateEditor",
        options="MemitOptions",
        preset={"batch": None},
        summary="MEMIT, all facts of a fit in one least-squares solve",
    ),
    "memit-seq": Method(
        editor=f"{_LOCATE}:LocateEditor",
        options="MemitOptions",
        summary="MEMIT in sequential batches",
    ),
    "rect": Method(
        editor=f"{_LOCATE}:LocateEditor",
        options="RectOptions",
        summary="MEMIT in sequential batches, only the largest relative changes kept",
    ),
    "alphaedit": Method(
        editor=f"{_LOCATE}:LocateEditor",
        options="AlphaEditOptions",
        summary="updates in the null space of background keys, in sequential batches",
    ),
    "rome": Method(
        editor=f"{_HOME}.rome:RomeEditor",
        options="RomeOptions",
        summary="rank-one updates of one layer, a fact at a time",
    ),
    "ft": Method(
        editor=f"{_HOME}.tuning:TuningEditor",
        options="FtOptions",
        summary="fine-tuning of one FFN output projection",
    ),
    "retrain": Method(
        editor=f"{_HOME}.tuning:TuningEditor",
        options="RetrainOptions",
        summary="continued training of all weights on the facts",
    ),
    "lora": Method(
        editor=f"{_HOME}.lora:LoraEditor",
        options="LoraOptions",
        summary="low-rank adapters trained on the facts",
    ),
    "grace": Method(
        editor=f"{_HOME}.grace:GraceEditor",
        options="GraceOptions",
        summary="a codebook of values with deferral radii in one layer",
    ),
    "ultraedit": Method(
        editor=f"{_HOME}.ultraedit:UltraEditor",
        options="UltraEditOptions",
        summary="closed form on hidden states and gradients, lifelong normalisation",
    ),
    "icl": Method(
        editor=f"{_HOME}.prompting:InContextEditor",
        options="InContextOptions",
        summary="the right fact in the prompt",
    ),
    "rag": Method(
        editor=f"{_HOME}.prompting:RetrievalEditor",
        options="RetrievalOptions",
        summary="retrieved facts in the prompt",
    ),
}


def make_editor(
    name: str,
    loaded: LoadedModel,
    options: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
) -> Editor:
    """The editor of that name, bound to a model.

    Args:
        name: a key of `EDITORS`.
        loaded: the model.
        options: hyperparameters by name, as a recipe has them; the defaults for the others.
        data_dir: folder whose corpus serves for second moments of keys.

    Raises:
        UsageError: an unknown method or option, or a value of the wrong kind.
    """
    method = _method(name)
    binding = Binding(loaded=loaded, data_dir=data_dir)
    module = import_module(method.editor.partition(":")[0])
    given = _checked(name, getattr(module, method.options), options or {})
    settings = getattr(module, method.options)(**{**method.preset, **given})
    editor: Editor = getattr(module, method.editor.partition(":")[2])(binding, settings, name=name)
    return editor


def default_options(name: str) -> dict[str, Any]:
    """A method's hyperparameters as they are where no recipe says otherwise.

    Raises:
        UsageError: an unknown method.
    """
    method = _method(name)
    module = import_module(method.editor.partition(":")[0])
    settings = getattr(module, method.options)(**method.preset)
    return {part.name: getattr(settings, part.name) for part in fields(settings)}


def read_recipe(path: Path, model: str) -> dict[str, dict[str, Any]]:
    """The options of each method for one model: the tables `[MODEL.METHOD]` of a TOML file.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not TOML.
        UsageError: it names an unknown method or option.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no recipe {path}.", "Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.", "Mend that line.") from error
    return checked_options(found.get(model, {}))


def checked_options(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Options by method as TOML has them, with lists as tuples.

    Raises:
        UsageError: an unknown method or option, or a value of the wrong kind.
    """
    checked: dict[str, dict[str, Any]] = {}
    for name, options in tables.items():
        method = _method(name)
        module = import_module(method.editor.partition(":")[0])
        checked[name] = _checked(name, getattr(module, method.options), options)
    return checked


def _method(name: str) -> Method:
    if name not in EDITORS:
        raise UsageError(f"There is no method '{name}'.", did_you_mean(name, EDITORS))
    return EDITORS[name]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not among the known ones."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."


def _checked(name: str, kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with lists as tuples, each known and of the type that its field declares."""
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, value in options.items():
        if key not in hints:
            raise UsageError(f"'{name}' has no option '{key}'.", did_you_mean(key, hints))
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            default = next(part.default for part in fields(kind) if part.name == key)
            example = "" if default is MISSING or default is None else f", such as {default!r}"
            wanted = getattr(hints[key], "__name__", str(hints[key]))
            raise UsageError(
                f"Option '{key}' of '{name}' cannot be {value!r}.", f"Give {wanted}{example}."
            )
        given[key] = value
    return given


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    if hint is NoneType:
        return value is None
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint
