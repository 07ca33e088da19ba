"""Options made of definitions: of the settings of a store, and of dataclasses of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

from revisor.config import SETTINGS, about, default_of

Command = Callable[..., Any]


def choices_of(name: str) -> Any:
    """The values that `revisor init` takes for a setting, as the enumeration that typer wants."""
    told = about(name)
    values = dict.fromkeys([*([told.at_init] if told.at_init else []), *told.choices])
    return StrEnum(name, {value: value for value in values})


if TYPE_CHECKING:
    Method: TypeAlias = str
    Probing: TypeAlias = str
else:
    Method, Probing = choices_of("method"), choices_of("probe")

ModelOption = Annotated[str, typer.Option("--model", metavar="MODEL", help="As in init.")]
DataFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", envvar="REVISOR_DATA", metavar="DIR", help="Folder of benchmark data."
    ),
]


def with_settings(command: Command) -> Command:
    """A command with an option for each setting of a store, which it takes as keywords."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    kept = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
    return _with(command, [*map(_option, SETTINGS), *kept])


def _option(name: str) -> inspect.Parameter:
    told, default = about(name), default_of(name)
    kind: Any = choices_of(name) if told.choices and told.kind is str else told.kind
    if isinstance(default, str) and issubclass(kind, Enum):
        default = kind(default)
    option = typer.Option(
        "--" + name.replace("_", "-"),
        help=told.help,
        metavar=told.metavar,
        envvar=told.variable,
        show_default=told.default if told.default is not None else default is not None,
        rich_help_panel="The method neuraldb" if told.of == "neuraldb" else None,
        min=told.least,
        max=told.most,
    )
    given = name == "model"
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if given else default,
        annotation=Annotated[kind if given or default is not None else kind | None, option],
    )


def plain(given: dict[str, Any]) -> dict[str, Any]:
    """What options were given, choices as the texts that they are."""
    return {key: one.value if isinstance(one, Enum) else one for key, one in given.items()}


def with_options(command: Command) -> Command:
    """A command whose one parameter is a dataclass: an option for each field that tells of one."""
    (only,) = inspect.signature(command, eval_str=True).parameters.values()
    kind = only.annotation
    hints = get_type_hints(kind, include_extras=True)

    def run(**given: Any) -> Any:
        return command(kind(**given))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return _with(
        run,
        (
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if one.default is MISSING else one.default,
                annotation=hints[one.name],
            )
            for one in fields(kind)
            if hasattr(hints[one.name], "__metadata__")
        ),
    )


def _with(command: Command, parameters: Iterable[inspect.Parameter]) -> Command:
    """The command, which typer reads these parameters of."""
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in keywords}
    return command
