"""Shards: the facts of a build cut into pieces, and the rows of one piece made.

What comes in: facts, each subject's together. What goes out: shards, and for a shard its rows. What
it does not do: choose who makes which (workers.py), or write anything (partial.py).

A row's last bits depend on the batch it was optimised in. So the cut depends on the facts alone,
never on how many workers there are or on what a killed build had done, and a shard's batches are
composed in one place, here.

Who makes rows asks them through a gate over these rows alone, and repairs those that do not answer:
nearly all that a build has to repair is found there. The build asks those once more whose prompts
name a row of another subject (life/build.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import revisor
from revisor.neuraldb.bank.bank import Row
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.editing.build import BuildSettings, build_rows, empty_bank, row_facts
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.check import check_rows, crossed_rows
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.relations import Relations
from revisor.errors import WrongModel
from revisor.facts.epochs import epochs
from revisor.facts.fact import PLACEHOLDER, Fact, normal_form
from revisor.models.load import LoadedModel, fingerprint, load_model
from revisor.models.spec import Spec, spec_of

SHARD = 128  # facts whose rows are written before the next are begun


def digest_of(value: Any) -> str:
    """16 hex digits that name a value by its content."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some subjects.

    Attributes:
        groups: the facts of each subject, by a digest of what its rows are made from.
    """

    groups: Mapping[str, Sequence[Fact]]

    @property
    def facts(self) -> int:
        """How many facts it has."""
        return sum(map(len, self.groups.values()))

    def without(self, names: Collection[str]) -> Shard:
        """The subjects whose digests are not among these."""
        return Shard(groups={name: g for name, g in self.groups.items() if name not in names})


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a shard.

    Attributes:
        rows: of each subject, by its digest.
        steps: optimisation steps, summed over its facts.
        answering: ids of rows that answer through a gate, where no other subject's row of the shard
            may have had a say in it.
    """

    rows: Mapping[str, Sequence[Row]]
    steps: float
    answering: frozenset[str] = frozenset()

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes a tensor is shared memory, which ends with its process; arrays are not.
        arrays = {
            name: [
                (row.row_id, *(_array(x) for x in (row.keys_CE, row.gamma_C, row.r_D, row.names_H)),
                 row.after)
                for row in rows
            ]
            for name, rows in self.rows.items()
        }  # fmt: skip
        return _made, (arrays, self.steps, self.answering)


def _array(tensor: torch.Tensor) -> Any:
    return tensor.cpu().numpy()


def _made(
    arrays: Mapping[str, Sequence[tuple[Any, ...]]], steps: float, answering: frozenset[str]
) -> Made:
    def row(row_id: str, keys: Any, gamma: Any, r: Any, names: Any, after: bool) -> Row:
        return Row(
            row_id=row_id,
            keys_CE=torch.tensor(keys),
            gamma_C=torch.tensor(gamma),
            r_D=torch.tensor(r),
            names_H=torch.tensor(names),
            after=after,
        )

    rows = {name: [row(*fields) for fields in group] for name, group in arrays.items()}
    return Made(rows=rows, steps=steps, answering=answering)


