"""`revisor eval` and `revisor report`: honest numbers, and pictures of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import JsonOption, note, output, print_json, say, table
from revisor.commands.options import DataFolderOption, with_options
from revisor.errors import NotFound, UsageError

if TYPE_CHECKING:
    from revisor.bench.built import BuiltEditor
    from revisor.bench.datasets import Source
    from revisor.config import StoreSettings
    from revisor.models.load import LoadedModel

DEFAULT_MODEL = "smollm2"
SHOWN = 200  # characters of a text that are listed


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `revisor eval` is to measure."""

    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE",
            help="counterfact, zsre, same-subject, paraphrase, negation, true-false, preamble, "
            "chat, multi-hop, general, perplexity, gate, scale, questions, or facts (your own).",
            show_default="facts, where --data or --store names them",
        ),
    ] = None
    n: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Facts that are measured (questions a task, windows of text).",
            show_default="100, or all of --data",
        ),
    ] = None
    edits: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Facts in the model.", show_default="as --n"),
    ] = None
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Methods, separated by commas; unedited always is one.",
            show_default="revisor; with --as-built none",
        ),
    ] = None
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="As in init.", show_default=DEFAULT_MODEL)
    ] = None
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, fp32, bf16 or fp16.")] = "auto"
    layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Of the method neuraldb: the layer that takes the facts.",
            show_default="the store's, or the best one, measured",
        ),
    ] = None
    seed: Annotated[int, typer.Option(metavar="S", help="Of every draw.")] = 0
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own facts, in any form that add reads; also CounterFact's and zsRE's.",
        ),
    ] = None
    data_dir: DataFolderOption = None
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take model and settings of this store, and its facts for the suite facts.",
        ),
    ] = None
    as_built: Annotated[
        bool,
        typer.Option(
            "--as-built",
            help="Measure what the store answers with, as it is: its live facts, or its bank.",
        ),
    ] = False
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the method revisor: what compares questions: default, or a file.",
            show_default="the store's, or default",
        ),
    ] = None
    text_only: Annotated[
        bool,
        typer.Option(
            "--text-only",
            help="Of the suites questions and scale (of a store, --as-built): what is decided by "
            "the text alone; no model is loaded.",
        ),
    ] = False
    show_misses: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Of the suite questions: list so many texts that were not answered rightly.",
        ),
    ] = 0
    options: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with hyperparameters: [MODEL.METHOD] tables."),
    ] = None
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Run all of a recipe; needs --out.")
    ] = None
    size: Annotated[str, typer.Option(metavar="NAME", help="Which of the recipe's sizes.")] = (
        "laptop"
    )
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the run there; the same command goes on with it."),
    ] = None
    as_json: JsonOption = False


@with_options
def evaluate(wanted: Wanted) -> None:
    """Measure methods side by side: the same model, the same facts, the same protocol.

    Every score comes loose (as papers do it) and strict (what the model says, until it stops by
    itself), beside the unedited model.
    """
    if wanted.recipe is not None:
        _recipe(wanted)
        return
    name = wanted.suite or ("facts" if wanted.data or wanted.store or wanted.as_built else None)
    if name is None:
        raise UsageError("No suite is named.", "Try: revisor eval counterfact --n 40")
    result = _by_text(name, wanted) if wanted.text_only else _by_model(name, wanted)
    _put(result, wanted.show_misses, as_json=wanted.as_json)


