"""The group of all commands: each loaded when it is used, helped with, and failing in one form."""

from __future__ import annotations

import errno
from collections import UserDict
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from revisor.commands.catalog import CATALOG, SECTIONS
from revisor.commands.common import fail, is_text, wants_json
from revisor.errors import RevisorError, UsageError

INTERRUPTED = 130
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)  # whatever was given as a path
STYLE: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain help: rich takes longer to load than everything else
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
_WORDS = {": Value error, ": ": ", ": Input should be": ": it should be"}
_BadUsage: Any = typer.BadParameter.__mro__[1]  # typer does not name its base, UsageError


class _Plain:
    """A command or a group whose options are told in the sections that they name, and whose epilog,
    examples, is printed as it is."""

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            told = one.get_help_record(ctx)
            if told is not None:
                usual = "Arguments" if one.param_type_name == "argument" else "Options"
                section = getattr(one, "rich_help_panel", None) or usual
                sections.setdefault(section, []).append(told)
        for name, rows in sections.items():
            with formatter.section(name):
                formatter.write_dl(rows)
        if hasattr(self, "format_commands"):
            self.format_commands(ctx, formatter)

    def format_epilog(self: Any, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")


class Command(_Plain, TyperCommand):
    """A command."""


class Group(_Plain, TyperGroup):
    """A group of commands."""


class _Loaded(UserDict[str, Any]):
    """The commands of the catalog by name, each imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        if super().__getitem__(name) is None:
            self.data[name] = _load(name)
        return self.data[name]


def _load(name: str) -> Any:
    entry = CATALOG[name]
    module, _, found = entry.place.partition(":")
    code = getattr(import_module(f"revisor.commands.{module}"), found)
    epilog = "\n  ".join(("Examples:", *entry.examples))
    made = typer.Typer(**STYLE)
    made.callback()(lambda: None)
    if isinstance(code, typer.Typer):
        made.add_typer(code, name=name, cls=Group, help=entry.help, epilog=epilog)
    else:
        made.command(name, cls=Command, epilog=epilog)(code)
    return typer.main.get_group(made).commands[name]


class Commands(Group):
    """The commands; an error meant for people ends any of them without a traceback."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Loaded(dict.fromkeys(CATALOG))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by section; none of them is loaded for it."""
        for section, entries in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def list_commands(self, ctx: Any) -> list[str]:
        return list(CATALOG)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self.commands.get(cmd_name)

    def make_context(self, info_name: Any, args: list[str], *more: Any, **extra: Any) -> Any:
        given = list(args)
        try:
            return super().make_context(info_name, args, *more, **extra)
        except _BadUsage as error:
            _fail_usage(error, given)

    def invoke(self, ctx: Any) -> Any:
        given = [*getattr(ctx, "_protected_args", ()), *ctx.args]
        if broken := next((one for one in given if not is_text(one)), None):
            error = UsageError(f"{ascii(broken)} is not text in UTF-8.", "Write it in UTF-8.")
            fail(error, as_json="--json" in given)
        try:
            return super().invoke(ctx)
        except _BadUsage as error:
            _fail_usage(error, given)
        except RevisorError as error:
            fail(error, as_json=wants_json(ctx))
        except OSError as error:
            if error.filename is None or error.errno not in _NO_NAME:
                raise
            told = UsageError(f"{error.filename}: {error.strerror}.", "Choose another name.")
            fail(told, as_json=wants_json(ctx))
        except KeyboardInterrupt as stop:
            raise typer.Exit(INTERRUPTED) from stop


def _fail_usage(error: Any, given: list[str]) -> NoReturn:
    """End with bad usage, told as any other error.

    The options are not parsed, so nobody has seen --json yet.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error
    message, hint = error.format_message().replace("\n", " "), "See: revisor --help"
    if error.ctx is not None:
        hint = f"See: {error.ctx.command_path} --help"
    if hasattr(error, "option_name"):
        message = f"There is no option {error.option_name}."
        if error.possibilities:
            hint = f"Did you mean {' or '.join(sorted(error.possibilities))}? {hint}"
    for theirs, plain in _WORDS.items():
        message = message.replace(theirs, plain)
    if not message.endswith((".", "?")):
        message += "."
    fail(UsageError(message, hint), as_json="--json" in given)
