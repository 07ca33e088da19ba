"""What is compared with what, against a loop over texts, tokens and rows."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.neuraldb.bank import encode
from revisor.neuraldb.bank.asked import HISTORY, UNHEARD, levels, questions
from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.names import REACH
from revisor.neuraldb.bank.sentences import (
    CAPITAL,
    CASELESS,
    GLUED,
    HYPHEN,
    KIND,
    LINE,
    STOP,
    TURN,
    WORD,
    WORDS,
)
from revisor.neuraldb.gate.candidates import Candidates, candidates, everywhere, joined
from revisor.neuraldb.gate.module import MISS, UNSEEN, _match_named_densely, match, match_entries
from tests import hearing
from tests.hearing import KIND_V, random_texts

NAMES = [[[9]], [[9, 10], [10]], [[0, 9]], [[14]], [[14], [10, 1]], [[20], [18, 9]]]
Found = list[tuple[int, int, float, bool]]
Rows = list[tuple[bool, int]]
ROWS = st.lists(st.tuples(st.booleans(), st.integers(1, 3)), min_size=1, max_size=len(NAMES))


def a_view(rows: Rows, generator: torch.Generator) -> View:
    """Rows of the names above, which partly share them: whether they fire after, and entries."""
    named = [(names, after, count) for names, (after, count) in zip(NAMES, rows, strict=False)]
    return hearing.view(named, generator)


def longest(ids: list[int], last: int, names: list[list[list[int]]]) -> tuple[int, set[int]]:
    """Tokens of the longest name that ends in a column and begins in no word, and the rows that
    have it."""
    ending = [
        (len(name), row)
        for row, own in enumerate(names)
        for name in own
        if len(name) <= last + 1
        and ids[last + 1 - len(name) : last + 1] == name
        and not amid_word(ids[: last + 2 - len(name)])
    ]
    most = max((length for length, _ in ending), default=0)
    return most, {row for length, row in ending if length == most}


def amid_word(ids: list[int]) -> bool:
    """Whether the last token goes on with a word, or with one behind a hyphen."""
    *before, token = (int(KIND_V[i]) for i in ids)
    if not before or not token & GLUED:
        return False
    words = [told & KIND in WORDS and told & KIND != CASELESS for told in before]
    return words[-1] or bool(before[-1] & HYPHEN and len(words) > 1 and words[-2])


def reference(view: View, ids_BT: torch.Tensor, new: int, rows: Rows) -> Found:
    """Of each new token the entries of rows named there, and of those named before that ask."""
    found: Found = []
    words_VA, first_new = view.encoder.words_VA, ids_BT.shape[1] - new
    assert words_VA is not None
    for text, ids in enumerate(ids_BT.tolist()):
        for last in range(max(0, first_new - REACH + 1), ids_BT.shape[1]):
            length, named = longest(ids, last, NAMES[: len(rows)])
            for entry, row in enumerate(view.row_M.tolist()):
                if row not in named:
                    continue
                if not rows[row][0]:
                    if last >= first_new:
                        found.append((text * new + last - first_new, entry, 0.0, False))
                    continue
                asked = questions(
                    torch.tensor([ids]),
                    torch.tensor([0]),
                    torch.tensor([last]),
                    torch.tensor([length]),
                    KIND_V,
                    words_VA,
                )
                part_A = view.keys_ME[entry][hearing.WHOLE : -1]
                through = encode.goes_on(view.keys_ME[entry][None, -1])
                level_R = levels(asked, torch.tensor([0]), part_A[None], through)[0]
                for column in range(max(first_new, last), min(last + REACH, ids_BT.shape[1])):
                    if (level := float(level_R[column - last])) > UNHEARD:
                        opening = bool(asked.opening_OR[0, column - last])
                        found.append((text * new + column - first_new, entry, level, opening))
    return sorted(found)


def told(found: Candidates) -> Found:
    parts = (found.token_C, found.entry_C, found.asked_C, found.opening_C)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def same(found: Found, wanted: Found) -> bool:
    return [(t, e, o) for t, e, _, o in found] == [(t, e, o) for t, e, _, o in wanted] and all(
        abs(one[2] - other[2]) < 1e-5 for one, other in zip(found, wanted, strict=True)
    )


@given(ROWS, st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**31))
@settings(max_examples=40)
def test_the_candidates_are_those_of_the_loop(rows: Rows, length: int, new: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    view, ids_BT = a_view(rows, generator), random_texts(2, length, generator)
    new = min(new, length)
    assert view.names is not None
    found = candidates(view, view.names, ids_BT, new)
    assert len(found) == len(found.token_C)
    assert same(sorted(told(found)), reference(view, ids_BT, new, rows))
    order = list(zip(found.token_C.tolist(), found.entry_C.tolist(), strict=True))
    assert order == sorted(order)


@given(ROWS, st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**31))
@settings(max_examples=60)
def test_shapes_that_know_nothing_of_the_data_give_the_same(
    rows: Rows, length: int, new: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    view, ids_BT = a_view(rows, generator), random_texts(2, length, generator)
    new = min(new, length)
    assert view.names is not None
    found = candidates(view, view.names, ids_BT, new)
    named_QM, asked_QM, opening_Q = everywhere(view, view.names, ids_BT, new)
    assert named_QM.shape == asked_QM.shape == (2 * new, len(view.row_M))
    wanted_QM = torch.full(named_QM.shape, UNHEARD)
    for token, entry, asked, opening in told(found):
        wanted_QM[token, entry] = max(float(wanted_QM[token, entry]), asked)
        late = rows[int(view.row_M[entry])][0]
        assert bool(opening_Q[token]) == opening or not late
    assert torch.equal(named_QM, wanted_QM > UNHEARD)
    torch.testing.assert_close(asked_QM[named_QM], wanted_QM[named_QM])
    k_TF = torch.randn(2 * new, hearing.KEY, generator=generator)
    hits, dense = match(k_TF, view, ids_BT), _match_named_densely(k_TF, view, view.names, ids_BT)
    assert torch.equal(dense.row_T, hits.row_T)
    torch.testing.assert_close(dense.cosine_T, hits.cosine_T)
    torch.testing.assert_close(dense.gamma_T, hits.gamma_T)


@given(ROWS, st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**31))
@settings(max_examples=60)
def test_what_cannot_speak_yet_is_left_out_and_nothing_else(
    rows: Rows, length: int, new: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    view, ids_BT = a_view(rows, generator), random_texts(2, length, generator)
    new = min(new, length)
    assert view.names is not None
    due_S = torch.rand(2 * new, generator=generator) < 0.1
    whole = told(candidates(view, view.names, ids_BT, new))
    some = told(candidates(view, view.names, ids_BT, new, lambda: due_S))
    waits_M = encode.waits(view.keys_ME[:][:, -1])

    def may_speak(one: tuple[int, int, float, bool]) -> bool:
        token, entry, _, opening = one
        late = rows[int(view.row_M[entry])][0]
        return not late or not waits_M[entry] or bool(due_S[token]) or opening

    wanted = [(t, e) for t, e, a, o in whole if may_speak((t, e, a, o))]
    kept = {(t, e) for t, e, _, _ in some}
    assert kept >= set(wanted)
    assert kept <= {(t, e) for t, e, _, _ in whole}
    kind_S = KIND_V[ids_BT[:, length - new :].clamp(min=0)]
    if not due_S.any() and not (kind_S == LINE).any():
        assert sorted(kept) == sorted(set(wanted))


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=8),
    st.integers(0, 2**31),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_text_that_is_read_in_pieces_is_read_as_at_once(
    calls: list[int], seed: int, short: bool
) -> None:
    """By a caller that keeps the whole text, and by one that keeps no more than is looked at."""
    generator = torch.Generator().manual_seed(seed)
    view = a_view([(True, 2), (False, 1), (True, 1), (True, 3), (False, 2)], generator)
    ids_BT = random_texts(2, sum(calls), generator)
    whole = match(
        k_TF := torch.randn(2 * sum(calls), hearing.KEY, generator=generator), view, ids_BT
    )
    end, k_BTF = 0, k_TF.view(2, sum(calls), hearing.KEY)
    for new in calls:
        end += new
        begin = max(0, end - new - HISTORY) if short else 0
        part = match(k_BTF[:, end - new : end].reshape(2 * new, -1), view, ids_BT[:, begin:end])
        for name in ("row_T", "cosine_T", "gamma_T"):
            wanted = getattr(whole, name).view(2, -1)[:, end - new : end].flatten()
            torch.testing.assert_close(getattr(part, name), wanted)


def test_nobody_is_named_in_a_text_without_names() -> None:
    view = a_view([(True, 1), (False, 1)], torch.Generator().manual_seed(0))
    assert view.names is not None
    found = candidates(view, view.names, torch.tensor([[0, 1, 2, 3]]), 4)
    assert len(found) == 0
    hits = match(torch.randn(4, hearing.KEY), view, torch.tensor([[0, 1, 2, 3]]))
    assert hits.row_T.tolist() == [MISS] * 4
    assert not hits.compared


def asked_by(view: View, said: list[int], *, waits: bool) -> View:
    """The view of one row that fires after its name, where it is asked by these words."""
    words_VA = view.encoder.words_VA
    assert words_VA is not None
    question_A = F.normalize(words_VA[said].mean(0), dim=0)
    keys = view.encoder.asking(question_A[None], waits, hearing.KEY)
    assert view.names is not None
    return View(
        ids=view.ids[:1],
        keys_ME=keys,
        gamma_M=torch.tensor([0.5]),
        row_M=torch.zeros(1, dtype=torch.int32),
        R_ND=view.R_ND[:1],
        encoder=view.encoder,
        names=view.names,
        generation=1,
    )


def keys_where_due(view: View, due_T: list[bool]) -> torch.Tensor:
    """Random keys of which the encoder says so."""
    generator = torch.Generator().manual_seed(1)
    k_NF = 3 * torch.randn(400, hearing.KEY, generator=generator)
    due_N = view.encoder.due(k_NF)
    pick = {due: (due_N == due).nonzero().flatten().tolist() for due in (True, False)}
    return k_NF[[pick[due][place] for place, due in enumerate(due_T)]]


def test_a_row_that_waits_fires_only_where_an_answer_is_due() -> None:
    one = a_view([(True, 1)], torch.Generator().manual_seed(2))
    said = [9, 10, 11, 11]  # the name, then what is asked, twice as near at the end
    due = [False, False, False, True]
    for waiting, fired in ((True, [3]), (False, [2, 3])):
        view = asked_by(one, [11], waits=waiting)
        hits = match(keys_where_due(view, due), view, torch.tensor([said]))
        found = hits.fired().tolist()
        assert found[-len(fired) :] == fired
        assert (2 in found) == (not waiting)
    never = match(
        keys_where_due(view := asked_by(one, [11], waits=True), [False] * 4),
        view,
        torch.tensor([said]),
    )
    assert never.fired().tolist() == []
    assert never.cosine_T.tolist() == [UNSEEN] * 4


def test_in_a_chat_an_answer_is_due_where_it_is_to_begin() -> None:
    view = asked_by(
        a_view([(True, 1)], torch.Generator().manual_seed(2)), [CAPITAL, 11], waits=True
    )
    chat = [TURN, WORD, LINE, CAPITAL, 9, 11, STOP, TURN, WORD, LINE]
    quiet = keys_where_due(view, [False] * len(chat))
    assert match(quiet, view, torch.tensor([chat])).fired().tolist() == [len(chat) - 1]
    answered = torch.tensor([[*chat, 12]])
    quiet = keys_where_due(view, [False] * (len(chat) + 1))
    assert match(quiet, view, answered).fired().tolist() == [len(chat) - 1]


def some(tokens: list[int], entries: list[int]) -> Candidates:
    """Candidates that can be told apart by what is asked there."""
    return Candidates(
        token_C=torch.tensor(tokens, dtype=torch.long),
        entry_C=torch.tensor(entries, dtype=torch.long),
        asked_C=torch.tensor([10.0 * t + e for t, e in zip(tokens, entries, strict=True)]),
        opening_C=torch.tensor([(t + e) % 2 > 0 for t, e in zip(tokens, entries, strict=True)]),
    )


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
        min_size=1,
        max_size=4,
    )
)
def test_joined_candidates_come_by_token_and_then_by_entry(
    parts: list[list[tuple[int, int]]],
) -> None:
    found = joined([some([t for t, _ in part], [e for _, e in part]) for part in parts])
    wanted = sorted(pair for part in parts for pair in part)
    assert told(found) == [(t, e, 10.0 * t + e, (t + e) % 2 > 0) for t, e in wanted]


def test_of_equal_cosines_the_first_entry_wins_wherever_it_comes_from() -> None:
    generator = torch.Generator().manual_seed(3)
    view = a_view([(False, 1), (False, 1)], generator)
    twice = View(
        ids=view.ids,
        keys_ME=view.keys_ME[:][[0, 0]],
        gamma_M=torch.full((2,), -0.9),
        row_M=view.row_M,
        R_ND=view.R_ND,
        encoder=view.encoder,
        generation=1,
    )
    k_TF = torch.randn(1, hearing.KEY, generator=generator)
    both = joined([some([0], [1]), some([0], [0])])
    equal = replace(both, asked_C=torch.zeros(2))
    assert match_entries(k_TF, twice, equal).row_T.tolist() == [0]
    assert match_entries(k_TF, twice, both).row_T.tolist() == [1], "else the nearest"
