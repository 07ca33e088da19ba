"""Which entries are compared with which tokens, and how near the question there is to each.

What comes in: texts, how many of their tokens are new, and a view that goes by names. What goes
out: the candidates. What it does not do: read a key (module.py does), or find names and questions
(bank/names.py, bank/asked.py).

B texts of T tokens, the last S of them new, O places where names end, R tokens from each, P pairs
of a place and an entry, C candidates, M entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from revisor.neuraldb.bank.asked import UNHEARD, Questions, all_levels, levels, questions
from revisor.neuraldb.bank.encode import goes_on, waits
from revisor.neuraldb.bank.names import REACH, Ended, NameIndex, Spans, spread
from revisor.neuraldb.bank.sentences import KIND, LINE, kinds
from revisor.neuraldb.bank.view import View

KEPT_IN_MIND = 1 << 16  # names of which it is remembered whether their rows wait


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What is compared with what, in the order of the tokens.

    Attributes:
        token_C: counted in (B, S).
        entry_C: of the view.
        asked_C: the cosine of what is asked there with what the entry asks for; 0 for an entry that
            asks for nothing.
        opening_C: an answer in a chat is to begin there: it is due, whatever the key.
    """

    token_C: torch.Tensor
    entry_C: torch.Tensor
    asked_C: torch.Tensor
    opening_C: torch.Tensor

    def __len__(self) -> int:
        return len(self.token_C)


def candidates(
    view: View,
    names: NameIndex,
    ids_BT: torch.Tensor,
    new: int,
    due: Callable[[], torch.Tensor] | None = None,
) -> Candidates:
    """Every entry that may fire at each new token: those of the longest name that ends there, and
    of the rows that fire after a name that has ended shortly before.

    Names are looked up where they lie, which is where entries are, and not on a GPU.

    Args:
        ids_BT: the texts so far, `NOTHING` where there is no token.
        new: columns that are asked about, the last S.
        due: tells of each new token (B * S) whether an answer is due there; asked only where rows
            may wait for that, which need not be looked at elsewhere. None if it is not known.
    """
    ids_BT = ids_BT.to(names.hash_H.device)
    spans = names.spans(ids_BT, new)
    if spans is None:
        return _nobody(ids_BT.device)
    may_BS = _may_speak(names, ids_BT, new, due()) if due is not None and names.late else None
    if may_BS is not None and not bool(may_BS.any()) and _all_wait(view, names, spans):
        return _nobody(ids_BT.device)
    ended = names.ended(ids_BT, spans)
    late_R = names.after_N[ended.row_R]
    first_new = ids_BT.shape[1] - new
    found = []
    if not bool(late_R.all()):
        at_R = ~late_R & (ended.last_O[ended.place_R] >= first_new)
        place_A, entry_A = _entries(names, ended.place_R[at_R], ended.row_R[at_R])
        token_A = ended.text_O[place_A] * new + ended.last_O[place_A] - first_new
        found.append(
            Candidates(
                token_C=token_A,
                entry_C=entry_A,
                asked_C=torch.zeros(len(token_A), device=token_A.device),
                opening_C=torch.zeros(len(token_A), dtype=torch.bool, device=token_A.device),
            )
        )
        ended = replace(ended, place_R=ended.place_R[late_R], row_R=ended.row_R[late_R])
    found += _after(view, names, ids_BT, new, ended, may_BS)
    return joined(found) if found else _nobody(ids_BT.device)


def _after(
    view: View,
    names: NameIndex,
    ids_BT: torch.Tensor,
    new: int,
    ended: Ended,
    may_BS: torch.Tensor | None,
) -> list[Candidates]:
    """The candidates of rows that fire after their names, if there are any.

    Args:
        ended: those rows, and where their names have ended.
        may_BS: see `_may_speak`; None if it is not known.
    """
    first_new = ids_BT.shape[1] - new
    place_P, entry_P = _entries(names, ended.place_R, ended.row_R)
    entry_PW = view.keys_ME[entry_P]
    if may_BS is not None:
        from_P, text_P = ended.last_O[place_P] - first_new, ended.text_O[place_P]
        kept_P = ~waits(entry_PW[:, -1]) | _within_reach(may_BS, text_P, from_P)
        if not bool(kept_P.all()):
            place_P, entry_P, entry_PW = place_P[kept_P], entry_P[kept_P], entry_PW[kept_P]
    if not len(entry_P):
        return []
    used_O, place_P = torch.unique(place_P, return_inverse=True)
    last_O = ended.last_O[used_O]
    reach = min(REACH, ids_BT.shape[1] - int(last_O.min()))
    asked = _questions(
        view, names, ids_BT, ended.text_O[used_O], last_O, ended.length_O[used_O], reach
    )
    level_PR = levels(asked, place_P, _asked_part(view, entry_PW), goes_on(entry_PW[:, -1]))
    column_PR = last_O[place_P, None] + torch.arange(reach, device=ids_BT.device)
    heard_PR = (level_PR > UNHEARD) & (column_PR >= first_new) & (column_PR < ids_BT.shape[1])
    pair_C, step_C = heard_PR.nonzero(as_tuple=True)
    text_C = ended.text_O[used_O][place_P[pair_C]]
    return [
        Candidates(
            token_C=text_C * new + column_PR[pair_C, step_C] - first_new,
            entry_C=entry_P[pair_C],
            asked_C=level_PR[pair_C, step_C],
            opening_C=asked.opening_OR[place_P[pair_C], step_C],
        )
    ]


