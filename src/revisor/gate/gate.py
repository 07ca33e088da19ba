"""The gate at a model's output: rows of tokens and logits in, logits with the facts written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from revisor.errors import UsageError
from revisor.gate.decide import Facts
from revisor.gate.row import Action, Row
from revisor.gate.scope import NORMAL
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

    It keeps the facts it began with, and its trace goes by a sequence's row at each step. Where
    sequences come and go, take one `FactGate.batch` and one trace a sequence, and drop both when it
    ends.

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

    def fork(self, *, trace: Trace | None = None) -> BatchGate:
        """Another gate for the same sequences with the same facts; each then goes its own way."""
        other = BatchGate(self._gate, self._facts, trace)
        other._rows = [row.fork() for row in self._rows]
        other._seen = self._seen
        return other

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
            ids_BT: all tokens of each row so far, prompt and answer: (rows, tokens).
            logits_BV: the model's own for the token that follows, or their log-softmax: (rows,
                vocabulary).
            pad: tokens of this id before a row's first other one are left out.
            final: every token but the written one gets -inf. With False all scores stay finite: the
                written token gets 30 more than the highest.

        Returns:
            `logits_BV` itself where nothing is written, else a copy whose other rows are equal
            bit for bit.

        Raises:
            UsageError: tokens or logits have another shape.
        """
        if ids_BT.dim() != 2 or logits_BV.dim() != 2 or len(ids_BT) != len(logits_BV):
            raise UsageError(
                f"Tokens of shape {tuple(ids_BT.shape)} and logits of shape"
                f" {tuple(logits_BV.shape)} are not those of a batch.",
                "Give tokens (B, T) and the logits of their last position (B, V).",
            )
        if not self._facts.longest or not ids_BT.shape[0]:
            return logits_BV
        self._sync(ids_BT, pad)
        # Rows that name nobody leave nothing to ask the logits, which are on the device.
        named = [number for number, row in enumerate(self._rows) if row.names_any]
        if not named:
            return logits_BV
        due = self._due(logits_BV if len(named) == len(self._rows) else logits_BV[named])
        actions = [
            (number, self._rows[number].action(due=one))
            for number, one in zip(named, due, strict=True)
        ]
        return self._written(logits_BV, [(b, a) for b, a in actions if a is not None], final)

    def score(
        self,
        ids_BT: torch.Tensor,
        mask_BT: torch.Tensor | None,
        logits_BKV: torch.Tensor,
        *,
        first: int | None = None,
    ) -> torch.Tensor:
        """The logits of positions of whole sequences with facts written, in finite scores.

        Args:
            ids_BT: all tokens, from the first.
            mask_BT: which of them count; None for all.
            logits_BKV: of K neighbouring positions of `ids_BT`.
            first: which is the first of these; without, they are the last ones.
        """
        if not self._facts.longest:
            return logits_BKV
        kept = logits_BKV.shape[1]
        first = ids_BT.shape[1] - kept if first is None else first
        flat = logits_BKV.reshape(-1, logits_BKV.shape[-1])
        ids_lists = ids_BT[:, : first + kept].tolist()
        ones = [[1] * (first + kept)] * len(ids_lists)
        masks = mask_BT.tolist() if mask_BT is not None else ones
        self._rows, self._seen = [], None
        found: list[tuple[int, Action]] = []
        due: list[bool] | None = None
        for number, (ids, mask) in enumerate(zip(ids_lists, masks, strict=True)):
            row = self._row()
            self._rows.append(row)
            for column, (token, counts) in enumerate(zip(ids, mask, strict=False)):
                if not counts:
                    continue
                row.read([token])
                if column < first or not row.names_any:
                    continue
                due = self._due(flat) if due is None else due
                place = number * kept + column - first
                action = row.action(due=due[place])
                if action is not None:
                    found.append((place, action))
        written = self._written(flat, found, False, kept)
        return logits_BKV if written is flat else written.reshape(logits_BKV.shape)

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
                held_V = self._tokens.carrying(out_BV.shape[-1], out_BV.device, action.behind)
                least = -torch.inf if final else float(out_BV[place].min()) - MARGIN
                out_BV[place] = out_BV[place].masked_fill(held_V, least)
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
        """Make one row for each sequence, which has read exactly its tokens."""
        seen = self._seen
        self._seen = ids_BT
        if (
            seen is not None
            and seen.shape[0] == ids_BT.shape[0]
            and seen.shape[1] + 1 == ids_BT.shape[1]
        ):
            # In one transfer: whether the rows have only grown, and by which tokens.
            same_1 = (seen == ids_BT[:, :-1]).all().to(ids_BT.dtype).reshape(1)
            same, *grown = torch.cat([same_1, ids_BT[:, -1]]).tolist()
            if same:
                for row, token in zip(self._rows, grown, strict=True):
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
