"""A gate for a batch whose rows have facts of their own: one view a row, or none.

What comes in: a model and, before each forward pass, the view of every row of the batch. What goes
out: each row's output edited by its own view only, and what the gate decided in each row. What it
does not do: know requests or facts (serve/ does), or pad: every token of the batch is looked at.

A row without a view, and a row where nothing fires, keeps the FFN's output bit for bit.
B rows, S tokens a row in this pass, F key width, D hidden width.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from revisor.models.hooks import ffn_rewritten
from revisor.models.spec import Spec
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.gate.module import MISS, Hits, match, residuals

NEAR = 0.05  # a cosine this little below its threshold is a near miss


@dataclass(frozen=True, kw_only=True)
class RowHit:
    """One decision of the gate that is worth telling: a hit, or a near miss.

    Attributes:
        row: of the batch.
        column: token of this pass in that row.
        row_id: of the bank's row that fired; None for a near miss.
        cosine, threshold: the match; their difference is the margin.
    """

    row: int
    column: int
    row_id: str | None
    cosine: float
    threshold: float


@dataclass
class RowGate:
    """The gate of a model that serves many at once.

    Attributes:
        views: one a row, for the model's device and dtype (`View.to`); None for the unedited
            model.
        ids_BT: the texts whose last tokens are those of the pass, `NOTHING` before they begin.
        found: hits and near misses of the pass that runs.
        seconds: time spent in the gate so far (on a GPU: the time to queue its kernels).
    """

    views: Sequence[View | None] = ()
    ids_BT: torch.Tensor | None = None
    found: list[RowHit] = field(default_factory=list)
    seconds: float = 0.0

    @contextmanager
    def rows(
        self, views: Sequence[View | None], ids_BT: torch.Tensor | None = None
    ) -> Iterator[list[RowHit]]:
        """Say what the rows of the pass in this block have; its hits and near misses come out.

        Outside of such a block the gate touches nothing.

        Args:
            views: one a row.
            ids_BT: the texts so far; only views that go by names need them.
        """
        self.views, self.ids_BT, self.found = views, ids_BT, []
        try:
            yield self.found
        finally:
            self.views, self.ids_BT = (), None

    def rewrite(self, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """The FFN's output with the residuals of every row's own view."""
        groups = self._groups()
        if not groups:
            return value
        began = time.perf_counter()
        rows_all = len(self.views)
        key_BSF = key.reshape(rows_all, -1, key.shape[-1])
        value_BSD = value.reshape(rows_all, -1, value.shape[-1])
        edited_BSD = value_BSD
        for view, rows in groups:
            whole = len(rows) == rows_all
            k_TF = (key_BSF if whole else key_BSF[rows]).reshape(-1, key.shape[-1])
            ids_BT = None if self.ids_BT is None else self.ids_BT[rows]
            hits = match(k_TF, view, ids_BT)
            self._note(hits, view, rows, span=key_BSF.shape[1])
            token_H = hits.fired()
            if not len(token_H):
                continue
            delta_HD = residuals(hits, view, token_H).to(value.dtype)
            flat_TD = edited_BSD[rows].reshape(-1, value.shape[-1])
            edited_TD = flat_TD.index_add(0, token_H.to(value.device), delta_HD)
            edited_BSD = edited_BSD.clone() if edited_BSD is value_BSD else edited_BSD
            edited_BSD[rows] = edited_TD.view(len(rows), -1, value.shape[-1])
        self.seconds += time.perf_counter() - began
        return edited_BSD.view_as(value)

    def _groups(self) -> list[tuple[View, list[int]]]:
        """The rows of each view that holds anything."""
        groups: dict[int, tuple[View, list[int]]] = {}
        for row, view in enumerate(self.views):
            if view is not None and not view.empty:
                groups.setdefault(id(view), (view, []))[1].append(row)
        return list(groups.values())

    def _note(self, hits: Hits, view: View, rows: list[int], *, span: int) -> None:
        """Keep what is worth telling."""
        if not hits.compared:
            return
        worth_T = hits.cosine_T > hits.gamma_T - NEAR
        for flat in worth_T.nonzero().squeeze(1).tolist():
            index = int(hits.row_T[flat])
            self.found.append(
                RowHit(
                    row=rows[flat // span],
                    column=flat % span,
                    row_id=None if index == MISS else view.ids[index],
                    cosine=float(hits.cosine_T[flat]),
                    threshold=float(hits.gamma_T[flat]),
                )
            )


@contextmanager
def attach_rows(model: nn.Module, spec: Spec, layer: int) -> Iterator[RowGate]:
    """Give a model a gate by rows for the length of a block.

    Raises:
        UsageError: the model has no such layer.
    """
    found = RowGate()
    with ffn_rewritten(spec, layer, found.rewrite):
        yield found
