"""Every method by its name on the command line, and its options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from revisor.bench.methods.binding import Binding
from revisor.bench.protocol import Editor
from revisor.bench.registry import Registry, did_you_mean
from revisor.errors import BadInput, NotFound, NotSupported, UsageError
from revisor.models.load import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method's editor, and its options.

    Attributes:
        editor: `module:callable`, called with a `Binding`, its options and `name=`; imported when
            the method is asked for.
        options: the frozen dataclass of its hyperparameters, in the same module.
        preset: hyperparameters that differ from the dataclass's own defaults.
    """

    editor: str
    options: str
    preset: Mapping[str, Any] = field(default_factory=dict)


def _own(editor: str, options: str, **preset: Any) -> Method:
    return Method(editor=f"revisor.bench.methods.{editor}", options=options, preset=preset)


_OWN: Mapping[str, Method] = {
    "revisor": _own("revisor:GateMethod", "GateOptions"),
    "neuraldb": _own("neuraldb:BankMethod", "BankOptions"),
    "memit": _own("locate:LocateEditor", "MemitOptions", batch=None),
    "memit-seq": _own("locate:LocateEditor", "MemitOptions"),
    "rect": _own("locate:LocateEditor", "RectOptions"),
    "alphaedit": _own("locate:LocateEditor", "AlphaEditOptions"),
    "rome": _own("locate:RomeEditor", "RomeOptions"),
    "ft": _own("training:TuningEditor", "FtOptions"),
    "retrain": _own("training:TuningEditor", "RetrainOptions"),
    "lora": _own("lora:LoraEditor", "LoraOptions"),
    "grace": _own("grace:GraceEditor", "GraceOptions"),
    "ultraedit": _own("ultraedit:UltraEditor", "UltraEditOptions"),
    "icl": _own("prompting:InContextEditor", "InContextOptions"),
    "rag": _own("prompting:RetrievalEditor", "RetrievalOptions"),
}
METHODS = Registry(kind="method", group="revisor.methods", own=_OWN)


def make_editor(
    name: str,
    loaded: LoadedModel,
    options: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
) -> Editor:
    """The editor of a name in `METHODS.names`, bound to a model.

    `options` are hyperparameters that differ from the defaults; `data_dir` is the folder of the
    corpus for second moments.

    Raises:
        UsageError: an unknown method or option, or a value of the wrong kind.
        NotSupported: a method of another package cannot be used.
    """
    method = _method(name)
    binding = Binding(loaded=loaded, data_dir=data_dir)
    kind = _options_of(method)
    settings = kind(**{**method.preset, **_checked(name, kind, options or {})})
    module, _, callable_ = method.editor.partition(":")
    editor: Editor = getattr(import_module(module), callable_)(binding, settings, name=name)
    return editor


def default_options(name: str) -> dict[str, Any]:
    """A method's default hyperparameters; UsageError if it is unknown."""
    method = _method(name)
    settings = _options_of(method)(**method.preset)
    return {part.name: getattr(settings, part.name) for part in fields(settings)}


def read_options(path: Path, model: str) -> dict[str, dict[str, Any]]:
    """The options of each method for one model: the tables `[MODEL.METHOD]` of a TOML file.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not TOML.
        UsageError: it names an unknown method or option.
    """
    return checked_options(read_toml(path, "file of options").get(model, {}))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file's content, `what` naming it in the messages of NotFound and BadInput."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no {what} {path}.", "Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.", "Mend that line.") from error


def checked_options(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Options by method with lists as tuples; UsageError for unknown ones or wrong values."""
    return {
        name: _checked(name, _options_of(_method(name)), options)
        for name, options in tables.items()
    }


def _method(name: str) -> Method:
    found = METHODS.get(name)
    if not isinstance(found, Method):
        raise NotSupported(
            f"The entry point of the method '{name}' is {found!r}, not a Method.",
            "Mend or uninstall the package that brings it; see docs/methods.md.",
        )
    return found


def _options_of(method: Method) -> Any:
    return getattr(import_module(method.editor.partition(":")[0]), method.options)


def _checked(name: str, kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with lists as tuples, each known and of the type that its field declares."""
    declared = get_type_hints(kind)
    hints = {part.name: declared[part.name] for part in fields(kind)}
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
