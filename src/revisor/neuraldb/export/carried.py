"""A causal model that carries its facts: what `revisor export --hf` gives a model's own class.

What comes in: a folder, or a hub id, with a model's weights, its config and a bank. What goes out:
that model with the gate attached for good. What it does not do: write such a folder
(life/exported.py), or follow facts in time; the bank holds what held when it was written.

This file and what it uses become the one file `modeling_revisor.py` of an export, which runs
without revisor (life/bundle.py). So there is one gate, wherever it runs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from revisor.models.spec import Spec
from revisor.neuraldb.bank.storage import ENCODER, INDEX, ROWS, read_view
from revisor.neuraldb.gate.attach import Gated, attach
from revisor.neuraldb.gate.watch import Watch

BANK = "bank"  # the folder of the bank's files
_WHERE = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
)


class CarriesFacts:
    """Mixed into a model's class, before it. `config.revisor` says what the bank is and where.

    Attributes:
        facts: the handle on the gate: `facts.enabled`, `with facts.disabled()`.
    """

    facts: Gated | None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self.facts = None
        self._bank_files: dict[str, Path] = {}
        self._attached = ExitStack()
        # Without its facts the model shall not answer at all.
        self._attached.enter_context(_refusing(self))

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:
        """As of transformers, with the facts.

        Raises:
            RuntimeError: a file of the bank is missing or was changed.
        """
        found = super().from_pretrained(name, *args, **kwargs)  # type: ignore[misc]
        model = found[0] if isinstance(found, tuple) else found
        where = {key: kwargs[key] for key in _WHERE if key in kwargs}
        model._take_facts(name, where)
        return found

    def save_pretrained(self, folder: Any, *args: Any, **kwargs: Any) -> None:
        """As of transformers, with the facts."""
        super().save_pretrained(folder, *args, **kwargs)  # type: ignore[misc]
        (Path(folder) / BANK).mkdir(exist_ok=True)
        for name, file in self._bank_files.items():
            (Path(folder) / BANK / name).write_bytes(file.read_bytes())

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Collect which rows fire, for the length of a block; a block for each `generate`."""
        assert self.facts is not None
        before, watch = self.facts.watch, Watch()
        self.facts.watch = watch
        try:
            yield watch
        finally:
            self.facts.watch = before

    def _take_facts(self, name: Any, where: dict[str, Any]) -> None:
        said: dict[str, Any] = self.config.revisor  # type: ignore[attr-defined]
        for file, expected in said["bank"].items():
            path = Path(cached_file(name, f"{BANK}/{file}", **where))
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != expected:
                raise RuntimeError(f"{path} was changed: its sha256 is not that of config.json.")
            self._bank_files[file] = path
        view = read_view(
            self._bank_files[ROWS],
            self._bank_files[ENCODER],
            generation=said["generation"],
            index=self._bank_files.get(INDEX),
        )
        until = said["holds_until"]
        if until is not None and datetime.now(UTC) >= datetime.fromisoformat(until):
            warnings.warn(f"Some of these facts held until {until} only.", stacklevel=3)
        spec = Spec(
            layers=self.get_submodule(said["layers_path"]),  # type: ignore[attr-defined]
            projection=said["projection_path"],
            output=said["output_path"],
            key_width=said["key_width"],
            hidden_width=said["hidden_width"],
        )
        self._attached.close()
        attached = attach(self, spec, said["layer"], view)  # type: ignore[arg-type]
        self.facts = self._attached.enter_context(attached)


@contextmanager
def _refusing(model: Any) -> Iterator[None]:
    def refuse(_module: Any, _args: Any) -> None:
        raise RuntimeError(
            "This model has not got its facts yet: open it with from_pretrained, not from_config."
        )

    handle = model.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()
