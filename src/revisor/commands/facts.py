"""Facts in, out and changed: add, ls, show, set, rm, export. Only --skip-known opens a model."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
    ApprovedByOption,
    JsonOption,
    ReasonOption,
    StoreOption,
    fail,
    fault_json,
    note,
    note_newest,
    open_store,
    output,
    plural,
    print_json,
    say,
    table,
    to_go_live,
)
from revisor.errors import FAULTS_SHOWN, BadInput, Conflict, UsageError
from revisor.facts.lines import fact_line

if TYPE_CHECKING:
    from revisor.facts.changes import Revision
    from revisor.facts.imports import Added
    from revisor.operations.erase import Erased
    from revisor.operations.hf_export import Exported

PAGE = 50


class WithConflicts(Enum):
    """What `--on-conflict` takes."""

    stop = "stop"
    keep = "keep"
    replace = "replace"


IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The fact's id, or its first 4 letters or more.")
]


def add(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSONL, JSON, CSV, TSV (each also .gz) or Parquet; one fact a line: "
            "subject, prompt with {}, object.",
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    on_conflict: Annotated[
        WithConflicts,
        typer.Option(
            help="stop: import nothing; keep what came first; replace it by what came last."
        ),
    ] = WithConflicts.stop,
    skip_known: Annotated[
        bool,
        typer.Option(
            "--skip-known", help="Leave out facts that the model says by itself (opens the model)."
        ),
    ] = False,
    approved_by: ApprovedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read facts from a file into the store: all of them, or none.

    A line looks like this:

    `{"subject": "ACME", "prompt": "The CEO of {} is", "object": "Jane Roe"}`

    A fact that is there already with another object is updated. Lines that cannot
    be read, and facts that contradict one another, are listed and stop the import.
    """
    with open_store(store) as opened:
        try:
            added = opened.add(
                file,
                actor=actor,
                reason=reason,
                on_conflict=on_conflict.value,
                skip_known=skip_known,
                approved_by=approved_by,
            )
        except (BadInput, Conflict) as error:
            fail(error, as_json=as_json, result=_nothing_added(error) if as_json else None)
        next_step = to_go_live(opened)
    if as_json:
        print_json(_added_json(added, skip_known=skip_known))
        return
    _say_added(added, on_conflict)
    if (added.added or added.updated) and next_step:
        note(next_step)


def _counts(added: Added) -> dict[str, int]:
    return {"added": added.added, "updated": added.updated, "unchanged": added.unchanged}


def _added_json(added: Added, *, skip_known: bool) -> dict[str, Any]:
    conflicts = [fault_json(fault) for fault in added.conflicts]
    told: dict[str, Any] = {**_counts(added), "rejected": [], "conflicts": conflicts}
    if added.removed:
        told["removed"] = added.removed
    if skip_known:
        told["known"] = [fact_line(fact) for fact in added.known]
    if added.notes:
        told["notes"] = [fault_json(fault) for fault in added.notes]
    return told


def _say_added(added: Added, on_conflict: WithConflicts) -> None:
    say(", ".join(f"{count:,} {name}" for name, count in _counts(added).items()))
    for fault in added.notes:
        note(f"{fault}", style="yellow")
    for fault in added.conflicts[:FAULTS_SHOWN]:
        note(f"  {fault}", style=None)
    if added.conflicts:
        kept = on_conflict is WithConflicts.keep
        settled = "the first was kept" if kept else "the last was taken"
        note(f"{plural(len(added.conflicts), 'conflict')}: {settled}.", style="yellow")
    if added.removed:
        note(f"{plural(added.removed, 'fact')} gave way and ended.", style="yellow")
    if added.reversed and (added.added or added.updated):
        note(f"{plural(added.reversed, 'fact')} declared a reversed question: facts of their own.")
    if added.known:
        note(f"{plural(len(added.known), 'fact')} left out: the model says them by itself.")
    if added.duplicates:
        note(f"{plural(added.duplicates, 'line')} repeated an earlier line and changed nothing.")


def _nothing_added(error: BadInput | Conflict) -> dict[str, Any]:
    """The result of an import that was stopped."""
    faults: list[Any] = [fault_json(fault) for fault in error.faults]
    empty: dict[str, Any] = {"added": 0, "updated": 0, "unchanged": 0}
    if isinstance(error, Conflict):
        return empty | {"rejected": [], "conflicts": faults or [error.message]}
    rejected = faults or [{"line": 0, "fault": error.message}]
    return empty | {"rejected": rejected, "conflicts": []}