def _by_model(name: str, wanted: Wanted) -> dict[str, Any]:
    """The result of a suite that asks a model."""
    from revisor.bench.runner import Job, check_methods
    from revisor.bench.runner import evaluate as run_job
    from revisor.bench.suites import make_suite
    from revisor.bench.suites.base import Sizes

    make_suite(name)
    default = "" if wanted.as_built else "revisor"
    chosen = check_methods(_names(default if wanted.methods is None else wanted.methods))
    source = _source(name, wanted, None if wanted.as_built else wanted.store)
    built: BuiltEditor | None = None
    with ExitStack() as stack:
        if wanted.as_built:
            built, own = _built(wanted, stack)
            facts = tuple(built.facts.values())
            stated = tuple(fact for fact in facts if fact.reverse_of is None)
            source = replace(source, facts=stated, built=facts, store=built.store)
            loaded = built.loaded
        else:
            loaded, own = _model(wanted)
        if wanted.encoder is not None:
            own = {**own, "revisor": {**own.get("revisor", {}), "encoder": wanted.encoder}}
        return run_job(
            Job(
                suite=name,
                methods=chosen,
                loaded=loaded,
                sizes=Sizes(n=wanted.n, edits=wanted.edits, seed=wanted.seed),
                source=source,
                options=_options(wanted.options, loaded.name, own),
                built=built,
                out=wanted.out,
            )
        )


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that eval --out wrote.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the page and the pictures go.")
    ] = Path("report"),
    as_json: JsonOption = False,
) -> None:
    """Draw runs: one HTML page that stands by itself, and its pictures as PNG files."""
    from revisor.bench.report import write_report

    written = write_report(runs, out)
    if as_json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        say(str(path))


def _names(methods: str) -> list[str]:
    return [name for part in methods.split(",") if (name := part.strip())]


def _source(name: str, wanted: Wanted, store: Path | None) -> Source:
    """Where facts come from; those of the store for the suite `facts`, if no file is named."""
    from revisor.bench.datasets import Source

    data, data_dir = wanted.data, wanted.data_dir
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


def _by_text(name: str, wanted: Wanted) -> dict[str, Any]:
    """The result of the suite `questions`, or of `scale` over a store, without a model."""
    source = _source(name, wanted, None)
    if name not in ("questions", "scale"):
        raise UsageError(
            f"The suite '{name}' asks a model.",
            "Leave --text-only out, or measure: questions, scale",
        )
    _refuse(
        "--text-only",
        "No model is asked.",
        {
            "--methods": wanted.methods,
            "--model": wanted.model,
            "--out": wanted.out,
            "--as-built": wanted.as_built and name != "scale",
        },
    )
    from revisor.bench.deciding import DEFAULT, by_text, encoder_named

    if name == "scale":
        return _scale_by_text(source, wanted)
    encoder = encoder_named(wanted.encoder or DEFAULT)
    return by_text(source, encoder, n=wanted.n, edits=wanted.edits, seed=wanted.seed)


def _scale_by_text(source: Source, wanted: Wanted) -> dict[str, Any]:
    """The result of the suite `scale` of a store as it is, without a model."""
    if wanted.store is None or not wanted.as_built:
        raise UsageError(
            "By the text alone the suite 'scale' measures a store.", "Give --store S --as-built."
        )
    from revisor.bench.deciding import encoder_named
    from revisor.bench.scaling import scale_by_text
    from revisor.store import Store

    with Store.open(wanted.store) as store:
        encoder = store.encoder if wanted.encoder is None else encoder_named(wanted.encoder)
        return scale_by_text(source, store, encoder, n=wanted.n, seed=wanted.seed)


def _refuse(option: str, hint: str, others: Mapping[str, object]) -> None:
    """Refuse options that do not go with another."""
    given = [name for name, value in others.items() if value]
    if given:
        raise UsageError(f"{' and '.join(given)} cannot be chosen with {option}.", hint)


def _built(wanted: Wanted, stack: ExitStack) -> tuple[BuiltEditor, Mapping[str, Mapping[str, Any]]]:
    """A store as it is, open as long as the stack is, and the options that it gives methods."""
    if wanted.store is None:
        raise UsageError("No store is named that is to be measured.", "Give --store DIR.")
    _refuse(
        "--as-built",
        "The store says which model, layer and facts it has: leave it out.",
        {
            "--model": wanted.model,
            "--dtype": wanted.dtype != "auto",
            "--layer": wanted.layer is not None,
            "--edits": wanted.edits,
        },
    )
    from revisor.bench.built import built_of
    from revisor.store import Store

    store = stack.enter_context(Store.open(wanted.store))
    built = built_of(store)
    if store.stale():
        note("Facts have changed since the bank was built, which is measured.")
    return built, _of_store(store.settings)


