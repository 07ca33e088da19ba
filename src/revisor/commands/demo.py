"""`revisor demo`: shows what revisor does, on the packaged model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from revisor.commands.common import JsonOption, note, output, print_json, say, table
from revisor.commands.options import Method

if TYPE_CHECKING:
    from revisor.demo import Asked, DemoReport

SHOWN = 12
_METHOD = Method("revisor")
SHORT = 44  # characters of an answer in the table


def demo(
    method: Annotated[
        Method,
        typer.Option(help="neuraldb: the published system, on a dozen facts, which it builds."),
    ] = _METHOD,
    as_json: JsonOption = False,
) -> None:
    """See it work: 40 facts go into a small model, which is asked before and after.

    The first time, the model is fetched (93 MB) through pip and converted, once. Nothing else is
    written to your disk.
    """
    from revisor.demo import run_demo

    report = run_demo(method=str(method))
    if as_json:
        print_json(report.counts())
        return
    _show(report)


def _show(report: DemoReport) -> None:
    listing = table("prompt", "before", "after", "fact")
    step = max(1, len(report.direct) // SHOWN)
    for asked in report.direct[::step][:SHOWN]:
        wanted = asked.fact.object if asked.fact else ""
        listing.add_row(asked.prompt, _short(asked.before), _short(asked.after), wanted)
    output().print(listing)
    counts = report.counts()
    say(f"{counts['flipped']} of {counts['facts']} facts: the model now says them and did not")
    say(f"{counts['paraphrase_flipped']} of {counts['paraphrases']} other wordings of them")
    say(
        f"{counts['unrelated_same']} of {counts['unrelated']} unrelated prompts: not a word changed"
    )
    named = {asked.fact.id: asked.prompt for asked in report.direct if asked.fact}
    for failure in report.failed:
        say(f"not written: '{named[failure['id']]}': {failure['fault']}")
    say(
        f"The facts were live after {counts['live_seconds']} s; {counts['seconds']} s in all, on "
        "this machine, with the model's weights as they were"
    )
    _show_why(report.direct)
    note("Your own facts: revisor init --model smollm2, revisor add FILE, revisor ask PROMPT")


def _show_why(direct: tuple[Asked, ...]) -> None:
    """Which fact answered one of the prompts."""
    for asked in direct:
        if asked.flipped and asked.facts_used:
            used = asked.facts_used[0]
            say(
                f"Why '{_short(asked.after)}'? The fact {used.id} ({used.subject}: "
                f"{used.object}) was used at token {used.position}. See `revisor explain PROMPT`."
            )
            return


def _short(answer: str) -> str:
    line = " ".join(answer.split())
    return line if len(line) <= SHORT else line[: SHORT - 1].rstrip() + "…"
