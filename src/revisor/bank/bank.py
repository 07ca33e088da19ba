"""The neural key-value bank: rows of encoded keys and residuals, each with its life span.

What comes in: rows (`put`, `drop`), each at a generation. What goes out: a `View`, the rows that
are live at one generation, as a few contiguous tensors that a gate reads. What it does not do:
touch disk (files.py), search (search.py) or know how rows were made (editing/).

A row holds one residual and one or more entries: encoded keys, each with its own threshold, any of
which finds the row. N rows, M entries, E width of an encoded key, D hidden width, F key width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from revisor.bank.coarse import Coarse
from revisor.bank.encode import KeyEncoder
from revisor.bank.names import NameIndex, merged
from revisor.bank.vectors import WHOLE, Matrix, Packed, bits_of, on_device, picked, stored
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
        row_M: which residual an entry leads to, rising.
        R_ND: residuals.
        encoder: how a raw key becomes comparable with `keys_ME`.
        names: which rows may fire at a token, by the words that end there; None if any may.
        generation: the generation it shows.
        dtype: of the residuals that a gate gives out.
        coarse: an index over the keys of a large bank in which keys alone decide; None to look at
            all of them.
    """

    ids: Sequence[str]
    keys_ME: Matrix
    gamma_M: torch.Tensor
    row_M: torch.Tensor
    R_ND: Matrix
    encoder: KeyEncoder
    generation: int
    names: NameIndex | None = None
    dtype: torch.dtype = torch.float32
    coarse: Coarse | None = None

    @property
    def empty(self) -> bool:
        """No row is live: the gate must not touch the model at all."""
        return len(self.ids) == 0

    @property
    def device(self) -> torch.device:
        """Where it is read."""
        return self.gamma_M.device

    @property
    def nbytes(self) -> int:
        """Bytes of all that a gate reads of it, as it is stored."""
        tensors: list[Matrix] = [self.keys_ME, self.gamma_M, self.row_M, self.R_ND]
        if self.names is not None:
            tensors += [self.names.hash_H, self.names.row_H, self.names.after_N]
        if self.coarse is not None:
            tensors += [self.coarse.codes_MW, self.coarse.entry_M, self.coarse.centre_CW]
        return sum(tensor.nbytes for tensor in tensors)

    def to(self, device: torch.device, dtype: torch.dtype) -> View:
        """For a model on a device, with residuals in its dtype.

        What is there already stays where it is, be it on disk: a residual is converted when it is
        added, which gives the same bits. Keys and thresholds stay fp32.
        """
        return replace(
            self,
            keys_ME=on_device(self.keys_ME, device, torch.float32),
            gamma_M=self.gamma_M.to(device),
            row_M=self.row_M.to(device),
            R_ND=on_device(self.R_ND, device, dtype),
            encoder=self.encoder.to(device),
            names=None if self.names is None else self.names.to(device),
            dtype=dtype,
            coarse=None if self.coarse is None else self.coarse.to(device),
        )


class _Grown:
    """Vectors that are added at the end, in arrays that double."""

    def __init__(self, width: int, bits: int) -> None:
        self._arrays = _tensors(stored(torch.empty(0, width), bits))
        self.count = 0

    def add(self, x_CW: torch.Tensor, bits: int) -> None:
        new = _tensors(stored(x_CW, bits))
        first, self.count = self.count, self.count + len(x_CW)
        for place, part in enumerate(new):
            self._arrays[place] = _room(self._arrays[place], self.count)
            self._arrays[place][first : self.count] = part

    def matrix(self) -> torch.Tensor | Packed:
        shown = [array[: self.count] for array in self._arrays]
        return shown[0] if len(shown) == 1 else Packed(codes_NB=shown[0], scale_N=shown[1])


def _tensors(matrix: torch.Tensor | Packed) -> list[torch.Tensor]:
    return [matrix] if isinstance(matrix, torch.Tensor) else [matrix.codes_NB, matrix.scale_N]


