"""A causal model that carries its facts: what an exported folder gives a model's own class.

This module and those that it imports are the code in the folder, where there is no revisor. So
there is one gate, wherever it runs.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from revisor.engines.bindings import BINDINGS, Binding
from revisor.engines.methods import class_with_facts
from revisor.gate.functional import read_probe
from revisor.gate.gate import FactGate
from revisor.gate.trace import Trace
from revisor.index.basefile import NAME, contents
from revisor.index.view import View
from revisor.models.carried import checked_files, refuse, where_of
from revisor.question.by_language import ENGLISH, LANGUAGES, ByLanguage

__all__ = ["CarriesFacts", "Facts", "class_with_facts"]

GATE = "gate"  # the folder of the files that follow
INDEX = NAME
ENCODERS = (ENGLISH, LANGUAGES)
PROBE = "probe.safetensors"
_NOT_KEPT = ("force_download", "proxies", "token")  # of where files are


class Facts:
    """The facts of one model, and the gate that writes them.

    Args:
        name: the model's folder, or its name on the hub.
        entry: what its config tells as `revisor`.
        where: arguments of `from_pretrained` that tell where files are.

    Attributes:
        gate: what decides and writes.
        files: what it was read from, by name.

    Raises:
        RuntimeError, StoreDamaged: a file is damaged, or was changed.
        OSError: a file is missing.
    """

    def __init__(self, name: str, entry: Mapping[str, Any], where: Mapping[str, Any]) -> None:
        self._origin = name, entry, where
        self.files = checked_files(name, GATE, entry["gate"], where)
        view = View.of(contents(self.files[INDEX].parent))
        encoder = ByLanguage(lambda name: self.files[name].open("rb"))
        probe = None
        if PROBE in self.files:
            probe = read_probe(self.files[PROBE])
            if probe is None:
                raise RuntimeError(f"{self.files[PROBE]} cannot be read. Export the model again.")
        self.gate = FactGate(
            view=lambda: view,
            tokenizer=PreTrainedTokenizerFast.from_pretrained(name, **where),
            encoder=encoder,
            probe=probe,
            threshold=entry["threshold"],
        )
        self._bindings: list[Binding] = []

    def bind(self, model: Any, *, trace: Trace | None = None, thread: int | None = None) -> Binding:
        """Have a model write the facts from now on.

        Args:
            trace: receives the decisions.
            thread: identity of the only thread for whose calls that is.
        """
        enabled = all(one.enabled for one in self._bindings)
        binding = Binding(gate=self.gate, trace=trace, thread=thread, enabled=enabled)
        BINDINGS.add(model, binding, first=_nothing)
        self._bindings.append(binding)
        return binding

    def release(self, model: Any, binding: Binding) -> None:
        """Undo a `bind`."""
        BINDINGS.remove(model, binding, last=_nothing)
        self._bindings.remove(binding)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The model by itself for the length of a block; for calls that begin in it."""
        found = [one for one in self._bindings if one.enabled]
        for one in found:
            one.enabled = False
        try:
            yield
        finally:
            for one in found:
                one.enabled = True

    def __deepcopy__(self, memo: Any) -> Facts:
        """For a copy of the model; what is read only is shared."""
        copy = object.__new__(Facts)
        copy.__dict__.update(self.__dict__, _bindings=[])
        return copy

    def __reduce__(self) -> Any:
        name, entry, where = self._origin
        kept = {key: value for key, value in where.items() if key not in _NOT_KEPT}
        return Facts, (name, entry, kept)


def _nothing() -> None:
    """The model's class writes facts from the beginning."""


class CarriesFacts:
    """Mixed into a class that writes facts, before it. `config.revisor` says what is where.

    Attributes:
        facts: its facts; None before they are there, and then it refuses to answer.
    """

    facts: Facts | None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        self.facts = None
        self._refusal = refuse(self)

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Any:
        """As of transformers, with the facts.

        Raises:
            RuntimeError, StoreDamaged: a file of the facts is damaged, or was changed.
            OSError: a file is missing.
        """
        found = super().from_pretrained(name, *args, **kwargs)  # type: ignore[misc]
        model = found[0] if isinstance(found, tuple) else found
        if name is not None:
            model.facts = Facts(str(name), model.config.revisor, where_of(kwargs))
            model._refusal.remove()
            model.facts.bind(model)
        return found

    def save_pretrained(self, folder: Any, *args: Any, **kwargs: Any) -> None:
        """As of transformers, with the facts and the tokenizer.

        Raises:
            RuntimeError: the facts are not there yet.
        """
        if self.facts is None:
            raise RuntimeError("This model has not got its facts yet, so it cannot be saved.")
        super().save_pretrained(folder, *args, **kwargs)  # type: ignore[misc]
        place = Path(folder) / GATE
        place.mkdir(exist_ok=True)
        for name, file in self.facts.files.items():
            if not (place / name).exists() or not file.samefile(place / name):
                shutil.copyfile(file, place / name)
        self.facts.gate.tokenizer.save_pretrained(folder)

    @contextmanager
    def traced(self) -> Iterator[Trace]:
        """Collect which facts are written, for the length of a block; a block for each `generate`.

        It sees the calls of its own thread.
        """
        assert self.facts is not None
        trace = Trace()
        binding = self.facts.bind(self, trace=trace, thread=threading.get_ident())
        try:
            yield trace
        finally:
            self.facts.release(self, binding)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies have the facts, too."""
        return object.__reduce_ex__(self, protocol)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if self.facts is not None:
            self.facts.bind(self)
