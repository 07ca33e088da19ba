"""What all commands share: their options, where results go, and how errors are told.

Nothing heavy is imported here or at the top of a command's module, so that `revisor --help`
and the commands that only read facts answer at once.
"""

from __future__ import annotations

import getpass
import json
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from revisor.errors import Fault, RevisorError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from revisor.store import Store

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Signs that steer a terminal, or turn what stands beside them round."""

PIPE_WIDTH = 1000  # columns where the output is no terminal: rows are never folded
_JSON = "revisor.json"


def wants_json(ctx: typer.Context) -> bool:
    """Whether this call prints JSON, as far as its options are parsed."""
    return bool(ctx.meta.get(_JSON))


def turn_json_on(ctx: typer.Context) -> None:
    """Have errors of this call told as JSON, too."""
    ctx.meta[_JSON] = True


def _remember_json(ctx: typer.Context, value: bool) -> bool:
    if value:
        turn_json_on(ctx)
    return value


def is_text(argument: str) -> bool:
    """Whether a string can be written as UTF-8; bytes that are none are read as half characters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def os_user() -> str:
    """The user's name as the operating system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's bare user id
        return "unknown"


StoreOption = Annotated[
    Path,
    typer.Option("--store", envvar="REVISOR_STORE", metavar="DIR", help="Folder of the store."),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", callback=_remember_json, help="Print one JSON object and nothing else."),
]
ActorOption = Annotated[
    str,
    typer.Option(
        "--actor",
        metavar="NAME",
        help="Who makes the change.",
        show_default="the system's user",
        callback=lambda name: name or os_user(),
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.")
]
ApprovedByOption = Annotated[
    str | None,
    typer.Option(
        "--approved-by",
        metavar="NAME",
        help="Who approved the change, where its namespace asks for somebody else's approval.",
        show_default=False,
    ),
]
NamespaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Only facts of this namespace; may be given several times.",
        show_default="all",
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE",
        help="Take this date (2021-05-01, or with a time) for today: facts that held then answer.",
        show_default="now",
    ),
]
DEFAULT_STORE = Path("revisor-store")


def moment_of(as_of: str | None) -> datetime | None:
    """The moment that `--as-of` gives; None for the present.

    Raises:
        UsageError: it is no date.
    """
    from revisor.facts.fact import parse_time

    if as_of is None or as_of.strip().lower() == "now":
        return None
    try:
        return parse_time(as_of)
    except ValueError as error:
        raise UsageError(
            f"'{as_of}' is no date.", "Write it as 2021-05-01 or 2021-05-01T12:00."
        ) from error


def open_store(path: Path) -> Store:
    """The store in that folder; close it, or use it as a context manager."""
    from revisor.store import Store

    opened = Store.open(path)
    if opened.settings.method == "revisor" and opened.workspace.banks.is_dir():
        note(
            "This store has banks, as version 0.1 made them. Its facts are live without: "
            "`revisor gc` removes the banks."
        )
    return opened


def note_unknown_namespaces(store: Store, names: Sequence[str] | None) -> None:
    """Say on standard error which chosen namespaces have no live fact, and what may be meant."""
    if not names:
        return
    ledger = store.ledger
    known = ledger.namespaces(generation=ledger.live_generation())
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            note(f"No live fact is of the namespace '{name}'.{meant}", style="yellow")


def note_newest(store: Store) -> None:
    """Say on standard error where the newest facts, which are shown, are not those that answer."""
    pinned = store.ledger.pinned()
    if pinned is not None:
        note(
            f"These are the facts of generation {store.ledger.generation}, the newest; generation "
            f"{pinned} is published and answers.",
            style="yellow",
        )


def to_go_live(store: Store) -> str:
    """What is to be done for a change just made to be answered with; empty if it is live."""
    if store.settings.method == "neuraldb":
        return "The model does not know yet: run `revisor build`."
    pinned = store.ledger.pinned()
    if pinned is None:
        return ""
    newest = store.ledger.generation
    return f"Generation {pinned} is published: `revisor publish {newest}` makes this live."


def print_json(result: Mapping[str, Any]) -> None:
    """One JSON object on a line of standard output; in ASCII where the encoding lacks a letter."""
    text = json.dumps(result, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(result)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def output() -> Console:
    """Standard output for people. Text is printed as it is: facts may hold brackets."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def visible(text: str) -> str:
    """The text with signs that cannot be seen by their number: who wrote it need not be who reads
    it, and it might steer the reader's terminal or read otherwise than it is."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str, style: str | None = None) -> None:
    """A line on standard output."""
    output().print(visible(text), style=style, soft_wrap=True)


def note(text: str, style: str | None = "dim") -> None:
    """A line on standard error: advice, warnings, what is not the result."""
    from rich.console import Console

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    console.print(visible(text), style=style, soft_wrap=True)


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table for people; `right` names the columns of numbers."""
    from rich import box
    from rich.table import Table

    class Visible(Table):
        def add_row(self, *cells: Any, **more: Any) -> None:
            super().add_row(*(visible(c) if isinstance(c, str) else c for c in cells), **more)

    made = Visible(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def tell(error: RevisorError) -> None:
    """An error on standard error: what happened, its faults, what to do."""
    note(f"error: {error.message}", style="bold red")
    faults, more = error.listed()
    for fault in faults:
        note(f"  {fault}", style=None)
    if more:
        note(f"  ... and {more} more; --json lists all", style=None)
    if error.hint:
        note(error.hint, style=None)


def fail(
    error: RevisorError, *, as_json: bool, result: Mapping[str, Any] | None = None
) -> NoReturn:
    """End the command with the error's exit code.

    Args:
        as_json: also print the error as JSON on standard output.
        result: keys that the command's own JSON has even when it fails.
    """
    if as_json:
        told: dict[str, Any] = {"message": error.message, "hint": error.hint}
        if result is None and (faults := error.faults):
            told["faults"] = [fault_json(fault) for fault in faults]
        print_json({**(result or {}), "error": told})
    tell(error)
    raise typer.Exit(error.exit_code) from error


def fault_json(fault: Fault) -> dict[str, Any]:
    """A fault of a line as JSON."""
    remedy = f" ({fault.remedy})" if fault.remedy else ""
    return {"line": fault.line, "fault": fault.fault + remedy}


def plural(count: int, noun: str) -> str:
    """`1 fact`, `2 facts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
