"""What an index costs over a ledger: making, opening, size, memory, look-ups, time until live."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from revisor.errors import UsageError
from revisor.facts.changes import Put
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.index.basefile import NAME, forget
from revisor.index.follow import FactIndex
from revisor.index.view import View
from revisor.language.spelling import name_words

_ASKED = 2_000  # names that are looked up
_TIMES = 7  # commits whose median counts
_PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class IndexFigures:
    """What was measured.

    Attributes:
        index_seconds: to make the base from the ledger and write its file; `index_cpu_seconds` is
            this process's share.
        open_ms: to open an index on its file and take the first view.
        bytes_per_fact: of the file.
        peak_rss_mb: of a process that makes the base.
        resident_mb: growth of a process that opens the file and looks names up; of it
            `anonymous_mb` is its own, the rest are pages of the file.
        commit_ms: the transaction of one changed fact.
        commit_to_live_ms: from there to a view that has it, by who committed: `same_process`,
            `other_process`.
        lookup_us: one look-up: `hit`, `miss`, `begins`.
    """

    rows: int
    index_seconds: float
    index_cpu_seconds: float
    open_ms: float
    bytes_per_fact: float
    peak_rss_mb: float
    resident_mb: float
    anonymous_mb: float
    commit_ms: float
    commit_to_live_ms: Mapping[str, float]
    lookup_us: Mapping[str, float]


def synthetic(rows: int) -> Iterator[Fact]:
    """Made-up facts, four a subject, with names of two to four words."""
    for number in range(rows):
        subject = number // 4
        words = (f"Karr{subject % 977}", f"Vel{subject // 977}", "Works", f"of Dorn{subject % 31}")
        yield Fact(
            subject=" ".join(words[: 2 + subject % 3]),
            prompt=f"The property {number % 4} of {{}} is",
            object=f"value {number * 7919 % 4093}",
            relation=f"P{number % 4}",
        )


def measure(ledger: str | Path, folder: Path) -> IndexFigures:
    """Measure the index of a ledger; its facts are the same afterwards. UsageError if it has none.

    The base file is written into `folder`, in place of one that is there.
    """
    with Ledger.open(ledger) as opened:
        rows = opened.count()
        if not rows:
            raise UsageError("The ledger has no facts.", "Add some: revisor add FILE")
    forget(folder)
    made = _elsewhere(_making, str(ledger), folder)
    found = _elsewhere(_opening, str(ledger), folder)
    file = folder / NAME
    with Ledger.open(ledger) as opened, FactIndex.open(opened, folder) as index:
        own = _own_commits(opened, index)
        other = _other_commits(str(ledger), opened, index)
        return IndexFigures(
            rows=rows,
            bytes_per_fact=round(file.stat().st_size / rows, 1) if file.exists() else 0.0,
            commit_ms=own["commit"],
            commit_to_live_ms={"same_process": own["live"], "other_process": other},
            **made,
            **found,
        )


def _elsewhere(call: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """A call in a fresh process, whose memory nothing else has touched."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, given)


def _making(ledger: str, folder: Path) -> dict[str, Any]:
    with Ledger.open(ledger) as opened:
        start, cpu = time.perf_counter(), time.process_time()
        with FactIndex.open(opened, folder):
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "index_seconds": round(seconds, 2),
        "index_cpu_seconds": round(cpu, 2),
        "peak_rss_mb": round(_peak_mb()),
    }


def _opening(ledger: str, folder: Path) -> dict[str, Any]:
    with Ledger.open(ledger) as opened:
        names = list(
            itertools.islice({fact.subject for fact in opened.facts(limit=10_000)}, _ASKED)
        )
        opened.count()
        gc.collect()
        before = _memory()
        start = time.perf_counter()
        index = FactIndex.open(opened, folder)
        view = index.view()
        seconds = time.perf_counter() - start
        with index:
            asked = _lookups(view, names)
            after = _memory()
    grown = {kind: round((after[kind] - before[kind]) / (1 << 20), 1) for kind in after}
    return {
        "open_ms": round(1e3 * seconds, 1),
        "resident_mb": grown["all"],
        "anonymous_mb": grown["own"],
        "lookup_us": asked,
    }


def _peak_mb() -> float:
    """The peak memory of this process; getrusage counts the parent's, too, on Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        # Kilobytes, but bytes on a Mac.
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _memory() -> dict[str, int]:
    """Bytes of this process that are in memory; zeros where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return {"all": 0, "own": 0}
    size = resource.getpagesize()
    return {"all": int(pages[1]) * size, "own": (int(pages[1]) - int(pages[2])) * size}


def _lookups(view: View, names: list[str]) -> dict[str, float]:
    """Median microseconds of a call."""
    known = [words for words in map(name_words, names) if words]
    unknown = [(*words, "nowhere") for words in known]
    for words in known:
        for handle in view.find(words):
            view.fact(handle)
    firsts = [words[0] for words in known]
    return {
        "hit": _median_us(view.find, known),
        "miss": _median_us(view.find, unknown),
        "begins": _median_us(view.begins, firsts),
    }


def _median_us(call: Callable[[Any], object], given: list[Any]) -> float:
    times = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        for one in given:
            call(one)
        times.append(1e6 * (time.perf_counter() - start) / len(given))
    return round(statistics.median(times), 2)


def _own_commits(ledger: Ledger, index: FactIndex) -> dict[str, float]:
    fact = next(ledger.facts(limit=1))
    commits, lives = [], []
    for number in range(_TIMES):
        changed = replace(fact, object=f"{fact.object} {number}")
        start = time.perf_counter()
        ledger.apply([Put(changed)], actor="measure", reason="measured")
        done = time.perf_counter()
        _wait_for(index, changed)
        commits.append(1e3 * (done - start))
        lives.append(1e3 * (time.perf_counter() - done))
    ledger.apply([Put(fact)], actor="measure", reason="measured")
    return {
        "commit": round(statistics.median(commits), 2),
        "live": round(statistics.median(lives), 2),
    }


def _other_commits(place: str, ledger: Ledger, index: FactIndex) -> float:
    fact = next(ledger.facts(limit=1))
    lives = []
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for number in range(_TIMES):
            changed = replace(fact, object=f"{fact.object} {number}")
            promised = pool.apply_async(_commit, (place, changed))
            _wait_for(index, changed)
            # The clock is the machine's, the same in both processes.
            lives.append(1e3 * (time.monotonic() - promised.get()))
        pool.apply(_commit, (place, fact))
    return round(statistics.median(lives), 2)


def _commit(place: str, fact: Fact) -> float:
    with Ledger.open(place) as ledger:
        ledger.apply([Put(fact)], actor="measure", reason="measured")
        return time.monotonic()


def _wait_for(index: FactIndex, fact: Fact) -> None:
    words, until = name_words(fact.subject), time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        view = index.view()
        if any(view.fact(handle).object == fact.object for handle in view.find(words)):
            return
        time.sleep(0.0005)
    raise TimeoutError(f"{fact.subject!r} was not live after {_PATIENCE_S} s.")
