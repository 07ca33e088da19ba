"""The gate at a model's output: rows of tokens and logits in, logits with the facts written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from revisor.gate.decide import NORMAL, Facts
from revisor.gate.row import Action, Row
from revisor.gate.tokens import Tokens
from revisor.gate.trace import Trace
from revisor.question.encoder import QuestionEncoder

if TYPE_CHECKING:
    from revisor.gate.probe import Probe

MARGIN = 30.0  # by which a written token's logit exceeds all others where scores stay finite


@dataclass(frozen=True, kw_only=True)
class FactGate:
    """What a model needs to answer with facts. Immutable; may be shared by threads.

    Attributes:
        view: gives the facts in force.
        tokenizer: the model's.
        encoder: compares questions.
        probe: tells from logits where an answer is due; None to go by the text alone.
        threshold: least score of a decision, 0..1.
    """

    view: Callable[[], Facts]
    tokenizer: Any
    encoder: QuestionEncoder
    probe: Probe | None = None
    threshold: float = NORMAL

    def batch(self, *, trace: Trace | None = None) -> BatchGate:
        """State for some sequences that are generated together, with the facts in force now."""
        return BatchGate(self, self.view(), trace)


class BatchGate:
    """Writes facts into the logits of some sequences; not to be shared by threads.

    Args:
        gate: what it is of.
        facts: those in force from now on.
        trace: collects the facts used, by row.
    """

    def __init__(self, gate: FactGate, facts: Facts, trace: Trace | None) -> None:
        self._gate, self._facts, self._trace = gate, facts, trace
        self._tokens = Tokens.of(gate.tokenizer)
        self._rows: list[Row] = []
        self._seen: torch.Tensor | None = None

    def step(
        self,
        ids_BT: torch.Tensor,
        logits_BV: torch.Tensor,
        *,
        pad: int | None = None,
        final: bool = True,
    ) -> torch.Tensor:
        """The logits of the next token with facts written.

        Rows may come in another order, doubled, shortened or new: what happens depends on their
        tokens alone.

        Args:
            ids_BT: all tokens of each row so far.
            logits_BV: the model's own, or their log-softmax.
            pad: tokens of this id before a row's first other one are left out.
            final: every other token gets -inf; else the written one gets the most and `MARGIN`.

        Returns:
            `logits_BV` itself where nothing is written, else a copy whose other rows are equal
            bit for bit.
        """
        if not self._facts.longest or not ids_BT.shape[0]:
            return logits_BV
        self._sync(ids_BT, pad)
        due_B = self._due(logits_BV)
        actions = [
            (number, row.action(due=due))
            for number, (row, due) in enumerate(zip(self._rows, due_B, strict=True))
        ]
        return self._written(logits_BV, [(b, a) for b, a in actions if a is not None], final)

    def score(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor | None, logits_BTV: torch.Tensor
    ) -> torch.Tensor:
        """The logits of every position of whole sequences with facts written, in finite scores.

        Args:
            ids_BT: all tokens, from the first.
            mask_BT: which of them count; None for all.
            logits_BTV: of the last positions of `ids_BT`, or of all.
        """
        if not self._facts.longest:
            return logits_BTV
        kept = logits_BTV.shape[1]
        first = ids_BT.shape[1] - kept
        flat = logits_BTV.reshape(-1, logits_BTV.shape[-1])
        due = self._due(flat)
        found: list[tuple[int, Action]] = []
        ids_lists = ids_BT.tolist()
        masks = mask_BT.tolist() if mask_BT is not None else [[1] * ids_BT.shape[1]] * len(ids_BT)
        self._rows = []
        for number, (ids, mask) in enumerate(zip(ids_lists, masks, strict=True)):
            row = self._row()
            self._rows.append(row)
            for column, (token, counts) in enumerate(zip(ids, mask, strict=True)):
                if not counts:
                    continue
                row.read([token])
                if column < first:
                    continue
                place = number * kept + column - first
                action = row.action(due=due[place])
                if action is not None:
                    found.append((place, action))
        self._seen = None
        written = self._written(flat, found, False, kept)
        return logits_BTV if written is flat else written.reshape(logits_BTV.shape)

    def _row(self) -> Row:
        gate = self._gate
        return Row(self._tokens, self._facts, gate.encoder, gate.threshold)

    def _due(self, logits_BV: torch.Tensor) -> list[bool]:
        if self._gate.probe is None:
            return [False] * len(logits_BV)
        due: list[bool] = self._gate.probe.is_due(logits_BV).tolist()
        return due

    def _written(
        self,
        logits_BV: torch.Tensor,
        actions: Sequence[tuple[int, Action]],
        final: bool,
        positions: int = 1,
    ) -> torch.Tensor:
        if not actions:
            return logits_BV
        out_BV = logits_BV.clone()
        for place, action in actions:
            if action.token is None:
                held_V = self._tokens.carrying(out_BV.shape[-1], out_BV.device)
                out_BV[place] = out_BV[place].masked_fill(held_V, -torch.inf)
                continue
            if final:
                out_BV[place] = -torch.inf
                out_BV[place, action.token] = 0.0
            else:
                out_BV[place, action.token] = out_BV[place].max() + MARGIN
            if self._trace is not None:
                self._trace.note(place // positions, action.decision, action.begin)
        return out_BV

    # Keeping up with the tokens

    def _sync(self, ids_BT: torch.Tensor, pad: int | None) -> None:
        """Have a row for each sequence that has read just its tokens."""
        seen = self._seen
        self._seen = ids_BT
        if (
            seen is not None
            and seen.shape[0] == ids_BT.shape[0]
            and seen.shape[1] + 1 == ids_BT.shape[1]
            and torch.equal(seen, ids_BT[:, :-1])
        ):
            for row, token in zip(self._rows, ids_BT[:, -1].tolist(), strict=True):
                if row.ids or token != pad:
                    row.read([token])
            return
        wanted = [_unpadded(ids, pad) for ids in ids_BT.tolist()]
        before = self._rows
        rows = []
        for number, ids in enumerate(wanted):
            place = _nearest(before, number, ids)
            if place is None:
                row = self._row()
            else:
                row = before[place].fork()
                row.crop(_common(row.ids, ids))
            rows.append(row)
        self._rows = rows
        for row, ids in zip(rows, wanted, strict=True):
            row.read(ids[len(row.ids) :])


def _unpadded(ids: list[int], pad: int | None) -> list[int]:
    first = next((place for place, token in enumerate(ids) if token != pad), len(ids))
    return ids[first:]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(place for place in range(shorter) if one[place] != other[place])


def _nearest(rows: Sequence[Row], number: int, ids: Sequence[int]) -> int | None:
    """The row that has read the most of a sequence, the one at its own place if it has all."""
    if number < len(rows) and rows[number].ids == list(ids[: len(rows[number].ids)]):
        return number
    lengths = [_common(row.ids, ids) for row in rows]
    return max(range(len(rows)), key=lengths.__getitem__) if rows and max(lengths) else None
