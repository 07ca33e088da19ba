"""What a gate did: hits by text position, with cosine and margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from revisor.neuraldb.gate.match import Hits


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One row, with the fact's id, that fired at a token of its sequence, padding not counted."""

    row_id: str
    position: int
    cosine: float
    threshold: float


@dataclass
class Watch:
    """Collects hits over the forward calls of one generation, in `log` by sequence of the batch and
    in text order; `ids` are the attached view's row ids."""

    ids: Sequence[str] = ()
    log: list[list[Hit]] = field(default_factory=list)
    _padding: torch.Tensor | None = None
    _columns: int = 0

    def begin(self, mask_BT: torch.Tensor) -> None:
        """Start a batch whose prompts are padded as the mask says (left or right)."""
        self.log = [[] for _ in range(len(mask_BT))]
        self._padding = mask_BT.cpu() == 0
        self._columns = 0

    def see(self, hits: Hits, shape: tuple[int, ...]) -> None:
        """Record the hits of one call over the next (B, S) tokens; the shape is (B * S,) in a
        family that flattens its batch before the FFN (OPT), with B as of `begin`."""
        batch = shape[0] if len(shape) == 2 else max(1, len(self.log))
        span = shape[1] if len(shape) == 2 else shape[0] // batch
        if len(self.log) != batch:
            self.begin(torch.ones(batch, span))
        start, self._columns = self._columns, self._columns + span
        where = hits.fired().tolist()
        if not where:
            return
        rows = hits.row_T.tolist()
        cosines, gammas = hits.cosine_T.tolist(), hits.gamma_T.tolist()
        for flat in where:
            sequence, column = flat // span, start + flat % span
            if self._is_padding(sequence, column):
                continue
            self.log[sequence].append(
                Hit(
                    row_id=self.ids[rows[flat]],
                    position=column - self._padded_before(sequence, column),
                    cosine=cosines[flat],
                    threshold=gammas[flat],
                )
            )

    def _is_padding(self, sequence: int, column: int) -> bool:
        padding = self._padding
        return padding is not None and column < padding.shape[1] and bool(padding[sequence, column])

    def _padded_before(self, sequence: int, column: int) -> int:
        return 0 if self._padding is None else int(self._padding[sequence, :column].sum())
