"""A store and what is made in it: init, build, verify, status, publish."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
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

if TYPE_CHECKING:
    from revisor.store import Store

FAILED = 1
FAILURES_SHOWN = 20


class Method(StrEnum):
    """Names of the methods, as `--method` takes them."""

    revisor = "revisor"
    neuraldb = "neuraldb"


class Probing(StrEnum):
    """What `--probe` takes."""

    auto = "auto"
    off = "off"


class Strictness(StrEnum):
    """What `--strictness` takes."""

    low = "low"
    normal = "normal"
    high = "high"


class Search(StrEnum):
    """How the nearest key is found."""

    auto = "auto"
    exact = "exact"
    coarse = "coarse"


class Dtype(StrEnum):
    """Names of the dtypes, as `--dtype` takes them."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


_PUBLISHED = "The method neuraldb"


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
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="revisor: facts are found in the text and written at the output, live at once. "
            "neuraldb: the published system, a bank of residuals in one layer, to be built.",
        ),
    ] = Method.revisor,
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="Of the weights; auto takes what is fast here.")
    ] = Dtype.auto,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps ...")
    ] = "auto",
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
    probe: Annotated[
        Probing,
        typer.Option(
            "--probe",
            help="off: do not ask the model's logits where an answer is due; facts then answer at "
            "their own prompts, and where a turn or a label opens an answer.",
        ),
    ] = Probing.auto,
    strictness: Annotated[
        Strictness,
        typer.Option(
            "--strictness",
            help="How surely a fact has to be asked for. low answers more wordings, and more that "
            "ask for something else; high fewer of both.",
        ),
    ] = Strictness.normal,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="What compares questions: default, or sentence-transformers: with the folder or "
            "the name of a sentence encoder.",
        ),
    ] = "default",
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            min=0,
            metavar="N",
            help="The decoder layer that takes the facts.",
            show_default="the best one, measured",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            "--gamma",
            min=-1.0,
            max=1.0,
            metavar="COS",
            help="The cosine above which a row fires.",
            show_default="0.65; calibrated with --whiten",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    whiten: Annotated[
        bool,
        typer.Option(
            "--whiten", help="Compare whitened keys, not raw ones.", rich_help_panel=_PUBLISHED
        ),
    ] = False,
    bits: Annotated[
        int,
        typer.Option(
            "--bits",
            metavar="N",
            help="Bits a number of a row is stored in: 32, 8 or 4.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = 32,
    search: Annotated[
        Search,
        typer.Option(
            "--search",
            help="How the nearest key is found: a look at all, or over an index (extra scale); "
            "auto takes the index where there are many.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = Search.auto,
    layers_path: Annotated[
        str | None,
        typer.Option(
            "--layers-path",
            metavar="PATH",
            help="For a model family that revisor does not know: where its decoder layers are, "
            "such as model.layers.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    projection_path: Annotated[
        str | None,
        typer.Option(
            "--projection-path",
            metavar="PATH",
            help="And where in a layer the FFN's output projection is, such as mlp.down_proj.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Make a store for one model. It holds the facts and what they need.

    The model itself is opened to measure it, never changed: how surely its logits tell where an
    answer is due (or, with --method neuraldb, which layer takes facts best).
    """
    from revisor.store import Store

    with Store.init(
        store,
        model=model,
        method=method.value,
        dtype=dtype.value,
        device=device,
        database=database,
        probe=probe.value,
        strictness=strictness.value,
        encoder=encoder,
        layer=layer,
        gamma=gamma,
        whiten=whiten,
        bits=bits,
        search=search.value,
        layers_path=layers_path,
        projection_path=projection_path,
    ) as made:
        settings = made.settings
        figures = _probe_json(made) if settings.method == "revisor" else None
    if as_json:
        print_json({"store": str(store), **asdict(settings), "probe_figures": figures})
        return
    if settings.method == "neuraldb":
        say(f"{store}: {settings.model}, neuraldb, layer {settings.layer}, {settings.dtype}")
        note("Next: revisor add FILE, revisor build, revisor ask PROMPT")
        return
    say(f"{store}: {settings.model}, {settings.dtype}")
    if figures is not None:
        recall = figures["recall"]
        worst = min(recall, key=recall.__getitem__)
        mean = sum(recall.values()) / len(recall)
        say(
            f"its logits tell where an answer is due: {mean:.1%} of such places found, in "
            f"{len(recall)} kinds of text (least: {recall[worst]:.1%}, {worst!r}); in ordinary "
            f"text {figures['ordinary']:.1%} of places look like one, and what is asked decides"
        )
    note("Next: revisor add FILE, revisor ask PROMPT")


def _probe_json(store: Store) -> dict[str, Any] | None:
    probe = store.probe
    if probe is None:
        return None
    figures = probe.figures
    return {
        "recall": dict(figures.recall),
        "ordinary": figures.ordinary,
        "agreement": figures.agreement,
        "texts": figures.texts,
        "seconds": figures.seconds,
    }


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
    """Of the method neuraldb: write a row for each new or changed fact.

    A build that was interrupted goes on where it stopped. Facts that the model does not answer
    with afterwards are listed; the others hold. With the method revisor there is nothing to
    build: facts are live when `add` returns.
    """
    with open_store(store) as opened:
        method = opened.settings.method
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
    if settings.method == "neuraldb":
        note("Whether the bank is of the live generation, `revisor build` tells and mends.")


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
    as_json: JsonOption = False,
) -> None:
    """Make a generation the one that is answered from.

    An older one stays live whatever is added, until another is published; publishing the newest
    has each later one live at once again.
    """
    with open_store(store) as opened:
        live = opened.publish(generation, actor=actor or os_user(), reason=reason)
        follows = opened.ledger.pinned() is None
    if as_json:
        print_json({"live_generation": live, "follows": follows})
        return
    say(f"generation {live} is live" + (", and each later one will be" if follows else ""))
