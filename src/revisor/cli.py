"""The command line: `revisor COMMAND ...`. It only puts the commands together.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 3 a conflict or a check that was not
passed, 130 interrupted.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import sys
from typing import Annotated

import typer

from revisor import __version__
from revisor.commands.common import tell
from revisor.commands.group import STYLE, Commands
from revisor.errors import CannotWrite

_ESCAPES = "revisor.escapes"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    cls=Commands,
    name="revisor",
    no_args_is_help=True,
    epilog="First time here? Try `revisor demo`. Your own facts: `init`, `add`, `ask`.",
    **STYLE | {"add_completion": True},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"revisor {__version__}")
        raise typer.Exit


@app.callback()
def revisor(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A database of facts for a language model, whose weights are never touched.

    Facts live in a store, with who changed them, when and why. They are live at once: where a
    text asks for one, its object is written into the model's answer, token by token. Change or
    remove a fact and the answer follows.
    """


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        print_any_letter(stream)
    try:
        app()
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        sys.stdout = None  # what is left of it has no place
        told = CannotWrite(
            f"The output could not be written: {error.strerror}.",
            "What was to be done may have been: see `revisor log`. Make room on the disk.",
        )
        tell(told)
        sys.exit(told.exit_code)


def print_any_letter(stream: object) -> None:
    """Have a stream whose encoding lacks letters print them as `\\u00e9`, as JSON writes them."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    if codecs.lookup(stream.encoding).name == "utf-8":
        return
    codecs.register_error(_ESCAPES, _escaped)
    stream.reconfigure(errors=_ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return json.dumps(letters)[1:-1], error.end


if __name__ == "__main__":
    main()
