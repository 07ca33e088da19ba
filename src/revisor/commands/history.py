"""The store's generations: log, diff, rollback. None of them needs a model.

What comes in: generation numbers. What goes out: what changed, who did it and why; or a new
generation with the facts of an earlier one. What it does not do: forget anything.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
    JsonOption,
    ReasonOption,
    StoreOption,
    fact_json,
    note,
    open_store,
    os_user,
    output,
    plural,
    print_json,
    say,
    table,
)
from revisor.commands.facts import TO_BUILD

GenerationArgument = Annotated[
    int, typer.Argument(metavar="GEN", min=0, help="A generation; `revisor log` lists them.")
]


def log(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most N generations.")] = 20,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the generations of the store, the last one first.

    Every import or change makes a generation: who made it, when, why and what it changed.
    """
    with open_store(store) as opened:
        generations = opened.ledger.log(limit)
    if as_json:
        print_json({"generations": [asdict(made) for made in generations]})
        return
    if not generations:
        note("No facts yet: revisor add FILE")
        return
    numbers = ["gen", "added", "updated", "removed", "facts"]
    listing = table(*numbers, "who", "when", "why", right=numbers)
    for made in generations:
        counts = (made.number, made.added, made.updated, made.removed, made.live)
        listing.add_row(*map(str, counts), made.actor, made.at, made.reason)
    output().print(listing)


def diff(
    start: GenerationArgument,
    end: GenerationArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show how the facts of one generation differ from those of another."""
    with open_store(store) as opened:
        put, gone = opened.ledger.changed_since(start, upto=end)
        put_back, new = opened.ledger.changed_since(end, upto=start)
    before = {fact.id: fact for fact in put_back}
    is_new = set(new)
    added = [fact for fact in put if fact.id in is_new]
    updated = [(before[fact.id], fact) for fact in put if fact.id not in is_new]
    removed = [before[fact_id] for fact_id in gone]
    if as_json:
        print_json(
            {
                "from": start,
                "to": end,
                "added": [fact_json(fact) for fact in added],
                "updated": [
                    {"id": new.id, "before": fact_json(old), "after": fact_json(new)}
                    for old, new in updated
                ],
                "removed": [fact_json(fact) for fact in removed],
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
        int,
        typer.Option("--to", metavar="GEN", min=0, help="The generation whose facts shall hold."),
    ],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the facts of an earlier generation hold again, as a new generation.

    Nothing is forgotten, so a rollback can be rolled back.
    """
    with open_store(store) as opened:
        made = opened.ledger.rollback(to, actor=actor or os_user(), reason=reason)
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
    note(TO_BUILD)
