"""The page about the commands, made from their help.

Run it as `python tools/commands_page.py > docs/commands.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from revisor.cli import app
from revisor.commands.catalog import SECTIONS

HEAD = """# The commands

<!-- Made from their help: `python tools/commands_page.py > docs/commands.md`; a test compares. -->

`revisor COMMAND --help` says the same. With `--json` standard output is one JSON object and nothing
else, errors included; advice and errors for people go to standard error.

| exit code | |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | bad usage or bad input; nothing was done |
| 3 | a conflict, an approval that is missing, or a check that was not passed |
| 130 | interrupted |
"""
SHARED = ("--store", "--json", "--actor", "--reason", "--approved-by", "--namespace", "--as-of")
COMPLETION = """## Completion

`revisor --install-completion` teaches the shell (bash, zsh, fish, PowerShell) the commands and
their options.
"""


def page() -> str:
    """All of it."""
    root: Any = typer.main.get_command(app)
    everywhere: dict[str, str] = {}
    parts = [
        "\n".join(_command(f"revisor {name}", root.commands[name], everywhere))
        for section in SECTIONS.values()
        for name in section
    ]
    several = ["## Options that several commands have", "", *_table("option", everywhere)]
    listed = []
    for title, entries in SECTIONS.items():
        names = {f"[`{name}`](#revisor-{name})": one.help for name, one in entries.items()}
        listed += ["", *_table(title, names, code=False)]
    return "\n".join([HEAD.rstrip(), *listed, "", *several, "", *parts, COMPLETION])


def _command(name: str, command: Any, everywhere: dict[str, str]) -> Iterator[str]:
    """What is told of a command, or of a group and the commands in it.

    Args:
        everywhere: filled with the options that several commands have.
    """
    yield from (f"## {name}", "", *_prose(command.help or ""), "")
    context = command.context_class(command, info_name=name)
    arguments: dict[str, str] = {}
    options: dict[str, str] = {}
    shared = []
    for one in command.get_params(context):
        told = one.get_help_record(context)
        if told is None or one.name == "help":
            continue
        shown, text = told[0], re.sub(r"default: \((.*?)\)([;\]])", r"default: \1\2", told[1])
        flag = shown.split()[0]
        if one.param_type_name == "argument":
            arguments[flag] = text
        elif flag in SHARED and everywhere.setdefault(shown, text) == text:
            shared.append(f"`{flag}`")
        else:
            options[shown] = text
    for title, rows in (("argument", arguments), ("option", options)):
        if rows:
            yield from (*_table(title, rows), "")
    if shared:
        yield from (f"And {', '.join(shared)}.", "")
    for inner, part in getattr(command, "commands", {}).items():
        for line in _command(f"{name} {inner}", part, everywhere):
            yield f"#{line}" if line.startswith("## ") else line
    examples = (command.epilog or "").removeprefix("Examples:").split("\n")
    if found := [line.strip() for line in examples if line.strip()]:
        yield from ("```", *found, "```", "")


def _prose(text: str) -> Iterator[str]:
    """Paragraphs, each on a line."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        yield " ".join(paragraph.split())


def _table(title: str, rows: Mapping[str, str], *, code: bool = True) -> Iterator[str]:
    yield from (f"| {title} | |", "|---|---|")
    for name, text in rows.items():
        shown = f"`{name}`" if code else name
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in (shown, text))
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
