"""Facts a second by several workers: figures of `revisor bench build`, without a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch

from revisor.facts.fact import Fact
from revisor.models.load import DTYPE_NAMES, LoadedModel, fingerprint
from revisor.models.spec import spec_of
from revisor.neuraldb.build.executors import Processes, WorkerOptions, executor
from revisor.neuraldb.build.shards import RowBuilder, WorkerSpec, cut
from revisor.neuraldb.editing.settings import BuildSettings


def rate_by_workers(
    loaded: LoadedModel,
    settings: BuildSettings,
    facts: Sequence[Fact],
    counts: Sequence[int],
    *,
    on_done: Callable[[int], None],
) -> list[dict[str, int | float]]:
    """The rate of making the same facts' rows, by each number of workers on this machine.

    Time starts when all have opened their model. For each count: `workers` (at most one a shard),
    threads of each, `facts_per_second`.
    """
    worker = WorkerSpec(
        model=loaded.name,
        dtype=DTYPE_NAMES[next(loaded.model.parameters()).dtype],
        device=loaded.device.type,
        fingerprint=fingerprint(loaded, layer=settings.layer),
        settings=settings,
        threads=torch.get_num_threads(),
    )
    builder = RowBuilder(loaded, spec_of(loaded.model), settings)
    shards = cut({fact.id: fact for fact in facts})
    found: list[dict[str, int | float]] = []
    for count in counts:
        with executor(WorkerOptions(workers=count), builder, worker, len(shards)) as make:
            size, threads = 1, worker.threads
            if isinstance(make, Processes):
                size, threads = make.size, make.worker.threads
                make.gather()
            began = perf_counter()
            for _ in make(shards, on_done):
                pass
            rate = len(facts) / (perf_counter() - began)
        found.append({"workers": size, "threads": threads, "facts_per_second": round(rate, 3)})
    return found
