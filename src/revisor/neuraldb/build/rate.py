"""Facts a second by several workers.

What comes in: a model that is open, facts, how many workers. What goes out: figures of `revisor
bench build`. What it does not do: use a store, or ask again the rows that another shard could
change, which one process does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch

from revisor.neuraldb.editing.build import BuildSettings
from revisor.neuraldb.editing.calibration import calibrate
from revisor.facts.fact import Fact
from revisor.neuraldb.build.hands import Hands, executor
from revisor.neuraldb.build.shards import Job, Maker, by_subject, cut
from revisor.neuraldb.build.workers import Workers
from revisor.models.load import DTYPE_NAMES, LoadedModel, fingerprint
from revisor.models.spec import spec_of


def rate_by_workers(
    loaded: LoadedModel,
    settings: BuildSettings,
    facts: Sequence[Fact],
    counts: Sequence[int],
    *,
    on_done: Callable[[int], None],
) -> list[dict[str, int | float]]:
    """Make the rows of the same facts by so many workers on this machine, then by so many others.

    The time begins when all of them have opened their model.

    Returns:
        For each count: workers (no more than there are shards), threads of each, facts_per_second.
    """
    calibration = calibrate(loaded, spec_of(loaded.model), settings.layer, whiten=settings.whiten)
    job = Job(
        model=loaded.name,
        dtype=DTYPE_NAMES[next(loaded.model.parameters()).dtype],
        device=loaded.device.type,
        fingerprint=fingerprint(loaded, layer=settings.layer),
        calibration=calibration,
        settings=settings,
        exact=False,
        threads=torch.get_num_threads(),
    )
    maker = Maker(loaded, spec_of(loaded.model), calibration, settings, exact=False)
    shards = cut({str(number): group for number, group in enumerate(by_subject(facts))})
    found: list[dict[str, int | float]] = []
    for count in counts:
        with executor(Hands(workers=count), maker, job, len(shards)) as make:
            size, threads = 1, job.threads
            if isinstance(make, Workers):
                size, threads = make.crew.size, make.crew.job.threads
                make.gather()
            began = perf_counter()
            for _ in make(shards, on_done):
                pass
            rate = len(facts) / (perf_counter() - began)
        found.append({"workers": size, "threads": threads, "facts_per_second": round(rate, 3)})
    return found