def list_facts(
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only facts with this text in them, in any case.")
    ] = "",
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only facts about it, in any spelling.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most N facts.", show_default="50; all in JSON"),
    ] = None,
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="Leave out the first N.")] = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the facts of the newest generation, in the order in which they were added.

    Those whose time is over are among them. Where an older generation is published, that is said.
    """
    if limit is None and not as_json:
        limit = PAGE
    with open_store(store) as opened:
        asked = None if limit is None else limit + 1  # one more, to know whether more are there
        found = list(
            opened.ledger.facts(search=search or None, subject=subject, limit=asked, offset=offset)
        )
        generation, live = opened.ledger.generation, opened.ledger.live_generation()
        note_newest(opened)
    facts = found if limit is None else found[:limit]
    if as_json:
        told = {"facts": [fact_line(fact) for fact in facts]}
        print_json(told | {"generation": generation, "live_generation": live})
        return
    if not facts:
        about = f" about '{subject}'" if subject else ""
        note(f"No facts{about}" + (f" with '{search}' in them." if search else "."))
        return
    listing = table("id", "prompt", "object")
    for fact in facts:
        listing.add_row(fact.id, " ".join(fact.text.split()), fact.object)
    output().print(listing)
    if len(found) > len(facts):
        note(f"There are more: --offset {offset + len(facts)}, or --limit.")


def show(
    fact_id: IdArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Show one fact and its history: every object it had, who gave it, when and why."""
    with open_store(store) as opened:
        revisions = opened.ledger.history(fact_id)
    last = revisions[-1]
    if as_json:
        print_json(
            {
                **fact_line(last.fact),
                "state": last.state,
                "revisions": [_revision_json(revision) for revision in revisions],
            }
        )
        return
    say(f"{last.fact.text} {last.fact.object}" + ("" if last.state == "live" else "  (removed)"))
    for key, value in fact_line(last.fact).items():
        if key != "object":
            text = "; ".join(value) if isinstance(value, list | tuple) else str(value)
            say(f"  {key}: {text}", style="dim")
    listing = table(
        "revision", "what", "object", "live in", "who", "when", "why", "source", right=["revision"]
    )
    for revision in revisions:
        listing.add_row(
            str(revision.revision),
            revision.kind,
            "" if revision.kind == "remove" else revision.fact.object,
            _live_in(revision),
            revision.actor,
            revision.at,
            revision.reason,
            revision.fact.source or "",
        )
    output().print(listing)


def _live_in(revision: Revision) -> str:
    """The generations in which a revision was live, such as `3-6` or `7-`."""
    if revision.kind == "remove":
        return ""
    if revision.until is None:
        return f"{revision.generation}-"
    last = revision.until - 1
    return str(last) if last == revision.generation else f"{revision.generation}-{last}"


def _revision_json(revision: Revision) -> dict[str, Any]:
    fact = revision.fact
    return asdict(revision) | {"object": fact.object, "fact": fact_line(fact)}


def set_object(
    fact_id: IdArgument,
    obj: Annotated[str, typer.Argument(metavar="OBJECT", help="What the model shall say now.")],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    approved_by: ApprovedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a fact another object. The old one stays in its history."""
    with open_store(store) as opened:
        fact = opened.set_object(fact_id, obj, actor=actor, reason=reason, approved_by=approved_by)
        next_step = to_go_live(opened)
    if as_json:
        print_json(fact_line(fact))
        return
    say(f"{fact.id}: {fact.text} {fact.object}")
    if next_step:
        note(next_step)


def remove(
    fact_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids, or their first 4 letters or more.")
    ],
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Erase them for good: text, vectors, history, exports. It cannot be undone.",
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    approved_by: ApprovedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove facts: the model answers as it did without them. Their history stays.

    With --purge nothing of them is left but a record that something was erased.
    """
    with open_store(store) as opened:
        if purge:
            erased = opened.purge(fact_ids, actor=actor, reason=reason, approved_by=approved_by)
            _say_erased(erased, as_json=as_json)
            return
        removed = opened.remove(fact_ids, actor=actor, reason=reason, approved_by=approved_by)
        generation = opened.ledger.generation
        next_step = to_go_live(opened)
    if as_json:
        print_json({"removed": removed, "generation": generation})
        return
    say(f"{plural(removed, 'fact')} removed")
    if removed:
        note(f"{next_step} To undo it: revisor rollback --to {generation - 1}".strip())


def _say_erased(erased: Erased, *, as_json: bool) -> None:
    if as_json:
        print_json({"removed": erased.facts, "purged": True, **asdict(erased)})
        return
    say(
        f"{plural(erased.facts, 'fact')} erased, {plural(erased.revisions, 'revision')} in all; "
        f"{plural(len(erased.banks), 'bank')} and {plural(len(erased.exports), 'export')} "
        "written anew"
    )
    for name in erased.unreached:
        note(f"Exported once, and not there or not the same any more: {name}", style="yellow")


def export(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="FILE.zip for an archive of everything; else FILE.jsonl.",
            show_default=False,
        ),
    ] = None,
    hf: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the model with its facts as a new folder that transformers opens.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write the facts of the newest generation as JSONL, which `revisor add` reads.

    To a file that ends in .zip everything is written: facts, history, audit and banks, with a
    manifest of hashes. `revisor import` makes an equal store of it.

    With --hf the model is written with the facts that are live, for
    `AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True)`.
    """
    if (file is None) == (hf is None):
        raise UsageError("Give either a FILE or --hf DIR.", "For example: revisor export all.zip")
    with open_store(store) as opened:
        if hf is not None:
            _say_model(opened.export_model(hf, actor=actor), hf, as_json=as_json)
            return
        assert file is not None
        count = opened.export(file, actor=actor)
        if file.suffix.lower() != ".zip":
            note_newest(opened)
    if as_json:
        print_json({"facts": count, "file": str(file)})
        return
    say(f"{plural(count, 'fact')} written to {file}")


def _say_model(exported: Exported, folder: Path, *, as_json: bool) -> None:
    if getattr(exported, "stale", False):
        note(
            f"Facts have changed since the last build; the model has those of generation "
            f"{exported.generation}. Run: revisor build",
            style="yellow",
        )
    if as_json:
        print_json(
            {"facts": exported.facts, "folder": str(folder), "generation": exported.generation}
        )
        return
    say(f"the model with {plural(exported.facts, 'fact')} written to {folder}")
    note(f'AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code=True)')
