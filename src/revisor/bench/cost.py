"""What a method costs: seconds, peak memory, speed of decoding."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from revisor.bench.completing import Completer

INTERVAL_S = 0.05
DECODED = 32  # tokens a prompt
REPEATS = 2
TEXTS = (
    "The history of the city begins with a",
    "In the morning they went to the market and",
    "A good recipe for bread needs flour, water and",
    "The committee met on Tuesday to discuss the",
)
MEGABYTE = 1 << 20


class Watched:
    """Times a block, in `seconds`, and its peak memory: resident, or allocated on an accelerator,
    None if unknown."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_mb: float | None = None
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._begun = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import torch

        self._stop.set()
        self._thread.join()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak_mb = torch.cuda.max_memory_allocated() / MEGABYTE
        self.seconds = time.perf_counter() - self._begun

    def _watch(self) -> None:
        while True:
            now = resident_mb()
            if now is not None:
                self.peak_mb = max(self.peak_mb or 0.0, now)
            if now is None or self._stop.wait(INTERVAL_S):
                return


def resident_mb() -> float | None:
    """Memory of this process that is resident, in MiB; None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def tokens_per_second(completer: Completer) -> float:
    """Decoding speed of a small batch, prompts included; the better of two rounds."""
    tokenizer = completer.loaded.tokenizer
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    best = 0.0
    for _ in range(REPEATS):
        begun = time.perf_counter()
        said = completer.complete(prompts, [DECODED] * len(prompts), by_line=False)
        seconds = time.perf_counter() - begun
        best = max(best, sum(len(one.ids) for one in said) / seconds)
    return best
