"""A store and what is made in it: init, build, verify, status, publish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

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
    os_user,
    plural,
    print_json,
    say,
)
from revisor.commands.options import plain, with_settings

if TYPE_CHECKING:
    from revisor.store import Store

FAILED = 1
FAILURES_SHOWN = 20


@with_settings
def init(
    *, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False, **settings: Any
) -> None:
    """Make a store for one model. It holds the facts and what they need.

    The model itself is opened to measure it, never changed: how surely its logits tell where an
    answer is due (or, with --method neuraldb, which layer takes facts best).
    """
    from revisor.store import Store

    with Store.init(store, **plain(settings)) as made:
        found = made.settings
        figures = _probe_json(made) if found.method == "revisor" else None
    if as_json:
        print_json({"store": str(store), **asdict(found), "probe_figures": figures})
        return
    if found.method == "neuraldb":
        say(f"{store}: {found.model}, neuraldb, layer {found.layer}, {found.dtype}")
        note("Next: revisor add FILE, revisor build, revisor ask PROMPT")
        return
    say(f"{store}: {found.model}, {found.dtype}")
    if figures is not None:
        _say_probe(figures)
    note("Next: revisor add FILE, revisor ask PROMPT")


def _say_probe(figures: Mapping[str, Any]) -> None:
    """How surely the model's logits tell where an answer is due, for people."""
    recall = figures["recall"]
    worst = min(recall, key=recall.__getitem__)
    mean = sum(recall.values()) / len(recall)
    say(
        f"its logits tell where an answer is due: {mean:.1%} of such places found, in "
        f"{len(recall)} kinds of text (least: {recall[worst]:.1%}, {worst!r}); in ordinary "
        f"text {figures['ordinary']:.1%} of places look like one, and what is asked decides"
    )


def _probe_json(store: Store) -> dict[str, Any] | None:
    if store.probe is None:
        return None
    figures = store.probe.figures
    return {**vars(figures), "recall": dict(figures.recall)}


def build(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes that write facts, each with the model in it (and on a GPU of its own).",
            show_default="1; with --ray one a GPU or machine",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the workers on a Ray cluster: auto, or HOST:PORT. Needs the extra scale.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Of the method neuraldb: write a row for each new or changed fact.

    A build that was interrupted goes on where it stopped. Facts that the model does not answer
    with afterwards are listed; the others hold. With the method revisor there is nothing to
    build: facts are live when `add` returns.
    """
    with open_store(store) as opened:
        method = opened.settings.method
        report = opened.build(actor=os_user(), workers=workers, ray=ray)
    if as_json:
        print_json(asdict(report))
        return
    if method == "revisor":
        say(f"Nothing to build: facts are live at once; generation {report.generation} is live")
        return
    say(
        f"{plural(report.facts, 'fact')} written in {report.seconds:.1f} s "
        f"({report.facts_per_second:.1f} facts/s); generation {report.generation} has "
        f"{plural(report.rows, 'row')}"
    )
    if report.failed:
        note(f"{plural(len(report.failed), 'fact')} could not be written:", style="yellow")
        for failure in report.failed[:FAILURES_SHOWN]:
            note(f"  {failure['id']}: {failure['fault']}", style=None)
        if len(report.failed) > FAILURES_SHOWN:
            note(f"  ... and {len(report.failed) - FAILURES_SHOWN} more; --json lists all")


def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check the store: the ledger, and every file of a bank against its hash.

    Exit code 1 where something is wrong.
    """
    with open_store(store) as opened:
        faults = opened.verify()
    if as_json:
        print_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults:
            say(fault, style="red")
        if not faults:
            say("ok")
    if faults:
        raise typer.Exit(FAILED)


def status(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Say what a store holds, which generation is live, and how its model was measured."""
    with open_store(store) as opened:
        ledger, settings = opened.ledger, opened.settings
        live, pinned = ledger.live_generation(), ledger.pinned()
        told: dict[str, Any] = {
            "store": str(store),
            "model": settings.model,
            "dtype": settings.dtype,
            "method": settings.method,
            "database": ledger.name,
            "facts": ledger.count(),
            "generation": ledger.generation,
            "live_generation": live,
            "published": pinned,
            "tags": ledger.tags(),
        }
        if settings.method == "revisor":
            told |= {"strictness": settings.strictness, "encoder": settings.encoder}
            told["live_facts"] = len(opened.index.view())
            told["probe"] = _filed_probe(opened)
    if as_json:
        print_json(told)
        return
    say(f"{told['store']}: {told['model']}, {told['dtype']}, method {told['method']}")
    say(f"{plural(told['facts'], 'fact')} in generation {told['generation']}; {told['database']}")
    if pinned is None:
        say(f"generation {live} is live, and each later one will be")
    else:
        say(f"generation {pinned} is published: later ones are not live until they are, too")
    if settings.method == "revisor":
        say(f"strictness {told['strictness']}, encoder {told['encoder']}")
        if told["probe"] is not None:
            _say_probe(told["probe"])
    if settings.method == "neuraldb":
        note("`revisor build` writes what has changed since the last build.")


def _filed_probe(store: Store) -> dict[str, Any] | None:
    """The figures of the newest probe in the store; read without torch, to answer at once."""
    from safetensors import SafetensorError, safe_open

    files = store.workspace.path.glob("probes/*.safetensors")
    for file in sorted(files, key=lambda file: -file.stat().st_mtime):
        try:
            with safe_open(str(file), framework="np") as opened:
                figures = json.loads(opened.metadata()["figures"])
            return {"recall": figures["recall"], "ordinary": figures["ordinary"]}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            continue
    return None


def publish(
    generation: Annotated[str, typer.Argument(metavar="GEN", help="A generation, or a tag of it.")],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    reason: ReasonOption = "",
    approved_by: ApprovedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a generation the one that is answered from.

    An older one stays live whatever is added, until another is published; publishing the newest
    has each later one live at once again. An older one needs the approval that a rollback to it
    would.
    """
    with open_store(store) as opened:
        live = opened.publish(generation, actor=actor, reason=reason, approved_by=approved_by)
        follows = opened.ledger.pinned() is None
    if as_json:
        print_json({"live_generation": live, "follows": follows})
        return
    say(f"generation {live} is live" + (", and each later one will be" if follows else ""))