def by_subject(facts: Sequence[Fact]) -> list[list[Fact]]:
    """The facts of each subject, in the order given."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(normal_form(fact.subject), []).append(fact)
    return list(groups.values())


def cut(groups: Mapping[str, Sequence[Fact]]) -> list[Shard]:
    """Shards of about `SHARD` facts that never part the facts of one subject.

    They are the same in whatever order the subjects come. What is of one length goes together,
    which saves padding, and the longest goes first, so that no worker is left alone with it.
    """
    shards: list[Shard] = []
    part: dict[str, Sequence[Fact]] = {}
    count = 0
    for name in sorted(groups, key=lambda name: (-max(map(_length, groups[name])), name)):
        group = groups[name]
        if part and count + len(group) > SHARD:
            shards.append(Shard(groups=part))
            part, count = {}, 0
        part[name] = group
        count += len(group)
    return [*shards, Shard(groups=part)] if part else shards


def _length(fact: Fact) -> int:
    """Characters from the subject's end on, which is about what its optimisation costs."""
    return len(fact.prompt.rpartition(PLACEHOLDER)[2]) + len(fact.object)


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker must know to make rows as any other does.

    Attributes:
        model, dtype, device, layers_path, projection_path: as in `StoreSettings`.
        fingerprint: of the model that it must be.
        calibration: measured once, by who gives out the work.
        settings: of the build.
        exact: each subject in a batch of its own.
        threads: of each worker; rounding depends on them.
        version: of revisor.
    """

    model: str
    dtype: str
    device: str
    fingerprint: str
    calibration: Calibration
    settings: BuildSettings
    exact: bool
    threads: int
    layers_path: str | None = None
    projection_path: str | None = None
    version: str = revisor.__version__

    def __reduce__(self) -> tuple[Any, ...]:
        calibration = self.calibration
        whole = {**vars(self), "calibration": {**vars(calibration)}}
        tensors = calibration.encoder.tensors()
        whole["calibration"]["encoder"] = {name: _array(x) for name, x in tensors.items()}
        if calibration.relations is not None:
            heard = vars(calibration.relations)
            whole["calibration"]["relations"] = {name: _array(x) for name, x in heard.items()}
        if calibration.kind_V is not None:
            whole["calibration"]["kind_V"] = _array(calibration.kind_V)
        return _job, (whole,)


def _job(whole: dict[str, Any]) -> Job:
    known = dict(whole["calibration"])
    known["encoder"] = KeyEncoder.of({n: torch.tensor(x) for n, x in known["encoder"].items()})
    if known["relations"] is not None:
        heard = {name: torch.tensor(x) for name, x in known["relations"].items()}
        known["relations"] = Relations(**heard)
    if known["kind_V"] is not None:
        known["kind_V"] = torch.tensor(known["kind_V"])
    return Job(**{**whole, "calibration": Calibration(**known)})


class Maker:
    """Makes the rows of shards, with a model that is open.

    Args:
        loaded, spec: the model.
        calibration: of that model.
        settings: of the build.
        exact: each subject in a batch of its own.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: Spec,
        calibration: Calibration,
        settings: BuildSettings,
        *,
        exact: bool,
    ) -> None:
        self.loaded = loaded
        self.spec = spec
        self.calibration = calibration
        self.settings = settings
        self.exact = exact
        self.heads = Heads(loaded.model, spec)

    @classmethod
    def of(cls, job: Job, *, device: str | None = None) -> Maker:
        """Open the model of a job.

        Args:
            device: in place of the job's, such as one of several GPUs.

        Raises:
            WrongModel: what is found here by its name is another model.
            ModelUnavailable: nothing is.
        """
        torch.set_num_threads(job.threads)
        loaded = load_model(job.model, dtype=job.dtype, device=device or job.device)
        found = fingerprint(loaded, layer=job.settings.layer)
        if found != job.fingerprint:
            raise WrongModel(
                f"A worker found another model under the name '{job.model}': its fingerprint is "
                f"{found}, not {job.fingerprint}.",
                "Give every machine the same model folder.",
            )
        spec = spec_of(
            loaded.model, layers_path=job.layers_path, projection_path=job.projection_path
        )
        return cls(loaded, spec, job.calibration, job.settings, exact=job.exact)

    def _repaired(
        self, rows: Sequence[Row], facts: Sequence[Fact]
    ) -> tuple[Sequence[Row], set[str]]:
        """Rows that hold together, repaired where they do not answer with nothing else in force,
        and the ids of those that answer.

        What cannot be repaired stays as it was made. In an exact store a row may depend on its own
        subject alone; there only the build's check asks and repairs, whose work is kept apart.
        """
        if self.exact:
            return rows, set()
        bank = empty_bank(self.spec, self.calibration, self.settings)
        for row in rows:
            bank.put(row, 1)
        known = {fact.id: fact for fact in facts}
        ids = [row.row_id for row in rows]
        failures = check_rows(self.loaded, self.spec, bank, known, ids, self.settings, 1)
        failed = {failure.fact_id for failure in failures}
        answering = {row_id for row_id in ids if failed.isdisjoint(row_facts(row_id))}
        # A row that answered beside another subject's may be used again in a bank without it.
        answering -= crossed_rows(self.loaded, bank, known, ids, self.settings)
        return [bank.get(row.row_id) if row.row_id in bank else row for row in rows], answering

    def rows(self, shard: Shard, on_done: Callable[[int], None] | None = None) -> Made:
        """The rows of a shard.

        Args:
            on_done: told how many more of its facts are written.
        """
        made: dict[str, dict[str, Row]] = {name: {} for name in shard.groups}
        turns = {name: epochs(group) for name, group in shard.groups.items()}
        owner = {fact.id: name for name, group in shard.groups.items() for fact in group}
        # A row is one thing at all times: found at the name, or where its question ends.
        crowded = {
            normal_form(group[0].subject)
            for name, group in shard.groups.items()
            if any(len(holding) > 1 for holding in turns[name])
        }
        answering: set[str] = set()
        steps, told, first = 0.0, 0, True

        def tell(count: int) -> None:
            nonlocal told
            told += count
            if on_done:
                on_done(count)

        while any(turns.values()):
            now: list[list[Fact]] = []
            for name, left in turns.items():
                holding = left.pop(0) if left else ()
                ids = {fact.id for fact in holding}
                served = {
                    i for row_id in made[name] if set(row_facts(row_id)) <= ids
                    for i in row_facts(row_id)
                }  # fmt: skip
                if ids - served:
                    now.append(list(holding))
            # In a batch the rounding of one fact depends on the others.
            batches = now if self.exact else [[fact for group in now for fact in group]]
            for batch in filter(None, batches):
                built = build_rows(
                    self.loaded, self.spec, self.calibration, batch, self.settings,
                    crowded=crowded, heads=self.heads, on_done=tell if first else None,
                )  # fmt: skip
                steps += built.steps * len(batch)
                rows, right = self._repaired(built.rows, batch)
                answering |= right
                for row in rows:
                    made[owner[row_facts(row.row_id)[0]]].setdefault(row.row_id, row)
            first = False
        tell(shard.facts - told)  # facts that share a row, or hold later only
        return Made(
            rows={name: list(rows.values()) for name, rows in made.items()},
            steps=steps,
            answering=frozenset(answering),
        )
