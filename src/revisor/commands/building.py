"""A store and what is built in it: init, build, verify.

What comes in: a model's name; a store. What goes out: a store, its bank of rows, its faults. What
it does not do: make rows (editing/build.py does).
"""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    note,
    open_store,
    os_user,
    plural,
    print_json,
    say,
)

FAILED = 1
FAILURES_SHOWN = 20


class Scope(StrEnum):
    """What a subject's only fact answers."""

    subject = "subject"
    question = "question"


class Search(StrEnum):
    """How the nearest key is found."""

    auto = "auto"
    exact = "exact"
    coarse = "coarse"


class Preset(StrEnum):
    """Names of the presets, as `--preset` takes them."""

    revisor = "revisor"
    paper = "paper"


class Dtype(StrEnum):
    """Names of the dtypes, as `--dtype` takes them."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def init(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="smollm2 (packaged: a small one to try things with), a Hugging Face id, a local "
            "folder or a .gguf file.",
        ),
    ],
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="Of the weights; auto takes what is fast here.")
    ] = Dtype.auto,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps ...")
    ] = "auto",
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            min=0,
            metavar="N",
            help="The decoder layer that takes the facts.",
            show_default="the best one, measured",
        ),
    ] = None,
    preset: Annotated[
        Preset, typer.Option("--preset", help="revisor, or the method as the paper has it.")
    ] = Preset.revisor,
    layers_path: Annotated[
        str | None,
        typer.Option(
            "--layers-path",
            metavar="PATH",
            help="For a model family that revisor does not know: where its decoder layers are, "
            "such as model.layers.",
        ),
    ] = None,
    projection_path: Annotated[
        str | None,
        typer.Option(
            "--projection-path",
            metavar="PATH",
            help="And where in a layer the FFN's output projection is, such as mlp.down_proj.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            envvar="REVISOR_DATABASE",
            metavar="URL",
            help="Keep the facts in PostgreSQL: postgresql://USER@HOST/DATABASE.",
            show_default="SQLite in the store",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Banks that depend on the facts alone, to the bit, however they came; slower.",
        ),
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            metavar="N",
            help="Bits a number of a row is stored in: 32, 8 or 4.",
            show_default="8; 32 with the preset paper",
        ),
    ] = None,
    scope: Annotated[
        Scope,
        typer.Option(
            "--scope",
            help="What a subject's only fact answers: its own question, in other words too, or "
            "whatever is asked about the subject, at the cost of what else is known of it.",
        ),
    ] = Scope.question,
    search: Annotated[
        Search,
        typer.Option(
            "--search",
            help="With the preset paper, how the nearest key is found: a look at all, or over an "
            "index (extra scale); auto takes the index where there are many.",
        ),
    ] = Search.auto,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Make a store for one model. It holds the facts and what is built from them.

    The model itself is opened to measure it, never changed. A model that revisor has not met is
    probed layer by layer, which takes a few minutes.
    """
    from revisor.store import Store

    with Store.init(
        store,
        model=model,
        dtype=dtype.value,
        device=device,
        layer=layer,
        preset=preset.value,
        layers_path=layers_path,
        projection_path=projection_path,
        database=database,
        exact=exact,
        bits=bits,
        scope=scope.value,
        search=search.value,
    ) as made:
        settings = made.settings
    if as_json:
        print_json({"store": str(store), **asdict(settings)})
        return
    say(f"{store}: {settings.model}, layer {settings.layer}, {settings.dtype}")
    note("Next: revisor add FILE, revisor build, revisor ask PROMPT")


def build(
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            metavar="N",
            help="Processes that write facts, each with the model in it (and on a GPU of its own).",
            show_default="1; with --ray one a GPU or machine",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Run the workers on a Ray cluster: auto, or HOST:PORT. Needs the extra scale.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Make the model know what changed: one row for each new or changed fact.

    A build that was interrupted goes on where it stopped. Facts that the model does not answer
    with afterwards are listed; the others hold.
    """
    with open_store(store) as opened:
        report = opened.build(actor=os_user(), workers=workers, ray=ray)
    if as_json:
        print_json(
            {
                "rows": report.rows,
                "facts": report.facts,
                "seconds": report.seconds,
                "facts_per_second": report.facts_per_second,
                "failed": report.failed,
                "generation": report.generation,
            }
        )
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
    """Check the store: the ledger, and every file of the bank against its hash.

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
