"""Shards: the facts of a build cut into pieces, and the rows of one piece made.

A row's last bits depend on the batch it was optimised in. So the cut depends on the facts alone,
never on how many workers there are or on what a killed build had done, and a shard's batches are
composed in one place, here.

Workers ask their rows through a gate over these rows alone, and repair those that do not answer:
nearly all repairs are found there, by all workers at once. The build asks every row once more with
the whole bank in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import revisor
from revisor.errors import WrongModel
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.models.load import LoadedModel, fingerprint, load_model
from revisor.models.spec import Spec, spec_of
from revisor.neuraldb.bank.bank import Row
from revisor.neuraldb.editing.check import check_rows
from revisor.neuraldb.editing.rows import build_rows, empty_bank
from revisor.neuraldb.editing.settings import BuildSettings

SHARD = 128  # facts whose rows are written before the next are begun


def digest_of(value: Any) -> str:
    """16 hex digits that name a value by its content."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Facts, and rows, by a digest of what the rows are made from.
Shard = Mapping[str, Fact]
Rows = Mapping[str, Row]


def cut(facts: Shard) -> list[Shard]:
    """Shards of `SHARD` facts, whatever their order: of similar length, which saves padding, and
    the longest first, so that no worker ends alone with them."""
    names = sorted(facts, key=lambda name: (-_length(facts[name]), name))
    return [
        {name: facts[name] for name in names[first : first + SHARD]}
        for first in range(0, len(names), SHARD)
    ]


def digested(facts: Iterable[Fact], recipe: str) -> Shard:
    """Facts by their digests; `recipe` names all settings that a row depends on."""
    return {digest_of([recipe, asdict(fact)]): fact for fact in facts}


def _length(fact: Fact) -> int:
    """Characters from the subject's end on, which is about what its optimisation costs."""
    return len(fact.prompt.rpartition(PLACEHOLDER)[2]) + len(fact.object)


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """All that a worker must know to make rows as any other does; rounding depends on its
    `threads`, and the model's fields are as in `NeuralDBSettings`."""

    model: str
    dtype: str
    device: str
    fingerprint: str
    settings: BuildSettings
    threads: int
    layers_path: str | None = None
    projection_path: str | None = None
    version: str = revisor.__version__


class RowBuilder:
    """Makes the rows of shards, with a model that is open."""

    def __init__(self, loaded: LoadedModel, spec: Spec, settings: BuildSettings) -> None:
        self.loaded = loaded
        self.spec = spec
        self.settings = settings

    @classmethod
    def of(cls, worker: WorkerSpec, *, device: str | None = None) -> RowBuilder:
        """Open a worker's model, on another device than the worker's if one is given.

        Raises:
            WrongModel: the model of that name here is another one.
            ModelUnavailable: there is none.
        """
        torch.set_num_threads(worker.threads)
        loaded = load_model(worker.model, dtype=worker.dtype, device=device or worker.device)
        found = fingerprint(loaded, layer=worker.settings.layer)
        if found != worker.fingerprint:
            raise WrongModel(
                f"A worker found another model under the name '{worker.model}': its fingerprint is "
                f"{found}, not {worker.fingerprint}.",
                "Give every machine the same model folder.",
            )
        spec = spec_of(
            loaded.model, layers_path=worker.layers_path, projection_path=worker.projection_path
        )
        return cls(loaded, spec, worker.settings)

    def rows(self, shard: Shard, on_done: Callable[[int], None] | None = None) -> Rows:
        """The rows of a shard; `on_done` is told how many more of its facts are written."""
        facts = list(shard.values())
        rows = build_rows(self.loaded, self.spec, facts, self.settings, on_done=on_done)
        return dict(zip(shard, self._repaired(rows, facts), strict=True))

    def _repaired(self, rows: Sequence[Row], facts: Sequence[Fact]) -> list[Row]:
        """Rows repaired where they do not answer with nothing but this shard in force.

        Timed facts are left to the build, which asks them with those that hold together with them.
        What cannot be repaired stays as it was made, and the build asks it again.
        """
        always = {fact.id: fact for fact in facts if not (fact.valid_from or fact.valid_to)}
        bank = empty_bank(self.spec)
        for row in rows:
            if row.row_id in always:
                bank.put(row)
        check_rows(self.loaded, self.spec, bank, always, list(always), self.settings)
        return [bank.get(row.row_id) if row.row_id in bank else row for row in rows]
