"""`revisor eval` and `revisor report`: honest numbers, and pictures of them.

What comes in: a suite, methods, sizes; folders of runs. What goes out: one JSON object or a table;
an HTML page and PNG files. What it does not do: measure (evaluate/) or draw (evaluate/report.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import JsonOption, note, output, print_json, say, table
from revisor.errors import NotFound, UsageError

if TYPE_CHECKING:
    from revisor.evaluate.datasets import Source
    from revisor.models.load import LoadedModel
    from revisor.models.spec import Spec
    from revisor.neuraldb.editing.editor import BuiltEditor

DEFAULT_MODEL = "smollm2"


def evaluate(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE",
            help="counterfact, zsre, same-subject, paraphrase, negation, true-false, preamble, "
            "chat, multi-hop, general, perplexity, gate, scale, or facts (your own).",
            show_default="facts, where --data or --store names them",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            metavar="N",
            help="Facts that are measured (questions a task, windows of text).",
            show_default="100, or all of --data",
        ),
    ] = None,
    edits: Annotated[
        int | None,
        typer.Option(
            "--edits", min=1, metavar="N", help="Facts in the model.", show_default="as --n"
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="A,B",
            help="Methods, separated by commas; unedited always is one.",
            show_default="revisor; with --as-built none",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="As in init.", show_default=DEFAULT_MODEL),
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="NAME", help="auto, fp32, bf16 or fp16.")
    ] = "auto",
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            min=0,
            metavar="N",
            help="The layer that takes the facts.",
            show_default="the model's",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of every draw.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Your own facts, in any form that add reads; also CounterFact's and zsRE's.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="REVISOR_DATA", metavar="DIR", help="Folder of benchmark data."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="DIR",
            help="Take model and layer of this store, and its facts for the suite facts.",
        ),
    ] = None,
    as_built: Annotated[
        bool,
        typer.Option(
            "--as-built",
            help="Measure the bank that the store has built, as it is, with all its facts.",
        ),
    ] = False,
    options: Annotated[
        Path | None,
        typer.Option(
            "--options", metavar="FILE", help="TOML with hyperparameters: [MODEL.METHOD] tables."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="Run all of a recipe; needs --out."),
    ] = None,
    size: Annotated[
        str,
        typer.Option("--size", metavar="NAME", help="Which of the recipe's sizes."),
    ] = "laptop",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Keep the run there; the same command goes on with it."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure methods side by side: the same model, the same facts, the same protocol.

    Every score comes loose (as papers do it) and strict (what the model says, until it stops by
    itself), beside the unedited model.
    """
    if recipe is not None and as_built:
        raise UsageError(
            "A recipe edits by itself; --as-built measures what is there.",
            "Leave one of them out.",
        )
    if recipe is not None:
        _recipe(recipe, size, out, data_dir, suite, as_json=as_json)
        return
    name = suite or ("facts" if data or store or as_built else None)
    if name is None:
        raise UsageError("No suite is named.", "Try: revisor eval counterfact --n 40")
    from revisor.evaluate.runner import Job, check_methods
    from revisor.evaluate.runner import evaluate as run_job
    from revisor.evaluate.suites import make_suite
    from revisor.evaluate.suites.base import Sizes

    make_suite(name)
    default = "" if as_built else "revisor"
    chosen = check_methods(_names(default if methods is None else methods))
    source = _source(name, data, data_dir, None if as_built else store)
    built: BuiltEditor | None = None
    if as_built:
        own = {"--model": model, "--dtype": dtype, "--layer": layer, "--edits": edits}
        built = _built(store, [option for option in own if own[option] not in (None, "auto")])
        facts = tuple(built.facts.values())
        stated = tuple(fact for fact in facts if fact.reverse_of is None)
        source = replace(source, facts=stated, built=facts)
        loaded, spec, at = built.loaded, built.spec, built.layer
    else:
        loaded, spec, at = _model(model, dtype, layer, store)
    result = run_job(
        Job(
            suite=name,
            methods=chosen,
            loaded=loaded,
            spec=spec,
            layer=at,
            sizes=Sizes(n=n, edits=edits, seed=seed),
            source=source,
            options=_options(options, loaded.name, at),
            built=built,
            out=out,
        )
    )
    if as_json:
        print_json(result)
        return
    _show(result)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that eval --out wrote.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the page and the pictures go.")
    ] = Path("report"),
    as_json: JsonOption = False,
) -> None:
    """Draw runs: one HTML page that stands by itself, and its pictures as PNG files."""
    from revisor.evaluate.report import write_report

    written = write_report(runs, out)
    if as_json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        say(str(path))


def _names(methods: str) -> list[str]:
    return [name for part in methods.split(",") if (name := part.strip())]


def _source(name: str, data: Path | None, data_dir: Path | None, store: Path | None) -> Source:
    from revisor.evaluate.datasets import Source

    if data is not None and not data.is_file():
        raise NotFound(f"There is no file {data}.", "Check --data.")
    if data_dir is not None and not data_dir.is_dir():
        raise NotFound(f"There is no folder {data_dir}.", "Check REVISOR_DATA or --data-dir.")
    facts: tuple[Any, ...] = ()
    if store is not None and name == "facts" and data is None:
        from revisor.store import Store

        with Store.open(store) as opened:
            facts = tuple(fact for fact in opened.ledger.facts() if fact.reverse_of is None)
        if not facts:
            raise UsageError(f"The store {store} holds no facts.", "Add some: revisor add FILE")
    return Source(folder=data_dir, data=data, facts=facts)


