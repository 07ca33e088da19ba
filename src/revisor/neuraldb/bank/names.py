"""Whose name a text has just ended: a table of hashed token sequences.

What comes in: the last few token ids at each position. What goes out: the rows whose subject those
tokens spell, longest name first. What it does not do: tokenise names (editing/names.py), hear what
is asked (asked.py) or compare keys (gate/module.py).

A key knows well in which surroundings a word stands and badly which words make up a long name:
"Lauderdale County" has nearly the key of "Kalamazoo County". Comparing the tokens themselves costs
a few integer operations a token, whatever the number of rows, and leaves the key to tell senses
apart.

A row of a subject that has several facts fires after the name instead, where its question has been
asked (asked.py): at that token or one of the next `REACH` - 1.

Shapes: B texts of T tokens, the last S of them new; W window of a token (itself last), H stored
names, N rows, Q = B * S tokens asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank.sentences import GLUED, HYPHEN, OTHER, cased, kinds

WINDOW = 16  # tokens of a name that are compared, counted from its end
REACH = 64  # tokens from a name on in which rows that fire after it are candidates
NOTHING = -1  # stands in a window where the text has no token
_MIX = -7046029254386353131  # 2^64 / golden ratio, as a signed integer: spreads ids over 64 bits
_BASE = 6364136223846793005  # odd, so that its powers are invertible modulo 2^64
_KEPT = REACH + WINDOW - 2  # columns on which the places of the last REACH - 1 depend


def name_hashes(names: Sequence[Sequence[int]]) -> torch.Tensor:
    """The hash of each name's last `WINDOW` tokens: (H,), int64."""
    window_HW = torch.full((len(names), WINDOW), NOTHING, dtype=torch.long)
    for row, tokens in enumerate(names):
        tail = list(tokens)[-WINDOW:]
        window_HW[row, WINDOW - len(tail) :] = torch.tensor(tail)
    last_H = torch.tensor([min(len(tokens), WINDOW) - 1 for tokens in names], dtype=torch.long)
    return suffix_hashes(window_HW).gather(1, last_H[:, None]).squeeze(1)


def suffix_hashes(window_TW: torch.Tensor) -> torch.Tensor:
    """Hash of the last 1, 2, ..., W tokens of each window: (T, W), int64 modulo 2^64."""
    return _hashes(window_TW.flip(1))


def _hashes(backwards_TW: torch.Tensor) -> torch.Tensor:
    """The same of windows whose last token comes first."""
    mixed_TW = (backwards_TW + 1) * _MIX
    mixed_TW = mixed_TW ^ (mixed_TW >> 29)
    made = _powers if torch.compiler.is_compiling() else _powers_once
    return (mixed_TW * made(backwards_TW.shape[1], backwards_TW.device)).cumsum(1)


def _powers(width: int, device: torch.device) -> torch.Tensor:
    return torch.full((width,), _BASE, device=device).cumprod(0)


_powers_once = lru_cache(maxsize=16)(_powers)


