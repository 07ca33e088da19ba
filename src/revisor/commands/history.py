"""The store's generations: log, diff, rollback. None of them needs a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
    ApprovedByOption,
    JsonOption,
    ReasonOption,
    StoreOption,
    note,
    open_store,
    output,
    plural,
    print_json,
    say,
    table,
    to_go_live,
)
from revisor.facts.lines import fact_line

if TYPE_CHECKING:
    from revisor.facts.audit import Event

GenerationArgument = Annotated[
    str, typer.Argument(metavar="GEN", help="A generation, or its tag; `revisor log` lists them.")
]

# What the list of events shows of one beside what every event has.
SHOWN = ("name", "namespaces", "role", "needs_approval", "approved_by", "share", "keys", "file")


def log(
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="At most N generations or events.")
    ] = 20,
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="List the audit: every write, publication, policy, key, export, purge."
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the generations of the store, the last one first.

    Every import or change makes a generation: who made it, when, why and what it changed.
    """
    with open_store(store) as opened:
        if events:
            _say_events(opened.ledger.events(limit), as_json=as_json)
            return
        generations, tags = opened.ledger.log(limit), opened.ledger.tags()
        live = opened.ledger.live_generation()
    if as_json:
        told = [asdict(made) for made in generations]
        print_json({"generations": told, "tags": tags, "live_generation": live})
        return
    if not generations:
        note("No facts yet: revisor add FILE")
        return
    numbers = ["gen", "added", "updated", "removed", "facts"]
    listing = table(*numbers, "who", "when", "why", "tags", right=numbers)
    for made in generations:
        counts = (made.number, made.added, made.updated, made.removed, made.live)
        named = ["(live)"] * (made.number == live)
        named += [name for name, number in tags.items() if number == made.number]
        listing.add_row(*map(str, counts), made.actor, made.at, made.reason, ", ".join(named))
    output().print(listing)


def _say_events(events: Sequence[Event], *, as_json: bool) -> None:
    if as_json:
        print_json({"events": [asdict(event) for event in events]})
        return
    numbers = ["event", "gen"]
    listing = table("event", "what", "gen", "who", "when", "details", "hash", right=numbers)
    for event in events:
        first = (str(event.seq), event.kind, str(event.generation))
        told = {key: event.details.get(key) for key in SHOWN}
        shown = ", ".join(f"{key}: {value}" for key, value in told.items() if value is not None)
        listing.add_row(*first, event.actor, event.at, shown, event.hash[:12])
    output().print(listing)


def diff(
    start: GenerationArgument,
    end: GenerationArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show how the facts of one generation differ from those of another."""
    with open_store(store) as opened:
        change = opened.ledger.diff(start, end)
    added, updated, removed = change.added, change.updated, change.removed
    if as_json:
        print_json(
            {
                "from": start,
                "to": end,
                "added": [fact_line(fact) for fact in added],
                "updated": [
                    {"id": new.id, "before": fact_line(old), "after": fact_line(new)}
                    for old, new in updated
                ],
                "removed": [fact_line(fact) for fact in removed],
            }
        )
        return
    for fact in added:
        say(f"+ {fact.id}  {fact.text} {fact.object}", style="green")
    for old, fact in updated:
        was = "other details" if old.object == fact.object else f"was: {old.object}"
        say(f"~ {fact.id}  {fact.text} {fact.object}  ({was})", style="yellow")
    for fact in removed:
        say(f"- {fact.id}  {fact.text} {fact.object}", style="red")
    if not (added or updated or removed):
        note(f"The facts of generations {start} and {end} are the same.")


def rollback(
    to: Annotated[
        str, typer.Option(metavar="GEN", help="The generation, or tag, whose facts shall hold.")
    ],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    approved_by: ApprovedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the facts of an earlier generation hold again, as a new generation.

    Nothing is forgotten, so a rollback can be rolled back.
    """
    with open_store(store) as opened:
        made = opened.rollback(to, actor=actor, reason=reason, approved_by=approved_by)
        next_step = to_go_live(opened)
    if as_json:
        told = asdict(made)
        print_json({"generation": told.pop("number"), "changed": made.changed, **told})
        return
    if not made.changed:
        say(f"Nothing to do: the facts are those of generation {to}")
        return
    say(
        f"Generation {made.number} has the {plural(made.live, 'fact')} of generation {to}: "
        f"{made.added} added, {made.updated} updated, {made.removed} removed"
    )
    if next_step:
        note(next_step)
