"""The suite `scale` by the text alone: what a store of many facts decides, without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from revisor.bench.cases import Probe
from revisor.bench.datasets import Source
from revisor.bench.deciding import TEXT, decided
from revisor.bench.suites.stored import Asked, asked_of, counted
from revisor.bench.summary import entry, means
from revisor.config import StoreSettings
from revisor.errors import NotSupported
from revisor.gate.scope import THRESHOLDS
from revisor.index import FactIndex
from revisor.question.encoder import QuestionEncoder
from revisor.store import Store

MB = 1 << 20


def scale_by_text(
    source: Source,
    store: Store,
    encoder: QuestionEncoder,
    *,
    n: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What is decided of a store's facts, and where nothing is to be decided.

    The store, of the method `revisor`, is asked for its first `n` facts among all of them; `source`
    has the wordings of relations, subjects without facts, and ordinary text.

    Returns:
        As `runner.evaluate`, with `store`: MB of its files; seconds until its index is open, the
        first time (when its file may have to be made) and again.
        Scores are `own` prompts and other wordings (`wording`) answered with the fact's object,
        either of them with another (`own_wrong`, `wording_wrong`), and texts that ask for no fact
        and are given one: `other_relation_fires` of the same subject, `stranger_fires` of a
        subject without facts, `ordinary_fires` of prose cut off at some word.

    Raises:
        NotFound: a file is missing.
        NotSupported: the store's method is another.
        UsageError: it has no facts, or too few.
    """
    settings: StoreSettings = store.settings
    if settings.method != "revisor":
        raise NotSupported(
            f"What a store of the method {settings.method} answers is not told by the text alone.",
            "Leave --text-only out.",
        )
    count = counted(store, n)
    times = list(_openings(store))
    probes = [_probe(one) for one in asked_of(source, store, count, seed)]
    threshold = THRESHOLDS[settings.strictness]
    index: FactIndex = store.index
    cases = [decided(probe, index, encoder, threshold) for probe in probes]
    return {
        "suite": "scale",
        "n": count,
        "edits": store.ledger.count(),
        "model": "the text alone",
        "seed": seed,
        "dropped": {},
        "methods": {TEXT: entry(means(cases, {}, seed=seed), {})},
        "store": {
            "ledger_mb": _megabytes(store.workspace.path, "ledger.sqlite*"),
            "index_mb": _megabytes(store.workspace.index, "*"),
            "index_first_seconds": times[0],
            "index_open_seconds": times[1],
        },
    }


def _openings(store: Store) -> Iterator[float]:
    """Seconds until the store's index is open for the first time, and for the second."""
    for _ in range(2):
        begun = time.perf_counter()
        with FactIndex.open(store.ledger, store.workspace.index) as index:
            index.view()
        yield round(time.perf_counter() - begun, 3)


def _probe(asked: Asked) -> Probe:
    is_due = asked.kind in ("own", "wording")
    score = asked.kind if is_due else f"{asked.kind}_fires"
    extra = {
        "wanted": asked.fact.object if asked.fact and is_due else None,
        "right": (score,) if is_due else (),
        "wrong": (f"{score}_wrong",) if is_due else (score,),
        "within": None,
    }
    case = asked.fact.id if asked.fact else asked.name
    return Probe(
        id=asked.name, case=case, score=score, prompt=asked.prompt, kind="asked", extra=extra
    )


def _megabytes(folder: Path, pattern: str) -> float:
    return round(sum(one.stat().st_size for one in folder.glob(pattern)) / MB, 1)
