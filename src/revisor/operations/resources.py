"""What a store opens when it is first needed, and keeps: index, model and what goes with it."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from revisor.config import sentence_encoder
from revisor.workspace import Workspace

if TYPE_CHECKING:
    from revisor.gate.probe import Probe
    from revisor.index import FactIndex
    from revisor.models.load import LoadedModel
    from revisor.question.encoder import QuestionEncoder

# Modules that import torch are imported where they are used, so that commands on facts alone are
# quick.


class Resources:
    """A store's index, model, tokenizer, encoder and probe, each opened at its first use."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.RLock()
        self._index: FactIndex | None = None

    @property
    def index(self) -> FactIndex:
        """Where facts are looked up; it follows the ledger."""
        from revisor.index import FactIndex

        with self._lock:
            if self._index is None:
                self._index = FactIndex.open(self.workspace.ledger, self.workspace.index)
            return self._index

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model; a caller that has it open already assigns it."""
        from revisor.models.load import load_model

        settings = self.workspace.settings
        return load_model(settings.model, dtype=settings.dtype, device=settings.device)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer; the model itself is not opened for it."""
        from revisor.models.load import load_tokenizer

        if self.is_open:
            return self.loaded.tokenizer
        return load_tokenizer(self.workspace.settings.model)

    @cached_property
    def encoder(self) -> QuestionEncoder:
        """What compares questions."""
        from revisor.gate.encoders import open_encoder

        return open_encoder(sentence_encoder(self.workspace.settings.encoder))

    @cached_property
    def probe(self) -> Probe | None:
        """What tells where an answer is due; None if the store goes by the text alone."""
        return None if self.workspace.settings.probe == "off" else self._probe_for(self.loaded)

    @property
    def is_open(self) -> bool:
        """Whether the model was opened."""
        return "loaded" in self.__dict__

    def probe_of(self, model: Any, tokenizer: Any) -> Probe | None:
        """The probe of a model of the user's; the store's own without one."""
        if self.workspace.settings.probe == "off":
            return None
        if model is None or (self.is_open and model is self.loaded.model):
            return self.probe
        from revisor.models.load import left_as_it_was, wrap_model

        with left_as_it_was(model):
            own = self.tokenizer if tokenizer is None else tokenizer
            return self._probe_for(wrap_model(self.workspace.settings.model, model, own))

    def _probe_for(self, loaded: LoadedModel) -> Probe:
        """By fingerprint: the model may be another than the store was made for."""
        from revisor.gate.functional import read_probe
        from revisor.gate.probe import load_probe, probe_fingerprint, require

        found = read_probe(self.workspace.probe(probe_fingerprint(loaded)))
        if found is None:
            found = load_probe(loaded)
        require(found.figures, loaded.name)
        return found

    def erase_from_index(self) -> None:
        """Have an open index forget what was erased from the ledger."""
        if self._index is not None:
            self._index.erase()

    def close(self) -> None:
        """Let go of the index."""
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None
