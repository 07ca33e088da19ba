"""A causal model that carries its bank: what an exported folder adds to a model's own class.

This module and those that it imports are the code in the folder, where there is no revisor. So
there is one gate, wherever it runs. Validity does not count there: the bank holds what held when it
was written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revisor.models.carried import checked_files, refuse, where_of
from revisor.models.spec import Spec
from revisor.neuraldb.bank.search import read_index
from revisor.neuraldb.bank.storage import INDEX, ROWS, read_rows
from revisor.neuraldb.gate.attach import Gated, attach
from revisor.neuraldb.gate.watch import Watch

BANK = "bank"  # the folder of the bank's files


class CarriesFacts:
    """Mixed into a model's class, before it; `config.revisor` says what the bank is and where.

    `facts` is the handle on the gate: `facts.enabled`, `with facts.disabled()`.
    """

    facts: Gated | None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self.facts = None
        self._bank_files: dict[str, Path] = {}
        self._attached = ExitStack()
        # Without its facts the model shall not answer at all.
        self._attached.callback(refuse(self).remove)

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:
        """As of transformers, with the facts.

        Raises:
            RuntimeError: a file of the bank is missing or was changed.
        """
        found = super().from_pretrained(name, *args, **kwargs)  # type: ignore[misc]
        model = found[0] if isinstance(found, tuple) else found
        model._take_facts(name, where_of(kwargs))
        return found

    def save_pretrained(self, folder: Any, *args: Any, **kwargs: Any) -> None:
        """As of transformers, with the facts."""
        super().save_pretrained(folder, *args, **kwargs)  # type: ignore[misc]
        (Path(folder) / BANK).mkdir(exist_ok=True)
        for name, file in self._bank_files.items():
            (Path(folder) / BANK / name).write_bytes(file.read_bytes())

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Collect which rows fire, for the length of a block; one block for each `generate`."""
        assert self.facts is not None
        before, watch = self.facts.watch, Watch()
        self.facts.watch = watch
        try:
            yield watch
        finally:
            self.facts.watch = before

    def _take_facts(self, name: Any, where: dict[str, Any]) -> None:
        gate: dict[str, Any] = self.config.revisor  # type: ignore[attr-defined]
        self._bank_files = checked_files(name, BANK, gate["bank"], where)
        view, _ = read_rows(self._bank_files[ROWS])
        if INDEX in self._bank_files:
            index = read_index(self._bank_files[INDEX], view.keys_ME)
            view = replace(view, coarse=index)
        until = gate["holds_until"]
        if until is not None and datetime.now(UTC) >= datetime.fromisoformat(until):
            warnings.warn(f"Some of these facts held until {until} only.", stacklevel=3)
        spec = Spec(
            layers=self.get_submodule(gate["layers_path"]),  # type: ignore[attr-defined]
            projection=gate["projection_path"],
            output=gate["output_path"],
            key_width=gate["key_width"],
            hidden_width=gate["hidden_width"],
        )
        self._attached.close()
        attached = attach(spec, gate["layer"], view)
        self.facts = self._attached.enter_context(attached)