def everywhere(
    view: View, names: NameIndex, ids_BT: torch.Tensor, new: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same in shapes that do not depend on the data: for every new token and every entry.

    Returns:
        named_QM: the entry is a candidate; asked_QM as `asked_C`; opening_Q as `opening_C`.
    """
    at_ON, last_O, length_O = names.everywhere(ids_BT, new)
    batch = len(ids_BT)
    seen = len(last_O) // batch
    at_OM, late_M = at_ON[:, view.row_M], names.after_N[view.row_M]
    text_O = torch.arange(batch, device=ids_BT.device).repeat_interleave(seen)
    asked = _questions(view, names, ids_BT, text_O, last_O, length_O, REACH)
    keys_MW = view.keys_ME[:]
    level_OMR = all_levels(asked, _asked_part(view, keys_MW), goes_on(keys_MW[:, -1]))
    level_OMR = torch.where((at_OM & late_M)[..., None], level_OMR, UNHEARD)
    # Of each new token the names that have ended at it and in the REACH - 1 columns before.
    step_R = torch.arange(REACH, device=ids_BT.device)
    place_SR = torch.arange(seen - new, seen, device=ids_BT.device)[:, None] - step_R
    inside_SR, place_SR = place_SR >= 0, place_SR.clamp(min=0)
    step_SR = step_R.expand_as(place_SR)
    level_BPRM = level_OMR.view(batch, seen, -1, REACH).transpose(2, 3)
    level_BSRM = torch.where(inside_SR[..., None], level_BPRM[:, place_SR, step_SR], UNHEARD)
    opening_BSR = asked.opening_OR.view(batch, seen, REACH)[:, place_SR, step_SR] & inside_SR
    level_QM = level_BSRM.amax(2).flatten(0, 1)
    at_QM = at_OM.view(batch, seen, -1)[:, seen - new :].flatten(0, 1) & ~late_M
    return (
        at_QM | (level_QM > UNHEARD),
        torch.where(late_M, level_QM, torch.zeros_like(level_QM)),
        opening_BSR.any(2).flatten(),
    )


def _entries(
    names: NameIndex, place_R: torch.Tensor, row_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The entries of some rows, each with the place of its row."""
    return spread(place_R, names.first_N[row_R], names.count_N[row_R])


def _questions(
    view: View,
    names: NameIndex,
    ids_BT: torch.Tensor,
    text_O: torch.Tensor,
    last_O: torch.Tensor,
    length_O: torch.Tensor,
    reach: int,
) -> Questions:
    words_VA, kind_V = view.encoder.words_VA, names.kind_V
    if words_VA is None or kind_V is None:
        raise ValueError("rows that fire after their names need an encoder that hears, and kinds")
    words_VA = words_VA.to(ids_BT.device)
    return questions(ids_BT, text_O, last_O, length_O, kind_V, words_VA, reach)


def _asked_part(view: View, entry_PW: torch.Tensor) -> torch.Tensor:
    """What entries ask for (P, A)."""
    return entry_PW[:, -view.encoder.asked_width : -1]


def _may_speak(
    names: NameIndex, ids_BT: torch.Tensor, new: int, due_S: torch.Tensor
) -> torch.Tensor:
    """At which new tokens (B, S) an entry may fire that waits until an answer is due: there, and
    where a line ends, behind which the answer in a chat may begin."""
    assert names.kind_V is not None
    ids_BS = ids_BT[:, ids_BT.shape[1] - new :]
    line_BS = (kinds(ids_BS, names.kind_V) & KIND) == LINE
    return due_S.to(ids_BT.device).view_as(ids_BS) | line_BS


def _within_reach(may_BS: torch.Tensor, text_P: torch.Tensor, from_P: torch.Tensor) -> torch.Tensor:
    """Whether any such token lies in reach of a name that ends at `from_P` (P)."""
    before_BX = F.pad(may_BS.cumsum(1), (1, 0))
    until_P = (from_P + REACH).clamp(max=may_BS.shape[1])
    return before_BX[text_P, until_P] > before_BX[text_P, from_P.clamp(min=0)]


def _all_wait(view: View, names: NameIndex, spans: Spans) -> bool:
    """All rows of these names fire after them, and wait until an answer is due. Most names are met
    again a few tokens later, so it is kept in mind."""
    known = names.waiting
    if len(known) > KEPT_IN_MIND:
        known.clear()
    low_P, high_P, _ = spans
    ends_P = high_P > low_P

    def wait(low: int, high: int) -> bool:
        found = known.get(low)
        if found is None:
            row_R = names.row_H[low:high].long()
            _, entry_P = _entries(names, row_R, row_R)
            known[low] = found = bool(
                names.after_N[row_R].all() and waits(view.keys_ME[entry_P][:, -1]).all()
            )
        return found

    return all(map(wait, low_P[ends_P].tolist(), high_P[ends_P].tolist()))


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All of them, by token; at one token in the order of the entries."""
    entry_C = torch.cat([part.entry_C for part in parts])
    token_C = torch.cat([part.token_C for part in parts])
    order_C = entry_C.argsort(stable=True)
    order_C = order_C[token_C[order_C].argsort(stable=True)]
    return Candidates(
        token_C=token_C[order_C],
        entry_C=entry_C[order_C],
        asked_C=torch.cat([part.asked_C for part in parts])[order_C],
        opening_C=torch.cat([part.opening_C for part in parts])[order_C],
    )


def _nobody(device: torch.device) -> Candidates:
    none = torch.zeros(0, dtype=torch.long, device=device)
    return Candidates(token_C=none, entry_C=none, asked_C=none.float(), opening_C=none.bool())
