"""Building: from the facts of a ledger to a published generation of rows.

What comes in: a store. What goes out: a bank of the ledger's last generation, checked through the
gate, and a `BuildReport`. What it does not do: make rows (shards.py; by whom: hands.py), find out
what changed (changed.py), or decide which rows speak at a moment (live.py).

Facts of one subject are written together. Where they do not all hold at the same time, rows are
made for each set of them that does (facts/epochs.py), and checked with that set in force.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from revisor.neuraldb.bank import leases
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.bank.files import generation_folder, generations, load_bank, recover, save_bank
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.editing.build import empty_bank, row_facts, threshold
from revisor.neuraldb.editing.calibration import VERSION, Calibration, calibrate
from revisor.neuraldb.editing.check import check_rows, crossed_rows
from revisor.errors import NotBuilt
from revisor.facts.epochs import epochs, rows_in_force
from revisor.facts.fact import Fact, normal_form
from revisor.neuraldb.build.changed import Wanted, changed_facts, rows_to_check
from revisor.neuraldb.build.cluster import need_ray
from revisor.life.collect import collect
from revisor.neuraldb.build.hands import Hands, executor
from revisor.neuraldb.build.indexed import indexed, searched_otherwise
from revisor.neuraldb.build.partial import Partial
from revisor.neuraldb.build.shards import Job, Maker, by_subject, cut, digest_of
from revisor.progress import Progress

if TYPE_CHECKING:
    from revisor.store import Store

KEPT = 2  # bank generations that a build leaves on disk


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did.

    Attributes:
        rows: rows in the bank.
        facts: facts written by this build (not those whose rows stood already).
        seconds: wall time, without opening the model.
        facts_per_second: of those facts.
        failed: live facts that the model does not answer with: {id, fault}.
        generation: of the ledger that the bank shows.
    """

    rows: int
    facts: int
    seconds: float
    facts_per_second: float
    failed: list[dict[str, str]]
    generation: int


def build(store: Store, *, actor: str, hands: Hands | None = None) -> BuildReport:
    """Write the rows of what changed, check them, publish a generation.

    Rows are written in shards as they are made; a build that was killed takes up where it was.

    Args:
        hands: who makes the rows and asks them; this process by default, which in any case asks
            again those that another subject's row could change.

    Raises:
        WorkersLost: workers die one after the other.
        Conflict: another process is building.
        CannotWrite: the disk is full, or the store may only be read.
    """
    hands = hands or Hands()
    if hands.ray is not None:
        need_ray()  # before anything else is begun
    with leases.only_writer(store.banks):
        recover(store.banks)
        return _Build(store, hands).run(actor)