def _model(
    model: str | None, dtype: str, layer: int | None, store: Path | None
) -> tuple[LoadedModel, Spec, int]:
    from revisor.config import read_settings
    from revisor.models.load import load_model
    from revisor.models.spec import spec_of

    if store is not None:
        settings = read_settings(store / "store.toml")
        model, layer = model or settings.model, settings.layer if layer is None else layer
        dtype = settings.dtype if dtype == "auto" else dtype
    name = model or DEFAULT_MODEL
    layer = 5 if layer is None else layer
    loaded = load_model(name, dtype=dtype)
    spec = spec_of(loaded.model)
    spec.ffn_projection(layer)  # an unknown layer is told before anything is measured
    return loaded, spec, layer


def _built(path: Path | None, given: Sequence[str]) -> BuiltEditor:
    """The newest bank of a store, its rows in force, and the facts that it is to answer with."""
    from revisor.neuraldb.bank.files import generation_folder
    from revisor.neuraldb.bank.manifest import read_manifest
    from revisor.neuraldb.build.shards import digest_of
    from revisor.neuraldb.editing.editor import BuiltEditor
    from revisor.store import Store

    if path is None:
        raise UsageError("No store is named whose bank is to be measured.", "Give --store DIR.")
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot be chosen with --as-built.",
            "The store says which model, layer and facts its bank has: leave it out.",
        )
    with Store.open(path) as store:
        bank = store.bank()
        rows = store.rows_in_force(bank)
        now = rows.clock()
        facts = list(store.ledger.facts(at=now, generation=bank.generation))
        if not facts:
            raise UsageError(
                f"No fact of the store {path} is in force.", "Add some: revisor add FILE"
            )
        if store.stale():
            note(f"Facts have changed since generation {bank.generation}, which is measured.")
        manifest = read_manifest(generation_folder(store.banks, bank.generation))
        return BuiltEditor(
            store.loaded,
            store.spec,
            store.settings.layer,
            rows.at(now),
            facts,
            failed=[entry["id"] for entry in manifest.failed],
            seal=digest_of([manifest.seal, [fact.id for fact in facts]]),
        )


def _options(path: Path | None, model: str, layer: int) -> Mapping[str, Mapping[str, Any]]:
    from revisor.baselines.registry import read_recipe

    given = {} if path is None else read_recipe(path, model)
    return _own_layer(given, model, layer)


def _own_layer(
    given: Mapping[str, Mapping[str, Any]], model: str, layer: int
) -> Mapping[str, Mapping[str, Any]]:
    """The method as published sits where it is best, unless a layer was chosen by hand."""
    best = 5
    if best is None or layer != 5:
        return given
    return {**given, "neuraldb": {"layer": best, **given.get("neuraldb", {})}}


def _recipe(
    path: Path,
    size: str,
    out: Path | None,
    data_dir: Path | None,
    suite: str | None,
    *,
    as_json: bool,
) -> None:
    from revisor.evaluate.datasets import Source
    from revisor.evaluate.recipe import read_recipe, run_recipe

    if suite is not None:
        raise UsageError("A recipe names its own suites.", "Leave SUITE out.")
    if out is None:
        raise UsageError("A recipe needs a folder for its runs.", "Give --out DIR.")
    wanted = read_recipe(path, size)
    loaded, spec, layer = _model(wanted.model, wanted.dtype, wanted.layer, None)
    wanted = replace(wanted, options=_own_layer(wanted.options, loaded.name, layer))
    results = run_recipe(wanted, loaded, spec, layer, Source(folder=data_dir), out)
    if as_json:
        print_json({"recipe": path.name, "size": size, "runs": results})
        return
    for result in results:
        _show(result)
    note(f"Draw them: revisor report {out} --out {out / 'report'}")


def _show(result: Mapping[str, Any]) -> None:
    """A table: a score a line, a method a column, intervals in brackets."""
    methods: Mapping[str, Mapping[str, Any]] = result["methods"]
    say(
        f"{result['suite']} on {result['model']}: {result['n']} measured, "
        f"{result['edits']} facts in the model"
    )
    listing = table("score", *methods, right=tuple(methods))
    names = dict.fromkeys(
        name
        for scores in methods.values()
        for name, value in scores.items()
        if not isinstance(value, Mapping)
    )
    for name in names:
        listing.add_row(name, *(_cell(scores, name) for scores in methods.values()))
    output().print(listing)
    if dropped := {key: count for key, count in result["dropped"].items() if count}:
        note("left out: " + ", ".join(f"{count} {reason}" for reason, count in dropped.items()))


def _cell(scores: Mapping[str, Any], name: str) -> str:
    value = scores.get(name)
    if value is None:
        return "–"
    interval = scores["intervals"].get(name)
    shown = f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
    return shown if interval is None else f"{shown} [{interval[0]:.3f}, {interval[1]:.3f}]"
