"""Names in a stream of tokens, against a search by hand."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revisor.neuraldb.bank.names import (
    NOTHING,
    REACH,
    WINDOW,
    NameIndex,
    name_hashes,
    spread,
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
    return NameIndex.of([torch.unique(name_hashes(row)) for row in names], counts, late)


def ended(index: NameIndex, ids_BT: torch.Tensor, new: int) -> set[tuple[int, int, int, int]]:
    """The names that end: (text, column of the last token, tokens, row)."""
    spans = index.spans(ids_BT, new)
    if spans is None:
        return set()
    found = index.ended(ids_BT, spans)
    place_R = found.place_R
    parts = (found.text_O[place_R], found.last_O[place_R], found.length_O[place_R], found.row_R)
    named = list(zip(*(part.tolist() for part in parts), strict=True))
    assert len(set(named)) == len(named)
    assert named == sorted(named, key=lambda name: name[:2]), "in the order of the text"
    return set(named)


def ended_everywhere(
    index: NameIndex, ids_BT: torch.Tensor, new: int
) -> set[tuple[int, int, int, int]]:
    """The same in shapes that do not depend on the data."""
    named_ON, last_O, length_O = index.everywhere(ids_BT, new)
    seen = len(last_O) // len(ids_BT)
    assert named_ON.shape == (len(ids_BT) * seen, len(index.count_N))
    assert seen == min(ids_BT.shape[1], new + REACH - 1)
    return {
        (place // seen, int(last_O[place]), int(length_O[place]), row)
        for place, row in named_ON.nonzero().tolist()
    }


def reference(
    text: list[int], names: list[list[list[int]]], number: int = 0
) -> set[tuple[int, int, int, int]]:
    """At each token the rows with the longest name that ends there."""
    found = set()
    for last in range(len(text)):
        ending = [
            (len(name), row)
            for row, own in enumerate(names)
            for name in own
            if len(name) <= last + 1 and text[last + 1 - len(name) : last + 1] == name
        ]
        longest = max((length for length, _ in ending), default=0)
        found |= {(number, last, longest, row) for length, row in ending if length == longest}
    return found


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
)
def test_the_longest_name_that_ends_at_a_token_is_found(
    names: list[list[list[int]]], text: list[int]
) -> None:
    index, ids_BT = index_of(names), torch.tensor([text])
    assert ended(index, ids_BT, len(text)) == reference(text, names)
    assert ended_everywhere(index, ids_BT, len(text)) == reference(text, names)


def test_the_entries_of_a_row_are_neighbours() -> None:
    index = index_of([[[1]], [[2]], [[2]]], entries=[1, 3, 2])
    assert index.first_N.tolist() == [0, 1, 4]
    owner, number = spread(torch.tensor([7, 9]), index.first_N[1:], index.count_N[1:])
    assert owner.tolist() == [7, 7, 7, 9, 9]
    assert number.tolist() == [1, 2, 3, 4, 5]


def test_no_rows_are_named_by_anything() -> None:
    assert index_of([]).spans(torch.tensor([[1, 2]]), 2) is None
    assert index_of([[[3]]]).spans(torch.tensor([[1, 2]]), 2) is None


def test_a_name_longer_than_the_window_goes_by_its_end() -> None:
    long = list(range(WINDOW + 9))
    index = index_of([[long]])
    text = [7, *long[4:]]
    assert ended(index, torch.tensor([text]), len(text)) == {(0, len(text) - 1, WINDOW, 0)}
    other = [*long[:-3], 99, *long[-2:]]
    assert index.spans(torch.tensor([other]), len(other)) is None


def test_text_before_the_beginning_matches_no_name() -> None:
    padded = torch.tensor([[NOTHING, NOTHING, 5]])
    assert index_of([[[0, 5]], [[5, 5]]]).spans(padded, 1) is None
    assert ended(index_of([[[5]]]), padded, 1) == {(0, 2, 1, 0)}


@given(
    st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=90), min_size=1, max_size=3),
    st.integers(1, 12),
)
def test_names_are_looked_for_as_far_back_as_a_row_after_its_name_reaches(
    rows: list[tuple[list[int], bool]], written: list[list[int]], new: int
) -> None:
    ids_BT = texts(written)
    new, late = min(new, ids_BT.shape[1]), any(after for _, after in rows)
    index = index_of([[name] for name, _ in rows], after=[after for _, after in rows])
    wanted = {
        name
        for number, ids in enumerate(ids_BT.tolist())
        for name in reference(ids, [[own] for own, _ in rows], number)
    }

    def since(first: int) -> set[tuple[int, int, int, int]]:
        return {name for name in wanted if name[1] >= first}

    first_new = ids_BT.shape[1] - new
    assert ended(index, ids_BT, new) == since(first_new - (REACH - 1 if late else 0))
    assert ended_everywhere(index, ids_BT, new) == since(first_new - REACH + 1)


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
        assert ended(going_on, now_BT, new) == ended(index(), now_BT, new)


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
