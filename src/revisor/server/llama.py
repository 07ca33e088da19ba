"""Continuous batching on llama.cpp: the scheduler's rows are sequences of one context."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from revisor.engines.llama_model import SUFFIX, Sequences, Text, Texts, open_llama
from revisor.errors import UsageError
from revisor.models.load import LoadedModel
from revisor.models.packaged import PACKAGED, packaged_gguf
from revisor.server.batching import PROMPTS, Scheduler
from revisor.server.cache import RowsCache
from revisor.server.openai import MOST_CHOICES
from revisor.store import Store

if TYPE_CHECKING:
    from revisor.server.settings import ServeSettings

SPARE_TEXTS = 4  # for what the server asks of itself, which no crowd keeps out
SPARE_TOKENS = 1024  # for that, and for the end of a batch


class LlamaScheduler(Scheduler):
    """A `Scheduler` whose model is llama.cpp's.

    Args:
        loaded: by `open_llama`.
        max_batch, max_waiting: see `Scheduler`.
    """

    def __init__(self, loaded: LoadedModel, *, max_batch: int, max_waiting: int) -> None:
        super().__init__(loaded, max_batch=max_batch, max_waiting=max_waiting)
        model: Any = loaded.model
        self._sequences: Sequences = model.hold(
            texts=max(max_batch, MOST_CHOICES) + PROMPTS + SPARE_TEXTS,
            tokens=self.max_cached + SPARE_TOKENS,
        )
        self._cache = _Rows(self._sequences)

    def _sweep(self) -> None:
        super()._sweep()
        writing: Any = self._cache.cache
        reading = [one.cache for one in self._prompts if isinstance(one.cache, Text)]
        self._sequences.keep([*writing.rows, *reading])

    def _read(self, prompt: Any) -> None:
        if not isinstance(prompt.cache, Text):
            prompt.cache = self._sequences.new()
        super()._read(prompt)

    def _fail_all(self) -> None:
        super()._fail_all()
        self._cache = _Rows(self._sequences)


class _Rows(RowsCache):
    """The texts of the rows that decode together; llama.cpp knows their places."""

    def __init__(self, sequences: Sequences) -> None:
        self.sequences = sequences
        self.cache: Any = Texts()
        self.mask_BT = torch.zeros(0, 0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.cache.rows)

    def join(self, prompt: Any, *, copies: int = 1) -> None:
        more = [self.sequences.copy(prompt) for _ in range(copies - 1)]
        self.cache.rows += [prompt, *more]

    def grow(self) -> None:
        pass

    def keep(self, rows: Any) -> None:
        self.cache.rows = [self.cache.rows[row] for row in rows]


def llama_scheduler(
    store: Store, settings: ServeSettings, *, model: Path | None, context: int | None
) -> Scheduler:
    """A scheduler for a store whose facts a GGUF file is to answer with; the store takes it for
    its model from then on.

    Args:
        model: the file, or the name of a packaged model; without it what the store is bound to.
        context: see `open_llama`.

    Raises:
        UsageError: the store's model is no GGUF file, and no other is named.
        ModelUnavailable: the file cannot be read.
    """
    name = store.settings.model if model is None else str(model)
    file = packaged_gguf(name) if name in PACKAGED else Path(name)
    if file.suffix != SUFFIX:
        raise UsageError(
            f"llama.cpp reads GGUF files; {file} is none.",
            "Name one: revisor serve --engine llama --model FILE.gguf",
        )
    store.loaded = open_llama(file, context=context)
    return LlamaScheduler(
        store.loaded, max_batch=settings.max_batch, max_waiting=settings.max_waiting
    )
