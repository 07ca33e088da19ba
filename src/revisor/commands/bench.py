"""`revisor bench`: what live facts cost, and how fast the method `neuraldb` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import JsonOption, note, plural, print_json, say
from revisor.commands.options import DataFolderOption, ModelOption, Probing, with_options
from revisor.errors import NotFound, UsageError
from revisor.progress import Progress

if TYPE_CHECKING:
    from revisor.facts.fact import Fact
    from revisor.models.load import LoadedModel

COUNTERFACT = Path("counterfact") / "counterfact.jsonl.gz"
ROWS = 10_000
BATCHES = (1, 8, 64)
_PROBE = Probing("auto")

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")


@app.callback()
def bench() -> None:
    """Measure speed on this machine."""


@app.command()
def live(
    rows: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Facts in the store; give it several times.",
            show_default=f"{ROWS:,}",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Answers generated together; give it several times.",
            show_default=", ".join(map(str, BATCHES)),
        ),
    ] = None,
    model: ModelOption = "smollm2",
    probe: Annotated[Probing, typer.Option(help="As in init.")] = _PROBE,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A fact file.", show_default="made-up facts")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what facts of the method revisor cost: until they are live, to find, to answer with.

    The gate's time is measured beside the model's own, step by step in the same run.
    """
    from revisor.bench.live import bench_live, described
    from revisor.gate.probe import load_probe
    from revisor.models.load import load_model

    sizes = rows or [ROWS]
    loaded = load_model(model)
    fitted = None if probe == "off" else load_probe(loaded)
    results = []
    with Progress("Measuring live facts", len(sizes), "stores") as progress:
        for size in sizes:
            results += bench_live(loaded, fitted, _some(data, size), batch or BATCHES)
            progress.advance(1)
    if as_json:
        print_json(described(loaded, results))
        return
    for one in results:
        say(
            f"{one['rows']:,} facts, batch {one['batch']}: "
            f"{one['decode_overhead']:.2%} a token, {one['prefill_overhead']:.2%} a prompt; live "
            f"after {one['commit_to_live_ms']} ms, found in {one['lookup_us']} us"
        )
        note(", ".join(f"{name} {value}" for name, value in one.items()))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `revisor bench build` is to measure."""

    rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Facts to write.", show_default="200, or all"),
    ] = None
    reference: Annotated[int, typer.Option(min=1, metavar="N", help="Facts for the slow way.")] = 5
    workers: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="N", help="Also write them by so many processes; give it several times."
        ),
    ] = None
    model: ModelOption = "smollm2"
    layer: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The layer to write to.", show_default="the model's"),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A fact file.",
            show_default="CounterFact in --data-dir, or the shipped facts",
        ),
    ] = None
    data_dir: DataFolderOption = None
    as_json: JsonOption = False


@app.command()
@with_options
def build(wanted: Wanted) -> None:
    """Time how fast neuraldb writes facts, against the published way on the same machine.

    Both run in this process, one after the other; the published way is timed on a few facts. With
    --workers whole rows are made, keys and all, in shards of 128 facts.
    """
    facts = _facts(wanted.data, wanted.data_dir, wanted.rows)
    result, by_workers = _timed(wanted, facts)
    if wanted.as_json:
        print_json({**result, "workers": by_workers} if wanted.workers else result)
        return
    say(
        f"{result['facts_per_second']} facts/s, the published way "
        f"{result['reference_facts_per_second']} facts/s: {result['speedup']} times as fast"
    )
    note(", ".join(f"{name} {value}" for name, value in result.items()))
    for one in by_workers:
        size, threads = int(one["workers"]), int(one["threads"])
        say(
            f"{plural(size, 'worker')}, {plural(threads, 'thread')} each: "
            f"{one['facts_per_second']} facts/s"
        )


def _timed(
    wanted: Wanted, facts: Sequence[Fact]
) -> tuple[Mapping[str, Any], Sequence[Mapping[str, float]]]:
    """The figures of both ways, and those by number of processes."""
    from revisor.bench.methods.speed import compare_build
    from revisor.models.load import load_model
    from revisor.neuraldb.build.rate import rate_by_workers
    from revisor.neuraldb.editing.settings import BuildSettings

    fast, fp32 = load_model(wanted.model), load_model(wanted.model, dtype="fp32")
    chosen = _layer(fast, wanted.layer)
    settings = BuildSettings(layer=chosen)
    total = len(facts) + wanted.reference
    with Progress("Writing facts both ways", total, "facts") as progress:
        result = compare_build(
            fast,
            fp32,
            chosen,
            facts,
            plan=settings.contexts,
            reference_facts=wanted.reference,
            settings=settings.values,
            on_done=progress.advance,
        )
    if not wanted.workers:
        return result, []
    sizes, total = wanted.workers, len(facts) * len(wanted.workers)
    with Progress("Writing facts by several processes", total, "facts") as progress:
        return result, rate_by_workers(fast, settings, facts, sizes, on_done=progress.advance)


def _layer(loaded: LoadedModel, layer: int | None) -> int:
    from revisor.bench.methods.binding import Binding
    from revisor.bench.methods.neuraldb import BankOptions, layer_for

    return layer_for(Binding(loaded=loaded), BankOptions(layer=layer))


def _some(data: Path | None, rows: int) -> Iterator[Fact]:
    """So many facts, of a file or made up."""
    from revisor.index.measure import synthetic

    return synthetic(rows) if data is None else iter(_facts(data, None, rows))


def _facts(data: Path | None, data_dir: Path | None, rows: int | None) -> list[Fact]:
    """The first facts of the file that is meant."""
    from revisor.demo import shipped_facts
    from revisor.facts.load import load_facts

    if data is None and data_dir is not None:
        data = data_dir / COUNTERFACT
        if not data.is_file():
            raise NotFound(f"There is no {data}.", "Check --data-dir, or give --data FILE.")
    source = load_facts(data) if data else (fact for fact, _ in shipped_facts())
    facts = list(islice(source, rows or 200))
    if rows and len(facts) < rows:
        raise UsageError(
            f"{data or 'What ships with revisor'} has {len(facts)} facts, not {rows}.",
            "Ask for fewer rows, or name a larger file with --data.",
        )
    return facts
