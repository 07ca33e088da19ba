"""The method `neuraldb` of a store: facts are rows of a bank, which are built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.operations.method import Method, Selection

if TYPE_CHECKING:
    from revisor.gate.trace import Trace
    from revisor.neuraldb.method import BuildReport, Engine, ExportedBank
    from revisor.neuraldb.method import Workspace as BankWorkspace
    from revisor.operations.resources import Resources
    from revisor.workspace import Workspace

# Modules that import torch are imported where they are used, so that commands on facts alone are
# quick.


class WithBank(Method):
    """Facts answer once they are built, each as a row in one layer of the store's model."""

    other = "revisor"

    def __init__(self, workspace: Workspace, resources: Resources) -> None:
        super().__init__(workspace, resources)
        self._leases: list[Any] = []

    @cached_property
    def bank_workspace(self) -> BankWorkspace:
        """What the operations of the method work on."""
        from revisor.neuraldb.method import NeuralDBSettings
        from revisor.neuraldb.method import Workspace as BankWorkspace

        return BankWorkspace(
            path=self.workspace.path,
            settings=NeuralDBSettings.of(self.workspace.settings),
            ledger=self.workspace.ledger,
            open_model=lambda: self.resources.loaded,
            clock=self.workspace.clock,
            note=lambda: {"settings": self.workspace.settings_digest()},
        )

    @contextmanager
    def attached(
        self, model: Any, tokenizer: Any, selection: Selection, trace: Trace | None
    ) -> Iterator[Any]:
        """A model with the bank's facts, for the length of a block."""
        from revisor.neuraldb.method import attached

        self._need_all(selection)
        if trace is not None:
            raise self.lacks("a trace")
        with attached(self.bank_workspace, model, tokenizer) as gated:
            yield gated

    def engine(self, selection: Selection) -> Engine:
        """Answers with the bank's facts; its files stay until the store is closed."""
        from revisor.neuraldb.method import engine

        self._need_all(selection)
        made, lease = engine(self.bank_workspace)
        self._leases.append(lease)
        return made

    def _need_all(self, selection: Selection) -> None:
        if not selection.is_all:
            raise self.lacks("a choice of facts by generation, namespace or time")

    def build(self, *, actor: str, workers: int | None, ray: str | None) -> BuildReport:
        """Write the rows of what changed, check them, publish a bank."""
        from revisor.neuraldb.method import WorkerOptions, build

        options = WorkerOptions(workers=workers, ray=ray)
        return build(self.bank_workspace, actor=actor, options=options)

    def stale(self) -> bool:
        """Whether facts changed since the last build."""
        from revisor.neuraldb.method import stale

        return stale(self.bank_workspace)

    def collect(self, keep: int) -> list[int]:
        """Remove old banks of every model."""
        from revisor.neuraldb.method import collect_all

        return collect_all(self.bank_workspace, keep)

    def export_model(self, folder: Path, *, actor: str) -> ExportedBank:
        """Write the model with the rows of its bank as a folder."""
        from revisor.neuraldb.method import export_model

        return export_model(self.bank_workspace, folder, actor=actor)

    def faults(self) -> list[str]:
        """What is wrong with the files of the banks."""
        from revisor.neuraldb.method import bank_faults

        return list(bank_faults(self.bank_workspace))

    def close(self) -> None:
        """Let the banks go that engines use."""
        for lease in self._leases:
            lease.close()
        self._leases.clear()
