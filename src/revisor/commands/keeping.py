"""Keeping a store for years: check, tag, gc, import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
    AsOfOption,
    JsonOption,
    NamespaceOption,
    StoreOption,
    moment_of,
    note,
    note_newest,
    note_unknown_namespaces,
    open_store,
    output,
    plural,
    print_json,
    say,
    table,
)
from revisor.errors import BadInput, Fault, UsageError
from revisor.facts.lines import fact_line
from revisor.operations.cases import Case, read_cases, try_cases

if TYPE_CHECKING:
    from revisor.operations.explain import Explanation
    from revisor.store import Store

CONTRADICTED = 3
SHOWN = 50


def check(
    base: Annotated[
        bool, typer.Option("--base", help="Also ask the model which facts it says by itself.")
    ] = False,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask",
            help="Ask facts their own prompts and paraphrases through the gate, and list those "
            "that are not answered, with the reason.",
        ),
    ] = False,
    cases: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Try the tests that were kept in a server's console: lines of `prompt`, `chat` "
            "and `fact`, null where no fact may answer.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="GEN", help="With --ask, only facts changed since a generation."),
    ] = None,
    namespace: NamespaceOption = None,
    as_of: AsOfOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Look for facts that contradict one another, also by aliases or declared paraphrases.

    They do where their relation or a wording is the same but for case, signs and articles. What
    only means the same is not found. Facts that say the same twice, or each other the wrong way
    round, are told as notes. Exit code 3 where facts contradict one another, or, with --ask or
    --cases, where one fails.
    """
    chosen: dict[str, Any] = {"namespaces": namespace or None, "moment": moment_of(as_of)}
    if base + ask + (cases is not None) > 1:
        raise UsageError("--base, --ask and --cases are checks of their own.", "Give one of them.")
    if cases is not None and since is None:
        _try_cases(store, cases, chosen, as_json=as_json)
        return
    if ask:
        _ask_facts(store, since, chosen, as_json=as_json)
        return
    if since is not None:
        raise UsageError("--since goes with --ask.", "Add --ask.")
    _find(store, chosen, base=base, as_json=as_json)


def _find(store: Path, chosen: dict[str, Any], *, base: bool, as_json: bool) -> None:
    with open_store(store) as opened:
        note_newest(opened)
        note_unknown_namespaces(opened, chosen["namespaces"])
        found = opened.check(**chosen)
        known: list[Any] = []
        if base:
            namespaces = chosen["namespaces"]
            live = list(opened.ledger.facts(at=chosen["moment"], namespaces=namespaces))
            ids = opened.known_to_base(live)
            known = [fact for fact in live if fact.id in ids]
    conflicts = [one for one in found if not one.is_note]
    notes = [one for one in found if one.is_note]
    if as_json:
        told: dict[str, Any] = {
            name: [
                {"kind": one.kind, "fact": fact_line(one.fact), "other": fact_line(one.other)}
                for one in group
            ]
            for name, group in (("conflicts", conflicts), ("notes", notes))
        }
        if base:
            told["known"] = [fact_line(fact) for fact in known]
        print_json({"ok": not conflicts, **told})
    else:
        for one in conflicts[:SHOWN]:
            say(str(one), style="red")
        for one in notes[:SHOWN]:
            say(str(one), style="yellow")
        for fact in known[:SHOWN]:
            say(f"{fact.text!r} -> {fact.object!r} (id {fact.id}) is what the model says anyway")
        hidden = sum(max(0, len(group) - SHOWN) for group in (conflicts, notes, known))
        if hidden:
            note(f"... and {hidden:,} more; --json lists all")
        say(f"{plural(len(conflicts), 'conflict')}, {plural(len(notes), 'note')}")
    if conflicts:
        raise typer.Exit(CONTRADICTED)


def _ask_facts(store: Path, since: str | None, chosen: dict[str, Any], *, as_json: bool) -> None:
    with open_store(store) as opened:
        note_unknown_namespaces(opened, chosen["namespaces"])
        changed = None
        if since is not None:
            live = opened.ledger.live_generation()
            changed, _ = opened.ledger.changed_since(since, upto=live)
        asked = opened.ask_facts(changed, **chosen)
    if as_json:
        print_json(asdict(asked))
    else:
        _list_failures(
            [f"{one['prompt']!r} (id {one['id']}): {one['reason']}" for one in asked.failed]
        )
        say(f"{asked.said:,} of {plural(asked.asked, 'prompt')} answered with their facts")
    if asked.failed:
        raise typer.Exit(CONTRADICTED)