Spans = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Names that have ended in some texts: O places, and the R rows that are named there.

    Attributes:
        text_O, last_O: the text, and the column of the name's last token.
        length_O: its tokens, `WINDOW` at most.
        place_R, row_R: which rows are named at which of the places.
    """

    text_O: torch.Tensor
    last_O: torch.Tensor
    length_O: torch.Tensor
    place_R: torch.Tensor
    row_R: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Where names ended in some texts, so that the next token's call need not look again.

    Attributes:
        ids_BT: the last columns of the texts, as many as those places depend on.
        low_BT, high_BT: where in `hash_H` the longest name that ends at each of the last columns
            begins and stops.
        length_BT: how many tokens of it were compared.
    """

    ids_BT: torch.Tensor
    low_BT: torch.Tensor
    high_BT: torch.Tensor
    length_BT: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class NameIndex:
    """The names of a view's rows.

    Attributes:
        hash_H: their hashes in rising order; a name of several rows stands there once for each.
        row_H: the row each belongs to.
        first_N: index of each row's first entry; the entries of a row are neighbours.
        count_N: how many entries it has.
        after_N: it fires after its name, not at it.
        kind_V: kinds of tokens, by which sentences end; None to have a name count for `REACH`
            tokens in any case.
        waiting: of names that were looked at, by where they begin in `hash_H`, whether their rows
            fire only where an answer is due.
    """

    hash_H: torch.Tensor
    row_H: torch.Tensor
    first_N: torch.Tensor
    count_N: torch.Tensor
    after_N: torch.Tensor
    kind_V: torch.Tensor | None = None
    waiting: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)
    _before: list[_Found] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def late(self) -> bool:
        """Some row fires after its name, so that earlier tokens count."""
        return bool(self.after_N.any())

    @classmethod
    def of(
        cls,
        names: Sequence[torch.Tensor],
        count_N: torch.Tensor,
        after_N: torch.Tensor,
        kind_V: torch.Tensor | None = None,
    ) -> NameIndex:
        """Index rows by their name hashes, one tensor a row."""
        hash_H = torch.cat(list(names)) if names else torch.zeros(0, dtype=torch.long)
        lengths_N = torch.tensor([len(name) for name in names], dtype=torch.long)
        row_H = torch.arange(len(names), dtype=torch.int32).repeat_interleave(lengths_N)
        order_H = hash_H.argsort(stable=True)
        return cls.of_rows(hash_H[order_H], row_H[order_H], count_N, after_N, kind_V)

    @classmethod
    def of_rows(
        cls,
        hash_H: torch.Tensor,
        row_H: torch.Tensor,
        count_N: torch.Tensor,
        after_N: torch.Tensor,
        kind_V: torch.Tensor | None = None,
    ) -> NameIndex:
        """An index from its own tensors: hashes in rising order, their rows, entries a row."""
        return cls(
            hash_H=hash_H,
            row_H=row_H,
            first_N=count_N.cumsum(0) - count_N,
            count_N=count_N,
            after_N=after_N,
            kind_V=kind_V,
        )

    def by_row(self) -> list[torch.Tensor]:
        """The hashes of each row, in rising order."""
        order_H = self.row_H.argsort(stable=True)
        counts = torch.bincount(self.row_H, minlength=len(self.count_N)).tolist()
        return list(torch.split(self.hash_H[order_H], counts))

    def of_row(self, row: int) -> torch.Tensor:
        """The hashes of one row, in rising order."""
        return self.hash_H[self.row_H == row]

    def only(self, shown_N: torch.Tensor) -> NameIndex:
        """The names of some of the rows, which are counted anew."""
        if bool(shown_N.all()):
            return self
        new_N = (shown_N.cumsum(0) - 1).int()
        kept_H = shown_N.index_select(0, self.row_H)
        return NameIndex.of_rows(
            self.hash_H[kept_H],
            new_N.index_select(0, self.row_H[kept_H]),
            self.count_N[shown_N],
            self.after_N[shown_N],
            self.kind_V,
        )

    def to(self, device: torch.device) -> NameIndex:
        return NameIndex(
            hash_H=self.hash_H.to(device),
            row_H=self.row_H.to(device),
            first_N=self.first_N.to(device),
            count_N=self.count_N.to(device),
            after_N=self.after_N.to(device),
            kind_V=None if self.kind_V is None else self.kind_V.to(device),
        )

    def spans(self, ids_BT: torch.Tensor, new: int) -> Spans | None:
        """The names that end in some texts where they may matter to the new tokens: at one of
        them, and, where some row fires after its name, up to `REACH` - 1 columns before.

        Of the names that end in a column only the longest counts.

        Args:
            ids_BT: the texts so far, `NOTHING` where there is no token.
            new: columns that are asked about, the last S.

        Returns:
            None if there are none. Otherwise of each text's last columns (B * P, P of them) where
            in `hash_H` such a name begins and stops, equal numbers where none ends, and how many
            tokens it has.
        """
        if not self.late:
            return self._longest(_window(ids_BT, new))
        return self._longest_since(ids_BT, new, min(ids_BT.shape[1], new + REACH - 1))

    def ended(self, ids_BT: torch.Tensor, spans: Spans) -> Ended:
        """The same as places, with the rows that are named there."""
        low_P, high_P, length_P = spans
        seen = len(low_P) // len(ids_BT)
        place_O = (high_P > low_P).nonzero().squeeze(1)
        pair_O, name_R = spread(
            torch.arange(len(place_O), device=ids_BT.device),
            low_P[place_O],
            (high_P - low_P)[place_O],
        )
        return Ended(
            text_O=place_O // seen,
            last_O=place_O % seen + ids_BT.shape[1] - seen,
            length_O=length_P[place_O],
            place_R=pair_O,
            row_R=self.row_H[name_R].long(),
        )

    def rows_in(self, ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which rows some whole texts name, as pairs of a text and a row."""
        spans = self._longest(_window(ids_BT, ids_BT.shape[1]))
        if spans is None:
            none = torch.zeros(0, dtype=torch.long, device=ids_BT.device)
            return none, none
        ended = self.ended(ids_BT, spans)
        return ended.text_O[ended.place_R], ended.row_R

    def everywhere(
        self, ids_BT: torch.Tensor, new: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same in shapes that do not depend on the data.

        Returns:
            named_ON: which rows have a name that ends in each of the last columns of each text;
            last_O and length_O as of `Ended`; O counts (B, P) with P = S + REACH - 1 columns at
            most.
        """
        seen = min(ids_BT.shape[1], new + REACH - 1)
        low_P, high_P, length_P = self._places(_window(ids_BT, seen))
        place_H = torch.arange(len(self.hash_H), device=ids_BT.device)
        inside_PH = (place_H >= low_P[:, None]) & (place_H < high_P[:, None])
        at_PN = torch.zeros(len(low_P), len(self.count_N), device=ids_BT.device)
        row_PH = self.row_H.long().expand(len(low_P), -1)
        at_PN = at_PN.scatter_reduce(1, row_PH, inside_PH.float(), "amax")
        column_P = torch.arange(seen, device=ids_BT.device) + ids_BT.shape[1] - seen
        return at_PN > 0, column_P.repeat(len(ids_BT)), length_P

    def _longest_since(self, ids_BT: torch.Tensor, new: int, seen: int) -> Spans | None:
        """As `_longest` for the last `seen` columns; where the text goes on from that of the call
        before, only the new ones are looked up."""
        past_BT = ids_BT[:, : ids_BT.shape[1] - new][:, -_KEPT:]
        before = self._before[0] if self._before else None
        known = (
            before is not None
            and before.ids_BT.shape == past_BT.shape
            and before.low_BT.shape[1] >= seen - new
            and bool(torch.equal(before.ids_BT, past_BT))
        )
        looked = new if known else seen
        found = self._longest(_window(ids_BT, looked))
        if found is None:
            none_BT = torch.zeros(len(ids_BT), looked, dtype=torch.long, device=ids_BT.device)
            low_BT = high_BT = length_BT = none_BT
        else:
            low_BT, high_BT, length_BT = (part.view(len(ids_BT), looked) for part in found)
        if known and before is not None and seen > new:
            low_BT = torch.cat([before.low_BT[:, new - seen :], low_BT], 1)
            high_BT = torch.cat([before.high_BT[:, new - seen :], high_BT], 1)
            length_BT = torch.cat([before.length_BT[:, new - seen :], length_BT], 1)
        # One assignment, so that a thread beside this one sees all of it or nothing.
        self._before[:] = [
            _Found(
                ids_BT=ids_BT[:, -_KEPT:].clone(),
                low_BT=low_BT[:, -REACH:],
                high_BT=high_BT[:, -REACH:],
                length_BT=length_BT[:, -REACH:],
            )
        ]
        if not bool((high_BT > low_BT).any()):
            return None
        return low_BT.reshape(-1), high_BT.reshape(-1), length_BT.reshape(-1)

    def _longest(self, backwards_TW: torch.Tensor) -> Spans | None:
        """Where in `hash_H` the longest name that ends at each token begins and stops, equal
        numbers where none ends, and how many tokens it has; None if none ends anywhere.

        Args:
            backwards_TW: the windows of the tokens, the last token first.
        """
        if not len(self.hash_H):
            return None
        hash_TW = _hashes(backwards_TW)
        low_TW = torch.searchsorted(self.hash_H, hash_TW)
        known_TW = self.hash_H[low_TW.clamp(max=len(self.hash_H) - 1)] == hash_TW
        known_TW &= backwards_TW != NOTHING
        if not bool(known_TW.any()):
            return None
        known_TW &= ~self._amid_word(backwards_TW)
        return self._spans(hash_TW, low_TW, known_TW) if bool(known_TW.any()) else None

    def _places(self, backwards_TW: torch.Tensor) -> Spans:
        """As `_longest`, without a look at the data."""
        hash_TW = _hashes(backwards_TW)
        low_TW = torch.searchsorted(self.hash_H, hash_TW)
        known_TW = torch.searchsorted(self.hash_H, hash_TW, right=True) > low_TW
        known_TW &= (backwards_TW != NOTHING) & ~self._amid_word(backwards_TW)
        return self._spans(hash_TW, low_TW, known_TW)

    def _amid_word(self, backwards_TW: torch.Tensor) -> torch.Tensor:
        """Whether a name of 1, 2, ..., W tokens would begin within a word (T, W), as "iOS" in
        "Studios", or within a longer name, as "Quebec" in "Hydro-Quebec"."""
        if self.kind_V is None:
            return torch.zeros_like(backwards_TW, dtype=torch.bool)
        told_TW = F.pad(kinds(backwards_TW, self.kind_V), (0, 2), value=OTHER)
        first_TW, before_TW, further_TW = told_TW[:, :-2], told_TW[:, 1:-1], told_TW[:, 2:]
        hyphened_TW = ((before_TW & HYPHEN) > 0) & cased(further_TW)
        return ((first_TW & GLUED) > 0) & (cased(before_TW) | hyphened_TW)

    def _spans(self, hash_TW: torch.Tensor, low_TW: torch.Tensor, known_TW: torch.Tensor) -> Spans:
        """Of each token's known names the longest."""
        last_T1 = known_TW.shape[1] - 1 - known_TW.flip(1).int().argmax(1, keepdim=True)
        low_T = low_TW.gather(1, last_T1)[:, 0]
        high_T = torch.searchsorted(self.hash_H, hash_TW.gather(1, last_T1)[:, 0], right=True)
        return low_T, torch.where(known_TW.any(1), high_T, low_T), last_T1[:, 0] + 1


def merged(one: NameIndex, other: NameIndex) -> NameIndex:
    """The names of both, the rows of the other counted on from those of the one."""
    place_H = torch.searchsorted(one.hash_H, other.hash_H, right=True)
    place_H += torch.arange(len(place_H))
    old = torch.ones(len(one.hash_H) + len(place_H), dtype=torch.bool)
    old[place_H] = False
    hash_H = one.hash_H.new_empty(len(old))
    row_H = one.row_H.new_empty(len(old))
    hash_H[old], hash_H[place_H] = one.hash_H, other.hash_H
    row_H[old], row_H[place_H] = one.row_H, (other.row_H + len(one.count_N)).to(row_H.dtype)
    return NameIndex.of_rows(
        hash_H,
        row_H,
        torch.cat([one.count_N, other.count_N]),
        torch.cat([one.after_N, other.after_N]),
        one.kind_V,
    )


def spread(
    owner_S: torch.Tensor, first_S: torch.Tensor, count_S: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each owner the `count` numbers from `first` on, as pairs."""
    start_S = count_S.cumsum(0) - count_S
    which = torch.arange(len(owner_S), device=owner_S.device).repeat_interleave(count_S)
    offset = torch.arange(len(which), device=owner_S.device) - start_S[which]
    return owner_S[which], first_S[which] + offset


def _window(ids_BT: torch.Tensor, new: int) -> torch.Tensor:
    """The windows of the last `new` columns, the last token first: (B * new, W)."""
    if new == 1 and ids_BT.shape[1] >= WINDOW:
        return ids_BT[:, -WINDOW:].flip(1)
    return windows(ids_BT, new).flip(1)


def windows(ids_BT: torch.Tensor, new: int) -> torch.Tensor:
    """The windows of the last `new` columns of some texts: (B * new, W).

    Args:
        ids_BT: the texts, with `NOTHING` where there is no token.
        new: columns that are asked about.
    """
    lead = max(0, WINDOW - 1 - (ids_BT.shape[1] - new))
    padded = F.pad(ids_BT, (lead, 0), value=NOTHING)
    padded = padded[:, padded.shape[1] - new - WINDOW + 1 :]
    return padded.unfold(1, WINDOW, 1).reshape(-1, WINDOW)


def texts(ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Texts of any length as (B, T), aligned at their right end."""
    longest = max(len(text) for text in ids)
    ids_BT = torch.full((len(ids), longest), NOTHING, dtype=torch.long)
    for row, text in enumerate(ids):
        ids_BT[row, longest - len(text) :] = torch.tensor(list(text), dtype=torch.long)
    return ids_BT