def _model(wanted: Wanted) -> tuple[LoadedModel, Mapping[str, Mapping[str, Any]]]:
    """The model that is meant, and the options that a store or the command line gives methods."""
    from revisor.bench.methods.binding import Binding
    from revisor.config import read_settings
    from revisor.models.load import load_model

    own: dict[str, Mapping[str, Any]] = {}
    model, dtype, device = wanted.model, wanted.dtype, "auto"
    if wanted.store is not None:
        settings = read_settings(wanted.store / "store.toml")
        if model in (None, settings.model):
            own = _of_store(settings)
        model, device = model or settings.model, settings.device
        dtype = settings.dtype if dtype == "auto" else dtype
    loaded = load_model(model or DEFAULT_MODEL, dtype=dtype, device=device)
    if wanted.layer is not None:
        Binding(loaded=loaded).spec.ffn_projection(wanted.layer)  # an unknown one is told at once
        own["neuraldb"] = {**own.get("neuraldb", {}), "layer": wanted.layer}
    return loaded, own


def _of_store(settings: StoreSettings) -> dict[str, Mapping[str, Any]]:
    """The options of the store's own method that are those of the store."""
    if settings.method == "revisor":
        return {
            "revisor": {
                name: getattr(settings, name) for name in ("probe", "strictness", "encoder")
            }
        }
    found = {name: getattr(settings, name) for name in ("layer", "gamma")}
    return {"neuraldb": {name: value for name, value in found.items() if value is not None}}


def _options(
    path: Path | None, model: str, own: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """Options by method: those of a file, and over them those of the command line and the store."""
    from revisor.bench.methods.registry import read_options

    given = {} if path is None else read_options(path, model)
    return {name: {**given.get(name, {}), **own.get(name, {})} for name in {**given, **own}}


def _recipe(wanted: Wanted) -> None:
    """Run all that a recipe asks for."""
    from revisor.bench.datasets import Source
    from revisor.bench.recipe import read_recipe, run_recipe
    from revisor.models.load import load_model

    path, out = wanted.recipe, wanted.out
    assert path is not None
    if wanted.as_built:
        raise UsageError(
            "A recipe edits by itself; --as-built measures what is there.", "Leave one of them out."
        )
    if wanted.suite is not None:
        raise UsageError("A recipe names its own suites.", "Leave SUITE out.")
    if out is None:
        raise UsageError("A recipe needs a folder for its runs.", "Give --out DIR.")
    recipe = read_recipe(path, wanted.size)
    loaded = load_model(recipe.model, dtype=recipe.dtype)
    results = run_recipe(recipe, loaded, Source(folder=wanted.data_dir), out)
    if wanted.as_json:
        print_json({"recipe": path.name, "size": wanted.size, "runs": results})
        return
    for result in results:
        _show(result)
    note(f"Draw them: revisor report {out} --out {out / 'report'}")


def _put(result: dict[str, Any], misses: int, *, as_json: bool) -> None:
    """Print a result, with so many of the texts that were not answered rightly."""
    missed = {method: found[:misses] for method, found in result.get("misses", {}).items()}
    if as_json:
        print_json({**result, "misses": missed} if missed else result)
        return
    _show(result)
    for method, found in missed.items():
        for one in found:
            near = one["nearest"] or {"question": "", "template": "no name", "score": 0.0}
            say(f"{method}, {one['score']}: {one['text'][-SHOWN:]!r}")
            say(
                f"    expected {one['expected']}, got {one['got']}; nearest {near['template']!r} "
                f"to {near['question']!r}, {near['score']}, {near.get('silenced')}"
            )


def _show(result: Mapping[str, Any]) -> None:
    """A table: a score a line, a method a column, intervals in brackets."""
    from revisor.bench.deciding import labelled

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
        listing.add_row(
            labelled(name, result), *(_cell(scores, name) for scores in methods.values())
        )
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
