"""Names in a stream of tokens, against a search by hand."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.bank.names import (
    NOTHING,
    REACH,
    WINDOW,
    NameIndex,
    name_hashes,
    suffix_hashes,
    texts,
    windows,
)

WORDS = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def index_of(
    names: list[list[list[int]]],
    entries: list[int] | None = None,
    after: list[bool] | None = None,
) -> NameIndex:
    """Rows with these names each, one entry a row that fires at its name unless told."""
    counts = torch.tensor(entries or [1] * len(names), dtype=torch.long)
    late = torch.tensor(after or [False] * len(names), dtype=torch.bool)
    return NameIndex.of([name_hashes(row) for row in names], counts, late)


def reference(text: list[int], names: list[list[list[int]]]) -> list[set[int]]:
    """At each token the rows with the longest name that ends there."""
    found = []
    for end in range(1, len(text) + 1):
        ending = [
            (len(name), row)
            for row, own in enumerate(names)
            for name in own
            if text[:end][-len(name) :] == name
        ]
        longest = max((length for length, _ in ending), default=0)
        found.append({row for length, row in ending if length == longest})
    return found


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
)
def test_the_longest_name_that_ends_at_a_token_is_found(
    names: list[list[list[int]]], text: list[int]
) -> None:
    index, ids_BT = index_of(names), torch.tensor([text])
    token_C, entry_C = index.candidates(ids_BT, len(text))
    pairs = list(zip(token_C.tolist(), entry_C.tolist(), strict=True))
    assert [{row for token, row in pairs if token == t} for t in range(len(text))] == reference(
        text, names
    )
    mask = torch.zeros(len(text), len(names), dtype=torch.bool)
    mask[token_C, entry_C] = True
    assert torch.equal(index.named(ids_BT, len(text)), mask)


def test_all_entries_of_a_row_are_candidates() -> None:
    index = index_of([[[1]], [[2]], [[2]]], entries=[1, 3, 2])
    token_C, entry_C = index.candidates(torch.tensor([[1, 2]]), 2)
    assert token_C.tolist() == [0, 1, 1, 1, 1, 1]
    assert entry_C.tolist() == [0, 1, 2, 3, 4, 5]


def test_no_rows_are_named_by_anything() -> None:
    token_C, entry_C = index_of([]).candidates(torch.tensor([[1, 2]]), 2)
    assert token_C.tolist() == entry_C.tolist() == []


def test_a_name_longer_than_the_window_goes_by_its_end() -> None:
    long = list(range(WINDOW + 9))
    index = index_of([[long]])
    token_C, _ = index.candidates(torch.tensor([[7, *long[4:]]]), len(long) - 3)
    assert token_C.tolist() == [len(long) - 4]
    other = [*long[:-3], 99, *long[-2:]]
    assert index.candidates(torch.tensor([other]), len(long))[0].tolist() == []


def test_text_before_the_beginning_matches_no_name() -> None:
    padded = torch.tensor([[NOTHING, NOTHING, 5]])
    assert index_of([[[0, 5]], [[5, 5]]]).candidates(padded, 1)[0].tolist() == []
    assert index_of([[[5]]]).candidates(padded, 1)[0].tolist() == [0]


@given(
    st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(1, 12),
)
def test_a_row_after_its_name_stays_a_candidate(
    rows: list[tuple[list[int], bool]], written: list[list[int]], new: int
) -> None:
    ids_BT = texts(written)
    new = min(new, ids_BT.shape[1])
    index = index_of([[name] for name, _ in rows], after=[late for _, late in rows])
    wanted = set()
    for text, ids in enumerate(ids_BT.tolist()):
        found = reference(ids, [[name] for name, _ in rows])
        for column in range(ids_BT.shape[1] - new, ids_BT.shape[1]):
            for row, (_, late) in enumerate(rows):
                since = found[: column + 1] if late else found[column : column + 1]
                if any(row in here for here in since):
                    wanted.add((text * new + column - (ids_BT.shape[1] - new), row))
    token_C, entry_C = index.candidates(ids_BT, new)
    assert set(zip(token_C.tolist(), entry_C.tolist(), strict=True)) == wanted
    assert token_C.tolist() == sorted(token_C.tolist())
    named = index.named(ids_BT, new).nonzero().tolist()
    assert {(token, row) for token, row in named} == wanted


@given(
    st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(0, 2), min_size=200, max_size=200),
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.booleans(),
)
@settings(max_examples=50)
def test_a_text_that_goes_on_is_read_as_if_it_were_read_at_once(
    rows: list[tuple[list[int], bool]], text: list[int], calls: list[int], other: bool
) -> None:
    def index() -> NameIndex:
        return index_of([[name] for name, _ in rows], after=[late for _, late in rows])

    ids_BT = torch.tensor([text, text[::-1]])
    going_on, end = index(), 0
    for number, new in enumerate(calls):
        end = min(end + new, 200)
        now_BT = ids_BT[:, :end]
        if other and number == 1:
            now_BT = now_BT.flip(0)  # the rows of a batch have changed places
        found, fresh = going_on.candidates(now_BT, new), index().candidates(now_BT, new)
        assert torch.equal(found[0], fresh[0])
        assert torch.equal(found[1], fresh[1])


def test_a_name_is_forgotten_after_a_while() -> None:
    index = index_of([[[1]]], after=[True])
    text = torch.tensor([[1] + [0] * (REACH + 4)])
    assert index.candidates(text, text.shape[1])[0].tolist() == list(range(REACH))
    assert index.candidates(text, 5)[0].tolist() == []
    assert index.candidates(text[:, :REACH], 1)[0].tolist() == [0]


def test_windows_end_with_their_token() -> None:
    text = torch.arange(20)[None]
    window_TW = windows(text, 3)
    assert window_TW.shape == (3, WINDOW)
    assert window_TW[:, -1].tolist() == [17, 18, 19]
    assert window_TW[-1].tolist() == list(range(4, 20))
    short = windows(torch.tensor([[8, 9]]), 2)
    assert short[0].tolist() == [NOTHING] * (WINDOW - 1) + [8]
    assert short[1, -3:].tolist() == [NOTHING, 8, 9]


def test_hashes_of_different_names_differ() -> None:
    pairs = torch.cartesian_prod(torch.arange(300), torch.arange(300))
    window = torch.full((len(pairs), WINDOW), NOTHING)
    window[:, -2:] = pairs
    hashes = suffix_hashes(window)[:, :2].reshape(-1)
    assert len(torch.unique(hashes)) == 300 * 300 + 300
