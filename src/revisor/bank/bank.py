"""The neural key-value bank: rows of encoded keys and residuals, each with its life span.

What comes in: rows (`put`, `drop`), each at a generation. What goes out: a `View`, the rows that
are live at one generation, as a few contiguous tensors that a gate reads. What it does not do:
touch disk (files.py), search (search.py) or know how rows were made (editing/).

A row holds one residual and one or more entries: encoded keys, each with its own threshold, any of
which finds the row. N rows, M entries, E width of an encoded key, D hidden width, F key width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from revisor.bank.encode import KeyEncoder
from revisor.bank.names import NameIndex
from revisor.errors import NotFound


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the gate knows of one fact.

    Attributes:
        row_id: the fact's id.
        keys_CE: encoded unit keys, fp32.
        gamma_C: the cosine above which each of them matches.
        r_D: the residual, fp32.
        names_H: hashes of the token sequences that name its subject (names.py).
        after: it fires where its question ends, after the name, not at the name.
    """

    row_id: str
    keys_CE: torch.Tensor
    gamma_C: torch.Tensor
    r_D: torch.Tensor
    names_H: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    after: bool = False


@dataclass(frozen=True, kw_only=True)
class View:
    """The live rows of a bank, ready for a gate.

    Attributes:
        ids: row id of each residual.
        keys_ME, gamma_M: entries and their thresholds.
        row_M: which residual an entry leads to.
        R_ND: residuals.
        encoder: how a raw key becomes comparable with `keys_ME`.
        names: which rows may fire at a token, by the words that end there; None if any may.
        generation: the generation it shows.
    """

    ids: tuple[str, ...]
    keys_ME: torch.Tensor
    gamma_M: torch.Tensor
    row_M: torch.Tensor
    R_ND: torch.Tensor
    encoder: KeyEncoder
    generation: int
    names: NameIndex | None = None

    @property
    def empty(self) -> bool:
        """No row is live: the gate must not touch the model at all."""
        return len(self.ids) == 0

    def to(self, device: torch.device, dtype: torch.dtype) -> View:
        """On a model's device, residuals in its dtype; keys and thresholds stay fp32."""
        return View(
            ids=self.ids,
            keys_ME=self.keys_ME.to(device),
            gamma_M=self.gamma_M.to(device),
            row_M=self.row_M.to(device),
            R_ND=self.R_ND.to(device=device, dtype=dtype),
            encoder=self.encoder.to(device),
            generation=self.generation,
            names=None if self.names is None else self.names.to(device),
        )