def _try_cases(store: Path, file: Path, chosen: dict[str, Any], *, as_json: bool) -> None:
    cases = read_cases(file)
    if not cases:
        raise BadInput(f"{file} has no tests.", "Keep some in the console, and download them.")
    with open_store(store) as opened:
        note_unknown_namespaces(opened, chosen["namespaces"])
        _need_chat(opened, file, cases)

        def explain(case: Case, needs_model: bool) -> Explanation:
            own = {"namespaces": [case.namespace]} if case.namespace else {}
            return opened.explain(
                case.prompt, chat=case.chat, needs_model=needs_model, **chosen | own
            )

        ids = {case.fact for case in cases if case.fact is not None}
        live = opened.ledger.known(ids, generation=opened.ledger.live_generation())
        tried = try_cases(cases, explain, live)
    passed = tried.cases - len(tried.failed)
    if as_json:
        print_json({"cases": tried.cases, "passed": passed, "failed": tried.failed})
    else:
        _list_failures(
            [f"line {one['line']}: {one['prompt']!r}: {one['reason']}" for one in tried.failed]
        )
        say(f"{passed:,} of {plural(tried.cases, 'test')} passed")
    if tried.failed:
        raise typer.Exit(CONTRADICTED)


def _list_failures(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        say(line, style="red")
    if len(lines) > SHOWN:
        note(f"... and {len(lines) - SHOWN:,} more; --json lists all")


def _need_chat(store: Store, file: Path, cases: Sequence[Case]) -> None:
    """Refuse tests that are asked in a chat where the model has no chat template."""
    chats = [case for case in cases if case.chat]
    if chats and not getattr(store.tokenizer, "chat_template", None):
        fault, remedy = "asks in a chat; the model has no chat template", 'write "chat": false'
        faults = [Fault(fault, remedy, line=case.line) for case in chats]
        raise BadInput(f"{file} has {len(faults)} fault(s).", "Mend them all.", faults)


def tag(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The tag; without it all are listed.")
    ] = None,
    generation: Annotated[
        str | None,
        typer.Argument(metavar="GEN", help="A generation, or a tag of it.", show_default="last"),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the tag away.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move a tag that names another generation.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a generation a name, for diff and rollback; its banks are never collected."""
    with open_store(store) as opened:
        if name is not None and delete:
            opened.ledger.untag(name, actor=actor)
        elif name is not None:
            opened.ledger.tag(name, generation, actor=actor, move=force)
        tags = opened.ledger.tags()
    if as_json:
        print_json({"tags": tags})
        return
    if name is not None:
        say(f"{name} is no tag any more" if delete else f"generation {tags[name]} is {name}")
        return
    listing = table("tag", "gen", right=["gen"])
    for one, number in tags.items():
        listing.add_row(one, str(number))
    output().print(listing)


def gc(
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="Generations of each model to keep.")
    ] = 1,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove what is not needed: old banks, and those that version 0.1 left.

    The facts' history stays. A bank that a process uses, that has a tag or that is live is never
    removed. What killed processes left behind is, and an erasure that could not finish is finished.
    """
    with open_store(store) as opened:
        removed = opened.collect(keep, actor=actor)
    if as_json:
        print_json({"removed": removed})
        return
    say(f"{plural(len(removed), 'generation')} removed")


def import_archive(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="What `revisor export FILE.zip` wrote.")
    ],
    database: Annotated[
        str | None,
        typer.Option(
            envvar="REVISOR_DATABASE",
            metavar="URL",
            help="An empty PostgreSQL database for the facts.",
            show_default="SQLite in the store",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Restore a store from an archive: facts, history, audit and banks.

    Every part is compared with the archive's hashes before anything is written in its place.
    """
    from revisor.store import Store

    with Store.restore(archive, store, database=database, actor=actor) as made:
        count, generation = made.ledger.count(), made.ledger.generation
    if as_json:
        print_json({"store": str(store), "facts": count, "generation": generation})
        return
    say(f"{store}: {plural(count, 'fact')}, generation {generation}")