class Bank:
    """All rows ever put; a generation decides which are live.

    Rows lie in two parts: those of the view it was opened over, which are never copied, and those
    put since, in growing arrays.

    Args:
        encoder: the map that made the keys of all rows.
        key_width: E.
        hidden_width: D.
        named: a row fires only where its subject's name ends. False for the paper's gate, in
            which keys alone decide.
        bits: in which keys and residuals are stored (vectors.py): 32, 8 or 4.
        kind_V: kinds of the model's tokens, for a named bank (sentences.py).
    """

    def __init__(
        self,
        *,
        encoder: KeyEncoder,
        key_width: int,
        hidden_width: int,
        named: bool = False,
        bits: int = WHOLE,
        kind_V: torch.Tensor | None = None,  # noqa: N803
    ) -> None:
        self.encoder = encoder
        self.named = named
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
            names=NameIndex.of([], none, none.bool(), kind_V) if named else None,
        )
        self._first_N = self._count_N = none
        self._begin()

    def _begin(self) -> None:
        """Nothing was put or dropped yet since the base."""
        self._slot_of: dict[str, int] | None = None  # live rows: made when first needed
        self._names_by_row: Sequence[torch.Tensor] | None = None  # of the base, likewise
        self._died: dict[int, int] = {}  # slot -> generation
        self._ids: list[str] = []  # of the rows put since; so all that follows
        self._born: list[int] = []
        self._entries: list[slice] = []
        self._names: list[torch.Tensor] = []
        self._after: list[bool] = []
        self._gamma = torch.empty(0)
        self._keys = _Grown(self.key_width, self.bits)
        self._residuals = _Grown(self.hidden_width, self.bits)

    @classmethod
    def of(cls, view: View) -> Bank:
        """A bank that holds the rows of a view and shares its tensors.

        Raises:
            ValueError: the view's tensors do not fit together.
        """
        counts = torch.bincount(view.row_M, minlength=len(view.ids))
        if not (
            len(counts) == len(view.ids) == len(view.R_ND)
            and len(view.keys_ME) == len(view.gamma_M) == len(view.row_M)
            and bool((view.row_M[1:] >= view.row_M[:-1]).all())
        ):
            raise ValueError("its tensors do not fit together")
        bank = cls(
            encoder=view.encoder,
            key_width=view.keys_ME.shape[1],
            hidden_width=view.R_ND.shape[1],
            named=view.names is not None,
            bits=bits_of(view.keys_ME),
        )
        bank.generation = view.generation
        bank._base = view
        bank._count_N = counts
        bank._first_N = counts.cumsum(0) - counts
        return bank

    @property
    def _live(self) -> dict[str, int]:
        """Row id -> slot; slots count the rows of the base first."""
        if self._slot_of is None:
            self._slot_of = {row_id: slot for slot, row_id in enumerate(self._base.ids)}
        return self._slot_of

    def __len__(self) -> int:
        return len(self._base.ids) + len(self._ids) - len(self._died)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._live

    @property
    def ids(self) -> Sequence[str]:
        """Ids of the rows that are live now."""
        return self._base.ids if self._untouched else tuple(self._live)

    @property
    def _untouched(self) -> bool:
        return not self._ids and not self._died

    def put(self, row: Row, generation: int) -> None:
        """Add a row, or replace the live one of this id, from `generation` on. O(1) amortised."""
        if row.row_id in self._live:
            self.drop(row.row_id, generation)
        self._live[row.row_id] = len(self._base.ids) + len(self._ids)
        first = self._keys.count
        self._keys.add(row.keys_CE, self.bits)
        self._residuals.add(row.r_D[None], self.bits)
        self._gamma = _room(self._gamma, self._keys.count)
        self._gamma[first : self._keys.count] = row.gamma_C
        self._ids.append(row.row_id)
        self._born.append(generation)
        self._entries.append(slice(first, self._keys.count))
        self._names.append(row.names_H)
        self._after.append(row.after)
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
        base = self._base
        if slot < len(base.ids):
            first, count = int(self._first_N[slot]), int(self._count_N[slot])
            part = slice(first, first + count)
            if base.names is not None and self._names_by_row is None:
                self._names_by_row = base.names.by_row()
            none = torch.zeros(0, dtype=torch.long)
            return Row(
                row_id=row_id,
                keys_CE=base.keys_ME[part],
                gamma_C=base.gamma_M[part],
                r_D=base.R_ND[slot],
                names_H=none if self._names_by_row is None else self._names_by_row[slot],
                after=base.names is not None and bool(base.names.after_N[slot]),
            )
        slot -= len(base.ids)
        return Row(
            row_id=row_id,
            keys_CE=self._keys.matrix()[self._entries[slot]],
            gamma_C=self._gamma[self._entries[slot]],
            r_D=self._residuals.matrix()[slot],
            names_H=self._names[slot],
            after=self._after[slot],
        )

    def rows(self) -> Iterable[Row]:
        """All live rows, oldest first."""
        return (self.get(row_id) for row_id in self.ids)

    def view(
        self, generation: int | None = None, *, without: Collection[str] = frozenset()
    ) -> View:
        """The rows live at a generation (the latest by default).

        The view of a bank that nothing was put into or dropped from is the one it was opened over;
        of a large bank the vectors are shared, not copied.

        Args:
            generation: rows born later, or ended at it or before, are not shown.
            without: row ids to leave out, such as facts that do not hold at this moment.
        """
        at = self.generation if generation is None else generation
        base = self._base
        if self._untouched and not without and at >= base.generation:
            return base if at == base.generation else replace(base, generation=at)
        shown = torch.ones(len(base.ids) + len(self._ids), dtype=torch.bool)
        if at < base.generation:
            shown[: len(base.ids)] = False
        for place, born in enumerate(self._born):
            shown[len(base.ids) + place] = born <= at
        for slot, died in self._died.items():
            if died <= at:
                shown[slot] = False
        for slot, row_id in self._named_slots(without):
            if row_id in without:
                shown[slot] = False
        return self._view_of(shown, at)

    def _named_slots(self, row_ids: Collection[str]) -> Iterable[tuple[int, str]]:
        """Every slot, live or not, that may be of one of these rows."""
        for row_id in row_ids:
            if (slot := self._live.get(row_id)) is not None:
                yield slot, row_id
        if row_ids:
            yield from ((slot, self._id_at(slot)) for slot in self._died)

    def _id_at(self, slot: int) -> str:
        old = len(self._base.ids)
        return self._base.ids[slot] if slot < old else self._ids[slot - old]

    def _view_of(self, shown: torch.Tensor, at: int) -> View:
        """The rows of these slots."""
        base = self._base
        fresh = [entries.stop - entries.start for entries in self._entries]
        count_N = torch.cat([self._count_N, torch.tensor(fresh, dtype=torch.long)])
        slots = shown.nonzero().squeeze(1)
        entries = shown.repeat_interleave(count_N).nonzero().squeeze(1)
        count_N = count_N[shown]
        names = None
        if base.names is not None:
            put = NameIndex.of(
                self._names,
                torch.tensor(fresh, dtype=torch.long),
                torch.tensor(self._after, dtype=torch.bool),
            )
            names = merged(base.names, put).only(shown)
        gamma_M = torch.cat([base.gamma_M, self._gamma[: self._keys.count]])
        return View(
            ids=tuple(self._id_at(slot) for slot in slots.tolist()),
            keys_ME=picked([base.keys_ME, self._keys.matrix()], entries),
            gamma_M=gamma_M[entries],
            row_M=torch.arange(len(slots), dtype=torch.int32).repeat_interleave(count_N),
            R_ND=picked([base.R_ND, self._residuals.matrix()], slots),
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
