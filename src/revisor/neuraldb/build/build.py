"""Building: from the facts of a ledger to a published generation of rows.

Only facts that changed are written; their rows, and existing rows whose prompts name one of their
subjects, are asked through the gate with the whole bank in force.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from revisor.errors import NotBuilt
from revisor.facts.epochs import epochs
from revisor.facts.fact import Fact
from revisor.neuraldb.bank import leases
from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.bank.files import (
    generation_folder,
    generations,
    load_bank,
    recover,
    save_bank,
)
from revisor.neuraldb.bank.manifest import read_manifest
from revisor.neuraldb.build.checkpoint import Checkpoint
from revisor.neuraldb.build.executors import WorkerOptions, executor, need_ray
from revisor.neuraldb.build.indexed import give_index, searched_otherwise
from revisor.neuraldb.build.plan import BuildPlan, by_subject, changed_facts, rows_to_check
from revisor.neuraldb.build.shards import RowBuilder, WorkerSpec, cut, digest_of, digested
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.rows import empty_bank
from revisor.neuraldb.editing.settings import VERSION
from revisor.neuraldb.upkeep import collect
from revisor.neuraldb.workspace import Workspace
from revisor.progress import Progress

KEPT = 2  # bank generations that a build leaves on disk


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did.

    Attributes:
        rows: in the bank.
        facts: written by this build, without those that had rows.
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


def build(ws: Workspace, *, actor: str = "", options: WorkerOptions | None = None) -> BuildReport:
    """Write the rows of what changed, check them, publish a bank of the live generation.

    Rows are written in shards as they are made; a build that was killed is resumed. The `options`
    say who makes the rows, by default this process, which always checks them.

    Raises:
        WorkersLost: workers die one after the other.
        NotSupported, UsageError: there is no ray, or no such cluster.
        Conflict: another process is building.
        CannotWrite: the disk is full, or the store is read-only.
    """
    options = options or WorkerOptions()
    if options.ray is not None:
        need_ray()  # before anything else is begun
    with leases.only_writer(ws.banks):
        recover(ws.banks)
        return Building(ws, options).run(actor)


class Building:
    """One build: what it is made from, and its steps."""

    def __init__(self, ws: Workspace, options: WorkerOptions) -> None:
        self.ws = ws
        self.options = options
        self.ledger = ws.ledger
        self.settings = ws.settings.build()
        self.generation = self.ledger.live_generation()
        self.recipe = digest_of([asdict(self.settings), VERSION])

    def run(self, actor: str) -> BuildReport:
        """See `build`."""
        ws = self.ws
        _ = ws.fingerprint  # the model is opened here: not a part of what is timed
        began = time.monotonic()
        anchor = next(iter(self.ledger.events(1)), None)
        bank, known = self._standing()
        if bank is None:
            bank = empty_bank(ws.spec)
            plan = BuildPlan(facts=list(self.ledger.facts(generation=self.generation)))
        else:
            plan = changed_facts(self.ledger, bank, known, self.generation)
            if not plan.facts and self._is_up_to_date(bank):
                Checkpoint(ws.banks).clear()  # of a build that was killed after it had published
                return self._report(len(bank), [], 0.0, known)
        todo = {fact.id for fact in plan.facts}
        for row_id in bank.present(todo | plan.gone):
            bank.drop(row_id)
        self._write(bank, plan.facts)
        made = [fact.id for fact in plan.facts]
        asked = made + rows_to_check(self.ledger, bank, plan.facts, made, self.generation)
        failed = {i: fault for i, fault in known.items() if i not in todo | plan.gone | set(asked)}
        failed |= self._check(bank, asked)
        bank.generation = self.generation
        report = self._report(len(bank), plan.facts, time.monotonic() - began, failed)
        seal = (getattr(anchor, "seq", 0), getattr(anchor, "hash", ""))
        self._save(bank, report, seal)
        Checkpoint(ws.banks).clear()
        collect(ws.banks, keep=KEPT, pinned={*self.ledger.tags().values(), self.generation})
        self.ledger.record(
            "build",
            actor=actor,
            generation=self.generation,
            fingerprint=ws.fingerprint,
            rows=report.rows,
            written=report.facts,
            failed=len(report.failed),
            **ws.note(),
        )
        return report

    def _standing(self) -> tuple[Bank | None, dict[str, str]]:
        """The newest bank up to this generation, if by this recipe, and the faults of what
        failed."""
        found = [number for number in generations(self.ws.banks) if number <= self.generation]
        if not found:
            return None, {}
        folder = generation_folder(self.ws.banks, found[-1])
        try:
            manifest = read_manifest(folder)
        except NotBuilt:  # of an earlier revisor: all rows are made anew
            return None, {}
        if manifest.build.get("recipe") != self.recipe:
            return None, {}
        bank = load_bank(folder, fingerprint=self.ws.fingerprint, check=True)
        return bank, {entry["id"]: entry["fault"] for entry in manifest.failed}

    def _is_up_to_date(self, bank: Bank) -> bool:
        """Whether a bank is of this generation and searched as the settings say."""
        if bank.generation != self.generation:
            return False
        manifest = read_manifest(generation_folder(self.ws.banks, self.generation))
        return not searched_otherwise(self.ws.settings.search, manifest)

    def worker(self) -> WorkerSpec:
        """What workers need to know."""
        ws, settings = self.ws, self.ws.settings
        return WorkerSpec(
            model=settings.model,
            dtype=settings.dtype,
            device=settings.device if settings.device != "auto" else ws.loaded.device.type,
            layers_path=settings.layers_path,
            projection_path=settings.projection_path,
            fingerprint=ws.fingerprint,
            settings=self.settings,
            threads=torch.get_num_threads(),
        )

    def _write(self, bank: Bank, facts: Sequence[Fact]) -> None:
        """Make the rows of some facts and put them, in an order that depends on the facts alone."""
        checkpoint = Checkpoint(self.ws.banks)
        todo = digested(facts, self.recipe)
        rows = checkpoint.find(todo.keys())
        shards = cut(todo)
        left = [
            {name: fact for name, fact in shard.items() if name not in rows} for shard in shards
        ]
        left = [shard for shard in left if shard]
        builder = RowBuilder(self.ws.loaded, self.ws.spec, self.settings)
        with (
            executor(self.options, builder, self.worker(), len(left)) as make,
            Progress("Writing facts", total=len(todo), unit="facts", before=len(rows)) as progress,
        ):
            for made in make(left, progress.advance):
                checkpoint.save(made)
                rows |= made
        for digest in (digest for shard in shards for digest in shard):
            bank.put(rows[digest])

    def _check(self, bank: Bank, rows: Sequence[str]) -> dict[str, str]:
        """Ask rows through the gate, each with the rows that hold together with it; repairs and
        drops rows of `bank`, and returns what failed, by fact id."""
        pending = dict.fromkeys(rows)
        facts = self.ledger.known(rows, generation=self.generation)
        failed: dict[str, str] = {}
        with Progress("Checking through the gate", total=len(rows), unit="rows") as progress:
            for outside in self._phases():
                now = [row_id for row_id in pending if row_id not in outside]
                part = Bank.of(bank.view(without=outside)) if outside else bank
                found = check_rows(self.ws.loaded, self.ws.spec, part, facts, now, self.settings)
                failed |= {failure.fact_id: failure.fault for failure in found}
                for row_id in now:
                    del pending[row_id]
                    if part is not bank:
                        bank.drop(row_id)
                        if row_id in part:
                            bank.put(part.get(row_id))
                progress.advance(len(now))
                if not pending:
                    break
        return failed

    def _phases(self) -> Iterator[set[str]]:
        """The rows that are not in force, for each turn of the check: each subject shows its first
        epoch in the first turn, its second in the second, and its last in all that follow."""
        timed = self.ledger.timed(generation=self.generation)
        if not timed:
            yield set()
            return
        names = {fact.subject for fact in timed}
        subjects = list(self.ledger.about(names, generation=self.generation))
        turns = [epochs(group) for group in by_subject(subjects)]
        mine = {fact.id for fact in subjects}
        for turn in range(max(map(len, turns), default=1)):
            yield mine - {fact.id for one in turns for fact in one[min(turn, len(one) - 1)]}

    def _save(self, bank: Bank, report: BuildReport, anchor: tuple[int, str]) -> None:
        build = {
            "recipe": self.recipe,
            "gamma": self.settings.gamma,
            "facts": report.facts,
            "seconds": report.seconds,
            "threads": torch.get_num_threads(),
            "search": give_index(self.ws, bank),
            "audit": anchor,
        }
        save_bank(
            bank,
            self.ws.banks,
            fingerprint=self.ws.fingerprint,
            model=self.ws.settings.model,
            layer=self.settings.layer,
            build=build,
            failed=report.failed,
        )

    def _report(
        self, rows: int, written: Sequence[Fact], seconds: float, failed: dict[str, str]
    ) -> BuildReport:
        return BuildReport(
            rows=rows,
            facts=len(written),
            seconds=round(seconds, 3),
            facts_per_second=round(len(written) / max(seconds, 1e-9), 3) if written else 0.0,
            failed=[{"id": fact_id, "fault": fault} for fact_id, fault in sorted(failed.items())],
            generation=self.generation,
        )
