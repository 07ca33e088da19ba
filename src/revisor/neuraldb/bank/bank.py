"""The neural key-value bank: rows of encoded keys and residuals, put and dropped.

A `View` shows the rows as a few contiguous tensors that a gate reads. A row holds one residual and
one or more entries: encoded keys, each with its own threshold, any of which finds the row.

N rows, M entries, E width of an encoded key, D hidden width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from revisor.errors import NotFound
from revisor.neuraldb.bank.buffer import RowBuffer
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.bank.ids import Ids, PickedIds
from revisor.neuraldb.bank.vectors import WHOLE, bits_of, picked, stored
from revisor.neuraldb.bank.view import Changes, Row, View, counted, entries_of

__all__ = ["Bank", "Changes", "Row", "View"]


class Bank:
    """Rows in two parts: those of the view it was opened over, which are never copied, and those
    put since, in growing arrays.

    Args:
        encoder: the map that made the keys of all rows.
        key_width: E.
        hidden_width: D.
        bits: in which keys and residuals are stored (vectors.py): 32, 8 or 4.

    Attributes:
        generation: of the ledger that its rows are of.
    """

    def __init__(
        self,
        *,
        encoder: KeyEncoder,
        key_width: int,
        hidden_width: int,
        bits: int = WHOLE,
    ) -> None:
        self.encoder = encoder
        self.key_width = key_width
        self.hidden_width = hidden_width
        self.bits = bits
        self.generation = 0
        none = torch.zeros(0, dtype=torch.long)
        self._base = View(
            ids=(),
            keys_ME=stored(torch.empty(0, key_width), bits),
            gamma_M=torch.empty(0),
            row_M=none.int(),
            R_ND=stored(torch.empty(0, hidden_width), bits),
            encoder=encoder,
            generation=0,
        )
        self._first_N = self._count_N = none
        self._begin()

    def _begin(self) -> None:
        """Nothing was put or dropped yet since the base."""
        self._dropped: set[int] = set()  # slots; they count the base's rows first
        self._put: dict[str, int] = {}  # live rows put since -> slot
        self._fresh = RowBuffer(self.key_width, self.hidden_width, self.bits)
        self._shown: View | None = None  # the last whole view, until something changes

    @classmethod
    def of(cls, view: View) -> Bank:
        """A bank that holds the rows of a view and shares its tensors.

        Raises:
            ValueError: the view's tensors do not fit together.
        """
        if view.since is not None:
            return cls.changed(view.since)
        counts = entries_of(view)
        bank = cls(
            encoder=view.encoder,
            key_width=view.keys_ME.shape[1],
            hidden_width=view.R_ND.shape[1],
            bits=bits_of(view.keys_ME),
        )
        bank.generation = view.generation
        bank._base = view
        bank._count_N = counts
        bank._first_N = counts.cumsum(0) - counts
        bank._begin()
        return bank

    @classmethod
    def changed(cls, changes: Changes) -> Bank:
        """A bank over a view that was changed since: rows put or dropped now count with those.

        Raises:
            ValueError: the tensors do not fit together.
        """
        fresh, gone = changes.fresh, changes.gone_G.tolist()
        bank = cls.of(replace(changes.base, generation=fresh.generation))
        if gone and not 0 <= min(gone) <= max(gone) < len(bank._base.ids):
            raise ValueError("its tensors do not fit together")
        bank._dropped = set(gone)
        bank._put = {row_id: len(bank._base.ids) + n for n, row_id in enumerate(fresh.ids)}
        bank._fresh.take(fresh)
        return bank

    @property
    def _base_ids(self) -> Ids:
        if not isinstance(self._base.ids, Ids):
            self._base = replace(self._base, ids=Ids.of(self._base.ids))
        assert isinstance(self._base.ids, Ids)
        return self._base.ids

    def __len__(self) -> int:
        return len(self._base.ids) + len(self._fresh.ids) - len(self._dropped)

    def __contains__(self, row_id: str) -> bool:
        return self._slot(row_id) is not None

    @property
    def ids(self) -> Sequence[str]:
        """Ids of the rows that are live now."""
        if self._untouched:
            return self._base.ids
        return self._picked_ids(self._live().nonzero().squeeze(1))

    def _live(self) -> torch.Tensor:
        """Of each slot whether its row is live."""
        live = torch.ones(len(self._base.ids) + len(self._fresh.ids), dtype=torch.bool)
        live[list(self._dropped)] = False
        return live

    def present(self, row_ids: Collection[str]) -> list[str]:
        """Those of these rows that are live, in the bank's order."""
        old = [slot for slot in self._base_ids.places(row_ids) if slot not in self._dropped]
        wanted = set(row_ids)
        new = [row_id for row_id in self._put if row_id in wanted]
        return [*(self._base_ids[slot] for slot in old), *new]

    def remembers(self, row_ids: Collection[str]) -> bool:
        """Whether anything that it was opened over holds one of these rows, live or not."""
        return bool(self._base_ids.places(row_ids)) or bool(self.present(row_ids))

    @property
    def _untouched(self) -> bool:
        return not self._fresh.ids and not self._dropped

    def _slot(self, row_id: str) -> int | None:
        """Of the live row of this id."""
        if (slot := self._put.get(row_id)) is not None:
            return slot
        old = self._base_ids.place(row_id)
        return None if old in self._dropped else old

    def put(self, row: Row) -> None:
        """Add a row, or replace the one of this id. O(1) amortised."""
        if row.row_id in self:
            self.drop(row.row_id)
        self._put[row.row_id] = len(self._base.ids) + len(self._fresh.ids)
        self._fresh.add(row)
        self._shown = None

    def drop(self, row_id: str) -> None:
        """Take a row out.

        Raises:
            NotFound: there is no live row of this id.
        """
        slot = self._slot(row_id)
        if slot is None:
            raise NotFound(f"The bank has no row '{row_id}'.", "See `revisor ls` for the facts.")
        self._put.pop(row_id, None)
        self._dropped.add(slot)
        self._shown = None

    def get(self, row_id: str) -> Row:
        """The live row of this id.

        Raises:
            NotFound: there is none.
        """
        slot = self._slot(row_id)
        if slot is None:
            raise NotFound(f"The bank has no row '{row_id}'.", "Build the store first.")
        base = self._base
        if slot < len(base.ids):
            first, count = int(self._first_N[slot]), int(self._count_N[slot])
            part = slice(first, first + count)
            return Row(
                row_id=row_id,
                keys_CE=base.keys_ME[part],
                gamma_C=base.gamma_M[part],
                r_D=base.R_ND[slot],
            )
        return self._fresh.row(slot - len(base.ids))

    def view(self, *, without: Collection[str] = frozenset()) -> View:
        """The rows as a gate reads them.

        The view of a bank that nothing was put into or dropped from is the one it was opened over;
        of a large bank the vectors are shared, not copied.

        Args:
            without: row ids to leave out, such as facts that do not hold at this moment.
        """
        if not without and (self._untouched or self._shown is not None):
            known = self._shown or self._base
            same = known.generation == self.generation
            return known if same else replace(known, generation=self.generation)
        shown = self._live()
        for row_id in without:
            if (slot := self._slot(row_id)) is not None:
                shown[slot] = False
        found = self._view_of(shown)
        if not without:
            self._shown = found
        return found

    def _picked_ids(self, slots: torch.Tensor) -> Sequence[str]:
        return PickedIds(self._base.ids, self._fresh.ids[:], slots)

    def _view_of(self, shown: torch.Tensor) -> View:
        """The rows of these slots."""
        base, fresh, old = self._base, self._fresh, len(self._base.ids)
        fresh_N = fresh.count_N
        count_N = torch.cat([self._count_N, fresh_N])
        slots = shown.nonzero().squeeze(1)
        entries = shown.repeat_interleave(count_N).nonzero().squeeze(1)
        coarse = since = None
        if old:
            new = slots[slots >= old] - old
            new_entries = entries[entries >= len(base.gamma_M)] - len(base.gamma_M)
            put_since = View(
                ids=tuple(fresh.ids[place] for place in new.tolist()),
                keys_ME=picked([fresh.keys], new_entries),
                gamma_M=fresh.gamma_M[new_entries],
                row_M=counted(fresh_N[new]),
                R_ND=picked([fresh.residuals], new),
                encoder=self.encoder,
                generation=self.generation,
            )
            gone_G = (~shown[:old]).nonzero().squeeze(1)
            since = Changes(base=base, gone_G=gone_G, fresh=put_since)
            if base.coarse is not None:
                live_M = shown[:old].repeat_interleave(self._count_N)
                coarse = base.coarse.over(live_M, put_since.keys_ME)
        return View(
            ids=self._picked_ids(slots),
            keys_ME=picked([base.keys_ME, fresh.keys], entries),
            gamma_M=torch.cat([base.gamma_M, fresh.gamma_M])[entries],
            row_M=counted(count_N[shown]),
            R_ND=picked([base.R_ND, fresh.residuals], slots),
            encoder=self.encoder,
            generation=self.generation,
            coarse=coarse,
            since=since,
        )