class _Build:
    """One build of one store: what it is made from, and its steps."""

    def __init__(self, store: Store, hands: Hands) -> None:
        self.store = store
        self.hands = hands
        self.ledger = store.ledger
        self.settings = store.build_settings()
        self.exact = store.settings.exact
        self.generation = self.ledger.generation
        made_from = [asdict(self.settings), VERSION, *(["exact"] if self.exact else [])]
        self.recipe = digest_of(made_from)

    def run(self, actor: str) -> BuildReport:
        store = self.store
        _ = self.calibration  # not a part of what is timed
        began = time.monotonic()
        anchor = next(iter(self.ledger.events(1)), None)
        before, known, complete = self._standing()
        if before is None:
            wanted = Wanted(facts=list(self.ledger.facts(generation=self.generation)))
            bank = self._empty()
        else:
            bank = before
            wanted = changed_facts(self.ledger, bank, known, self.generation, complete=complete)
            if not wanted.facts and self._is_up_to_date(bank):
                Partial(store.banks).clear()  # of a build that was killed after it had published
                return self._report(len(self._published()), [], 0.0, list(known.items()))
        todo = {fact.id for fact in wanted.facts}
        for row_id in bank.holding(todo | wanted.gone):
            bank.drop(row_id, self.generation)
        made, answering, steps = self._write(bank, wanted.facts)
        unchecked = None
        if self.exact:
            # One order and one check over everything: the bank is then a function of the facts.
            bank = self._in_order(bank)
            unchecked = bank.view()
            made = list(bank.ids)
            known = {}
        touched = self._to_ask(bank, made, answering)
        touched += rows_to_check(self.ledger, bank, wanted.facts, made, self.generation)
        failed = self._check(bank, touched)
        bank.generation = self.generation
        asked = {i for row_id in touched for i in row_facts(row_id)} | todo | wanted.gone
        failed |= {i: fault for i, fault in known.items() if i not in asked}
        seconds = time.monotonic() - began
        report = self._report(len(bank), wanted.facts, seconds, sorted(failed.items()))
        self._save(bank.view(), unchecked, report, steps / max(1, len(wanted.facts)), anchor)
        Partial(store.banks).clear()
        collect(store.banks, keep=KEPT, pinned=set(self.ledger.tags().values()))
        self.ledger.record(
            "build",
            actor=actor,
            generation=self.generation,
            fingerprint=store.fingerprint,
            rows=report.rows,
            written=report.facts,
            failed=len(report.failed),
            settings=store.settings_digest(),
        )
        return report

    def _standing(self) -> tuple[Bank | None, dict[str, str], bool]:
        """The newest bank, if it was built by this recipe, what failed in it, and whether every
        other fact has a row."""
        found = generations(self.store.banks)
        if not found:
            return None, {}, False
        folder = generation_folder(self.store.banks, found[-1])
        try:
            manifest = read_manifest(folder)
        except NotBuilt:  # of an earlier revisor: all rows are made anew
            return None, {}, False
        if manifest.build.get("recipe") != self.recipe or found[-1] > self.generation:
            return None, {}, False
        bank = load_bank(
            folder, fingerprint=self.store.fingerprint, check=True, unchecked=self.exact
        )
        failed = {entry["id"]: entry["fault"] for entry in manifest.failed}
        return bank, failed, bool(manifest.build.get("complete"))

    def _is_up_to_date(self, bank: Bank) -> bool:
        """Whether a bank is of the ledger's last generation and searched as the store says."""
        if bank.generation != self.generation:
            return False
        manifest = read_manifest(generation_folder(self.store.banks, self.generation))
        return not searched_otherwise(self.store, manifest)

    def _published(self) -> Bank:
        return load_bank(generation_folder(self.store.banks, self.generation))

    def _empty(self) -> Bank:
        return empty_bank(self.store.spec, self.calibration, self.settings)

    def _write(self, bank: Bank, facts: Sequence[Fact]) -> tuple[list[str], set[str], float]:
        """Make the rows of some facts and put them; their ids, those of them that answered when
        they were made, and the steps they took."""
        partial = Partial(self.store.banks)
        groups = {digest_of([self.recipe, [asdict(f) for f in g]]): g for g in by_subject(facts)}
        held = partial.rows(groups.keys())
        shards = cut(groups)
        before = sum(len(groups[name]) for name in held)
        steps = 0.0
        left = [rest for shard in shards if (rest := shard.without(held)).groups]
        with (
            executor(self.hands, self.maker(), self.job(), len(left)) as make,
            Progress("Writing facts", total=len(facts), unit="facts", before=before) as progress,
        ):
            for made in make(left, progress.advance):
                steps += made.steps
                held |= partial.save(
                    made,
                    fingerprint=self.store.fingerprint,
                    named=self.settings.named,
                    bits=self.settings.bits,
                )
        ids: list[str] = []
        answering: set[str] = set()
        for name in (name for shard in shards for name in shard.groups):
            answering |= held[name].answering
            for row in held[name].rows():
                bank.put(row, self.generation)
                ids.append(row.row_id)
        return ids, answering, steps

    def _to_ask(self, bank: Bank, made: Sequence[str], answering: Collection[str]) -> list[str]:
        """Those new rows of which it is not known yet whether they answer in this bank.

        Who made a row has asked it with all of its subject's. Where its prompt names no other
        subject, no other row can fire there. Subjects are asked as wholes: the repair of one row
        may change what the others say. Those with facts in time are asked in turns, whatever was
        asked before.
        """
        if not answering:
            return list(made)
        ids = {i for row_id in made for i in row_facts(row_id)}
        facts = self.ledger.known(ids, generation=self.generation)
        subject_of = {row_id: normal_form(facts[row_facts(row_id)[0]].subject) for row_id in made}
        known = [row_id for row_id in made if row_id in answering]
        doubtful = {subject_of[row_id] for row_id in made if row_id not in answering}
        doubtful |= {
            subject_of[row_id]
            for row_id in crossed_rows(self.store.loaded, bank, facts, known, self.settings)
        }
        timed = self.ledger.timed(generation=self.generation)
        doubtful |= {normal_form(fact.subject) for fact in timed}
        return [row_id for row_id in made if subject_of[row_id] in doubtful]

    @cached_property
    def calibration(self) -> Calibration:
        """Of the model and layer; measured at the first build."""
        store, settings = self.store, self.settings
        return calibrate(store.loaded, store.spec, settings.layer, whiten=settings.whiten)

    def maker(self) -> Maker:
        return Maker(
            self.store.loaded, self.store.spec, self.calibration, self.settings, exact=self.exact
        )

    def job(self) -> Job:
        store, settings = self.store, self.store.settings
        return Job(
            model=settings.model,
            dtype=settings.dtype,
            device=settings.device if settings.device != "auto" else store.loaded.device.type,
            layers_path=settings.layers_path,
            projection_path=settings.projection_path,
            fingerprint=store.fingerprint,
            calibration=self.calibration,
            settings=self.settings,
            exact=self.exact,
            threads=torch.get_num_threads(),
        )

    def _in_order(self, bank: Bank) -> Bank:
        """The rows in the order of the ledger's facts."""
        rows: dict[str, list[Row]] = {}
        for row in bank.rows():
            rows.setdefault(row_facts(row.row_id)[0], []).append(row)
        ordered = self._empty()
        for fact in self.ledger.facts(generation=self.generation):
            for row in rows.get(fact.id, ()):
                ordered.put(row, self.generation)
        return ordered

    def _check(self, bank: Bank, rows: Sequence[str]) -> dict[str, str]:
        """Ask rows through the gate, each with the rows in force that hold together with it.

        Repairs and drops rows of `bank`; returns what failed, by fact id.
        """
        pending = dict.fromkeys(rows)
        ids = {i for row_id in rows for i in row_facts(row_id)}
        facts = self.ledger.known(ids, generation=self.generation)
        failed: dict[str, str] = {}
        with Progress("Checking through the gate", total=len(rows), unit="rows") as progress:
            for outside in self._phases(bank):
                now = [row_id for row_id in pending if row_id not in outside]
                part = Bank.of(bank.view(without=outside)) if outside else bank
                found = check_rows(
                    self.store.loaded, self.store.spec, part, facts, now, self.settings,
                    self.generation,
                )  # fmt: skip
                failed |= {failure.fact_id: failure.fault for failure in found}
                for row_id in now:
                    del pending[row_id]
                    if part is not bank:
                        bank.drop(row_id, self.generation)
                        if row_id in part:
                            bank.put(part.get(row_id), self.generation)
                progress.advance(len(now))
                if not pending:
                    break
        return failed

    def _phases(self, bank: Bank) -> Iterator[set[str]]:
        """For each turn of the check the rows that are not in force in it.

        Every subject shows its first epoch in the first turn, its second in the second, and its
        last one in all that follow.
        """
        timed = self.ledger.timed(generation=self.generation)
        if not timed:
            yield set()
            return
        names = {fact.subject for fact in timed}
        subjects = list(self.ledger.about(names, generation=self.generation))
        turns = [epochs(group) for group in by_subject(subjects)]
        mine = {fact.id for fact in subjects}
        rows = bank.holding(mine)
        for turn in range(max(map(len, turns), default=1)):
            holding = {fact.id for one in turns for fact in one[min(turn, len(one) - 1)]}
            here = [row_id for row_id in rows if row_id in bank]
            shown = rows_in_force([row_facts(row_id) for row_id in here], holding)
            yield set(here) - {here[index] for index in shown}

    def _save(
        self, view: View, unchecked: View | None, report: BuildReport, steps: float, anchor: object
    ) -> None:
        view, search = indexed(self.store, view)
        save_bank(
            view,
            self.store.banks,
            fingerprint=self.store.fingerprint,
            model=self.store.settings.model,
            layer=self.settings.layer,
            build={
                "recipe": self.recipe,
                "preset": self.store.settings.preset,
                "exact": self.exact,
                "gamma": threshold(self.calibration, self.settings),
                "facts": report.facts,
                "seconds": report.seconds,
                "mean_steps": round(steps, 2),
                "threads": torch.get_num_threads(),
                "encoder": self.calibration.encoder.kind,
                "search": search,
                "complete": True,
                "audit": [getattr(anchor, "seq", 0), getattr(anchor, "hash", "")],
            },
            failed=report.failed,
            unchecked=unchecked,
        )

    def _report(
        self, rows: int, written: Sequence[Fact], seconds: float, failed: list[tuple[str, str]]
    ) -> BuildReport:
        return BuildReport(
            rows=rows,
            facts=len(written),
            seconds=round(seconds, 3),
            facts_per_second=round(len(written) / max(seconds, 1e-9), 3) if written else 0.0,
            failed=[{"id": fact_id, "fault": fault} for fact_id, fault in failed],
            generation=self.generation,
        )
