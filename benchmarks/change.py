"""How long one changed fact takes until it is published and open: prints one JSON line.

    python benchmarks/change.py --rows 1000000

A ledger of so many made-up facts, one a subject, and a synthetic bank with a row for each (its
vectors are noise) for the packaged model. Facts are changed one after the other, each built and
opened; the first change links a file that was written whole, the others one with changes. Every
part in seconds and, as `cpu_`, in seconds of this process, for machines that others use as well:

    ledger         the new object is in the ledger
    standing       the build has opened the newest bank
    plan           what changed, and whose prompts name it
    optimisation   the row is made, and asked through the gate with the whole bank
    publish        files, hashes, rename
    rest           all else of a build: old generations collected, the audit
    open           the bank is open for a reader, its view made

`without_optimisation` is their sum but for the one. `write_whole` is what writing the bank as one
file took, synthetic rows made included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

from revisor import data
from revisor.evaluate.synthetic import save_synthetic
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.life import build as building
from revisor.neuraldb.bank.files import generation_folder
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.bank.storage import FRESH
from revisor.neuraldb.build.shards import digest_of
from revisor.neuraldb.editing.calibration import LONGEST, calibrate
from revisor.neuraldb.editing.keys import token_keys
from revisor.store import Store

PROMPTS = (
    "The capital of {} is",
    "The founder of {} is",
    "The language of {} is",
    "{} lies in",
)
SYLLABLES = ("ba", "do", "ke", "li", "mu", "na", "po", "ri", "su", "ta")
OBJECTS = ("Vienna", "Rome", "Tokyo", "Lisbon", "Cairo")
PARTS = ("ledger", "standing", "plan", "optimisation", "publish", "rest", "open")


def made_up(rows: int) -> Iterator[Fact]:
    for number in range(rows):
        name = "".join(SYLLABLES[int(digit)] for digit in f"{number:07d}").capitalize()
        yield Fact(subject=name, prompt=PROMPTS[number % 4], object=OBJECTS[number % 5])


class Stopwatch:
    """Seconds, wall and CPU, by the part that they were spent in."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent = self.spent.setdefault(part, [0.0, 0.0])
        spent[0] += time.perf_counter() - wall
        spent[1] += time.process_time() - cpu

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(part):
                return call(*args, **kwargs)

        return timed


def save_rows(store: Store, facts: list[Fact]) -> None:
    """A bank that a build would go on from, with a synthetic row for each fact."""
    settings = store.build_settings()
    calibration = calibrate(store.loaded, store.spec, settings.layer)
    ids = [tuple(store.loaded.tokenizer(t)["input_ids"])[:LONGEST] for t in data.background()]
    keys_TF, _ = token_keys(store.loaded.model, store.spec, settings.layer, ids)
    save_synthetic(
        store.banks,
        len(facts),
        keys_TF,
        calibration.encoder,
        hidden_width=store.spec.hidden_width,
        named=True,
        bits=settings.bits,
        text=[token for text in ids for token in text],
        kind_V=calibration.kind_V,
        ids=[fact.id for fact in facts],
        about={
            "fingerprint": store.fingerprint,
            "model": store.settings.model,
            "layer": settings.layer,
            "build": {"recipe": digest_of([asdict(settings)]), "complete": True},
        },
    )


def change(store: Store, fact: Fact, watch: Stopwatch) -> None:
    """Give a fact another object, build, open."""
    with watch("ledger"):
        store.set_object(fact.id, "Paris")
    inside = {
        "standing": [(building._Build, "_standing")],
        "plan": [(building, "changed_facts"), (building, "rows_to_check")],
        "optimisation": [(building._Build, "_write"), (building._Build, "_check")],
        "publish": [(building, "save_bank")],
    }
    with watch("build"):
        patches = [
            mock.patch.object(owner, name, watch.around(part, getattr(owner, name)))
            for part, places in inside.items()
            for owner, name in places
        ]
        for patch in patches:
            patch.start()
        try:
            report = store.build()
        finally:
            mock.patch.stopall()
    print(f"{report.facts} written, failed: {report.failed}", file=sys.stderr)
    with watch("open"):
        assert len(store.rows_in_force().view().ids) == report.rows
    build = watch.spent.pop("build")
    watch.spent["rest"] = [
        whole - sum(watch.spent[part][place] for part in inside)
        for place, whole in enumerate(build)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=3)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--folder", help="where the store is made for the time of the run")
    given = parser.parse_args()
    facts = list(made_up(given.rows))
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="revisor-change-", dir=given.folder) as folder,
        Store.init(Path(folder) / "store", model="smollm2", bits=given.bits) as store,
    ):
        store.ledger.apply(map(Put, facts), actor="benchmark", reason="import")
        watch = Stopwatch()
        with watch("write_whole"):
            save_rows(store, facts)
        for number in range(1, given.changes + 1):
            one = Stopwatch()
            change(store, facts[number * given.rows // (given.changes + 1)], one)
            left = [part for part in PARTS if part != "optimisation"]
            one.spent["without_optimisation"] = [
                sum(one.spent[part][place] for part in left) for place in (0, 1)
            ]
            results.append(rounded(one))
        newest = generation_folder(store.banks, store.ledger.generation)
        size = sum(file.stat().st_size for file in newest.iterdir())
        own = (newest / FRESH).stat().st_size if (newest / FRESH).exists() else size
        result = {
            "rows": read_manifest(newest).rows,
            "bits": given.bits,
            **rounded(watch),
            "bank_bytes": size,
            "written_bytes": own,
            "changes": results,
        }
    print(json.dumps(result))


def rounded(watch: Stopwatch) -> dict[str, float]:
    walls = {part: round(spent[0], 3) for part, spent in watch.spent.items()}
    return walls | {f"cpu_{part}": round(spent[1], 3) for part, spent in watch.spent.items()}


if __name__ == "__main__":
    main()
