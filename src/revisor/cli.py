"""The command line: `revisor COMMAND ...`. It only puts the commands together.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 3 a conflict or a check that was not
passed, 130 interrupted.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from revisor import __version__
from revisor.commands import (
    asking,
    bench,
    building,
    demo,
    evaluating,
    facts,
    history,
    keeping,
    serving,
)
from revisor.commands.common import fail, is_text, wants_json
from revisor.errors import RevisorError, UsageError

INTERRUPTED = 130
_ESCAPES = "revisor.escapes"
_BadUsage: Any = typer.BadParameter.__mro__[1]  # typer does not name its base, UsageError


class Commands(TyperGroup):
    """The commands; an error meant for people ends any of them without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        given = [*getattr(ctx, "_protected_args", ()), *ctx.args]
        if broken := next((one for one in given if not is_text(one)), None):
            error = UsageError(f"{ascii(broken)} is not text in UTF-8.", "Write it in UTF-8.")
            fail(error, as_json="--json" in given)
        try:
            return super().invoke(ctx)
        except _BadUsage as error:
            # The command's options are not parsed then, so nobody has seen --json yet.
            if "--json" not in given:
                raise
            fail(UsageError(error.format_message(), "See --help."), as_json=True)
        except RevisorError as error:
            fail(error, as_json=wants_json(ctx))
        except KeyboardInterrupt as stop:
            raise typer.Exit(INTERRUPTED) from stop


app = typer.Typer(
    cls=Commands,
    name="revisor",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First time here? Try `revisor demo`. Your own facts: `init`, `add`, `ask`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"revisor {__version__}")
        raise typer.Exit


@app.callback()
def revisor(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """A database of facts for a language model, whose weights are never touched.

    Facts live in a store, with who changed them, when and why. They are live at once: where a
    text asks for one, its object is written into the model's answer, token by token. Change or
    remove a fact and the answer follows.
    """


_START, _FACTS, _HISTORY = "Start here", "Facts", "History"
_SERVING, _OTHER = "Serving", "More"

app.command(rich_help_panel=_START)(demo.demo)
app.command(rich_help_panel=_START)(building.init)
app.command(rich_help_panel=_START)(facts.add)
app.command(rich_help_panel=_START)(asking.ask)
app.command(rich_help_panel=_START)(asking.chat)
app.command(rich_help_panel=_START)(asking.explain)
app.command("ls", rich_help_panel=_FACTS)(facts.list_facts)
app.command(rich_help_panel=_FACTS)(facts.show)
app.command("set", rich_help_panel=_FACTS)(facts.set_object)
app.command("rm", rich_help_panel=_FACTS)(facts.remove)
app.command(rich_help_panel=_FACTS)(facts.export)
app.command("import", rich_help_panel=_FACTS)(keeping.import_archive)
app.command(rich_help_panel=_FACTS)(keeping.check)
app.command(rich_help_panel=_HISTORY)(history.log)
app.command(rich_help_panel=_HISTORY)(history.diff)
app.command(rich_help_panel=_HISTORY)(history.rollback)
app.command(rich_help_panel=_HISTORY)(building.publish)
app.command(rich_help_panel=_HISTORY)(keeping.tag)
app.command(rich_help_panel=_SERVING)(serving.serve)
app.command("mcp", rich_help_panel=_SERVING)(serving.mcp)
app.add_typer(serving.keys, name="keys", rich_help_panel=_SERVING)
app.command(rich_help_panel=_OTHER)(building.status)
app.command(rich_help_panel=_OTHER)(building.build)
app.command(rich_help_panel=_OTHER)(building.verify)
app.command("eval", rich_help_panel=_OTHER)(evaluating.evaluate)
app.command(rich_help_panel=_OTHER)(evaluating.report)
app.command(rich_help_panel=_OTHER)(keeping.gc)
app.add_typer(bench.app, name="bench", rich_help_panel=_OTHER)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        print_any_letter(stream)
    app()


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
