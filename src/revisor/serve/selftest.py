"""Does a generation work? Some stored facts must fire, ordinary sentences must not.

What comes in: a running scheduler and a generation. What goes out: a `SelfTest` with every fault.
What it does not do: judge whether answers are right; the build did that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from revisor import data
from revisor.facts.fact import Fact, normal_form
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.watch import Hit
from revisor.serve.batching import Scheduler
from revisor.serve.job import Job, Piece
from revisor.serve.sampling import Sampling
from revisor.serve.snapshot import Snapshot

PROBES = 3  # of each kind
PATIENCE_S = 60.0
LONGEST_NAME = 6  # words


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What came of it.

    Attributes:
        faults: what is wrong; empty if all is well.
        fired: facts that fired, of `asked`.
        asked: facts that were asked for.
        quiet: ordinary sentences in which nothing fired, of `PROBES`.
    """

    faults: tuple[str, ...]
    fired: int
    asked: int
    quiet: int

    @property
    def ok(self) -> bool:
        return not self.faults


def run_self_test(scheduler: Scheduler, snapshot: Snapshot) -> SelfTest:
    """Ask the model about some facts of a generation, and read it ordinary sentences."""
    faults: list[str] = []
    probes = _facts(snapshot)
    sentences = ordinary_sentences(snapshot.facts.values())
    found = _hits(scheduler, [*(fact.text for fact in probes), *sentences], snapshot.view)
    fired = quiet = 0
    for fact, hits in zip(probes, found, strict=False):
        if any(fact in snapshot.facts_of(hit.row_id) for hit in hits or ()):
            fired += 1
        elif hits is not None:
            faults.append(f"the fact {fact.id} ({fact.subject!r}) does not fire")
    for sentence, hits in zip(sentences, found[len(probes) :], strict=True):
        if hits:
            named = ", ".join(sorted({hit.row_id for hit in hits}))
            faults.append(f"the ordinary sentence {sentence[:60]!r} fires {named}")
        elif hits is not None:
            quiet += 1
    if None in found:
        faults.append("the model does not answer")
    return SelfTest(faults=tuple(faults), fired=fired, asked=len(probes), quiet=quiet)


def _facts(snapshot: Snapshot) -> list[Fact]:
    """Some facts that have a row in force and were built."""
    found = (
        fact
        for row_id in snapshot.view.ids
        for fact in snapshot.facts_of(row_id)[:1]
        if fact.id not in snapshot.failed
    )
    return list(islice(found, PROBES))


def ordinary_sentences(facts: Iterable[Fact]) -> Sequence[str]:
    """Ordinary sentences that name no fact's subject, by an alias neither."""
    names = {normal_form(name) for fact in facts for name in (fact.subject, *fact.aliases)}
    return list(islice((line for line in data.background() if not _names(line) & names), PROBES))


def _names(line: str) -> set[str]:
    """All runs of a few words."""
    words = [word.strip(".,;:!?\"'()") for word in normal_form(line).split()]
    return {
        " ".join(words[i : i + n]) for n in range(1, LONGEST_NAME + 1) for i in range(len(words))
    }


def _hits(scheduler: Scheduler, texts: Sequence[str], view: View) -> list[list[Hit] | None]:
    """What fires while the model reads each text; None where it does not answer.

    All are handed over at once, so that they wait together for the step that runs, not each for one
    of its own.
    """
    jobs = [_Read(scheduler, text, view) for text in texts]
    end = time.monotonic() + PATIENCE_S
    return [job.hits(end) for job in jobs]


class _Read:
    """One text that the model is to read."""

    def __init__(self, scheduler: Scheduler, text: str, view: View) -> None:
        self._ended = threading.Event()
        self._failed = False
        self._job = Job(
            prompt=scheduler.loaded.tokenizer(text)["input_ids"][: scheduler.context - 1],
            view=view,
            sampling=Sampling(temperature=0),
            max_tokens=1,
            tell=self._tell,
            urgent=True,
        )
        scheduler.submit(self._job)

    def _tell(self, piece: Piece) -> None:
        self._failed |= piece.reason in ("error", "cancelled")
        if piece.reason is not None:
            self._ended.set()

    def hits(self, end: float) -> list[Hit] | None:
        """What fired; None if it failed, or is not read at this moment of the monotonic clock."""
        read = self._ended.wait(max(0.0, end - time.monotonic()))
        return self._job.hits[0] if read and not self._failed else None