class Bank:
    """All rows ever put, in growing arrays; a generation decides which are live.

    Args:
        encoder: the map that made the keys of all rows.
        key_width: E.
        hidden_width: D.
        named: a row fires only where its subject's name ends. False for the paper's gate, in
            which keys alone decide.
    """

    def __init__(
        self, *, encoder: KeyEncoder, key_width: int, hidden_width: int, named: bool = False
    ) -> None:
        self.encoder = encoder
        self.named = named
        self.key_width = key_width
        self.hidden_width = hidden_width
        self.generation = 0
        self._ids: list[str] = []
        self._live: dict[str, int] = {}  # row id -> slot
        self._born: list[int] = []
        self._died: list[int | None] = []
        self._entries: list[slice] = []
        self._names: list[torch.Tensor] = []
        self._after: list[bool] = []
        self._keys = torch.empty(0, key_width)
        self._gamma = torch.empty(0)
        self._residuals = torch.empty(0, hidden_width)
        self._entry_count = 0

    @classmethod
    def of(cls, view: View) -> Bank:
        """A bank that holds the rows of a view and shares its tensors.

        Raises:
            ValueError: the view's tensors do not fit together.
        """
        counts = torch.bincount(view.row_M, minlength=len(view.ids)).tolist()
        if not (
            len(counts) == len(view.ids) == len(view.R_ND)
            and len(view.keys_ME) == len(view.gamma_M) == len(view.row_M)
            and bool((view.row_M.diff() >= 0).all())
        ):
            raise ValueError("its tensors do not fit together")
        bank = cls(
            encoder=view.encoder,
            key_width=view.keys_ME.shape[1],
            hidden_width=view.R_ND.shape[1],
            named=view.names is not None,
        )
        bank.generation = view.generation
        bank._ids = list(view.ids)
        bank._live = {row_id: slot for slot, row_id in enumerate(view.ids)}
        bank._born = [view.generation] * len(view.ids)
        bank._died = [None] * len(view.ids)
        first = 0
        for count in counts:
            bank._entries.append(slice(first, first + count))
            first += count
        none = torch.zeros(0, dtype=torch.long)
        bank._names = view.names.by_row() if view.names else [none] * len(view.ids)
        bank._after = view.names.after_N.tolist() if view.names else [False] * len(view.ids)
        bank._keys, bank._gamma, bank._residuals = view.keys_ME, view.gamma_M, view.R_ND
        bank._entry_count = first
        return bank

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._live

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the rows that are live now."""
        return tuple(self._live)

    def put(self, row: Row, generation: int) -> None:
        """Add a row, or replace the live one of this id, from `generation` on. O(1) amortised."""
        if row.row_id in self._live:
            self.drop(row.row_id, generation)
        slot, first = len(self._ids), self._entry_count
        count = len(row.keys_CE)
        self._keys = _room(self._keys, first + count)
        self._gamma = _room(self._gamma, first + count)
        self._residuals = _room(self._residuals, slot + 1)
        self._keys[first : first + count] = row.keys_CE
        self._gamma[first : first + count] = row.gamma_C
        self._residuals[slot] = row.r_D
        self._entry_count += count
        self._ids.append(row.row_id)
        self._born.append(generation)
        self._died.append(None)
        self._entries.append(slice(first, first + count))
        self._names.append(row.names_H)
        self._after.append(row.after)
        self._live[row.row_id] = slot
        self.generation = max(self.generation, generation)

    def drop(self, row_id: str, generation: int) -> None:
        """End a row at `generation`.

        Raises:
            NotFound: there is no live row of this id.
        """
        slot = self._live.pop(row_id, None)
        if slot is None:
            raise NotFound(f"The bank has no row '{row_id}'.", "See `revisor ls` for the facts.")
        self._died[slot] = generation
        self.generation = max(self.generation, generation)

    def get(self, row_id: str) -> Row:
        """The live row of this id.

        Raises:
            NotFound: there is none.
        """
        slot = self._live.get(row_id)
        if slot is None:
            raise NotFound(f"The bank has no row '{row_id}'.", "Build the store first.")
        part = self._entries[slot]
        return Row(
            row_id=row_id,
            keys_CE=self._keys[part],
            gamma_C=self._gamma[part],
            r_D=self._residuals[slot],
            names_H=self._names[slot],
            after=self._after[slot],
        )

    def rows(self) -> Iterable[Row]:
        """All live rows, oldest first."""
        return (self.get(row_id) for row_id in self._live)

    def view(
        self, generation: int | None = None, *, without: Collection[str] = frozenset()
    ) -> View:
        """The rows live at a generation (the latest by default).

        Args:
            generation: rows born later, or ended at it or before, are not shown.
            without: row ids to leave out, such as facts that do not hold at this moment.
        """
        at = self.generation if generation is None else generation
        slots = [
            slot
            for slot, (born, died) in enumerate(zip(self._born, self._died, strict=True))
            if born <= at and (died is None or died > at) and self._ids[slot] not in without
        ]
        return self._view_of(slots, at)

    def _view_of(self, slots: Sequence[int], at: int) -> View:
        entries: list[int] = []
        owner: list[int] = []
        for row, slot in enumerate(slots):
            part = self._entries[slot]
            entries.extend(range(part.start, part.stop))
            owner.extend([row] * (part.stop - part.start))
        index = torch.tensor(entries, dtype=torch.long)
        row_M = torch.tensor(owner, dtype=torch.long)
        names = None
        if self.named:
            counts = torch.bincount(row_M, minlength=len(slots))
            names = NameIndex.of(
                [self._names[slot] for slot in slots],
                counts,
                torch.tensor([self._after[slot] for slot in slots], dtype=torch.bool),
            )
        return View(
            ids=tuple(self._ids[slot] for slot in slots),
            keys_ME=self._keys[index],
            gamma_M=self._gamma[index],
            row_M=row_M,
            R_ND=self._residuals[torch.tensor(slots, dtype=torch.long)],
            encoder=self.encoder,
            generation=at,
            names=names,
        )


def _room(array: torch.Tensor, needed: int) -> torch.Tensor:
    """The array, or a copy with at least twice its room."""
    if needed <= len(array):
        return array
    grown = array.new_zeros(max(needed, 2 * len(array), 64), *array.shape[1:])
    grown[: len(array)] = array
    return grown
