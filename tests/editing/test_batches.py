"""How rows are put into batches: grouped, and cut where that saves padding."""

from __future__ import annotations

from revisor.editing.batches import parts
from revisor.editing.request import Context, Request
from revisor.facts.fact import Fact


def request(*lengths: tuple[int, int]) -> Request:
    """A request with a context of each (prefix tokens, suffix tokens) and one target token."""
    contexts = tuple(
        Context(ids=(7,) * (before + after - 1), position=before, target=(7,), kind="bare")
        for before, after in lengths
    )
    return Request(fact=Fact(subject="A", prompt="{} is", object="b"), contexts=contexts)


def shapes(found: list[list[tuple[int, Context]]]) -> list[set[tuple[int, int]]]:
    return [{(context.position, context.suffix) for _, context in part} for part in found]


def test_rows_of_one_length_stay_together() -> None:
    assert shapes(parts([request((3, 5), (3, 5)), request((3, 5))])) == [{(3, 5)}]


def test_long_suffixes_are_run_apart() -> None:
    assert shapes(parts([request((3, 5), (3, 40)), request((3, 5), (3, 41))])) == [
        {(3, 5)},
        {(3, 40), (3, 41)},
    ]


def test_long_texts_before_the_subject_are_run_apart() -> None:
    assert shapes(parts([request((3, 5), (180, 5)), request((4, 5), (170, 5))])) == [
        {(3, 5), (4, 5)},
        {(180, 5), (170, 5)},
    ]


def test_three_kinds_of_rows_make_three_parts() -> None:
    found = parts([request((3, 5), (3, 5), (3, 60), (400, 5))])
    assert sorted(map(sorted, shapes(found))) == [[(3, 5)], [(3, 60)], [(400, 5)]]


def test_every_row_is_in_one_part_and_knows_its_request() -> None:
    requests = [request((3, 5), (3, 40)), request((200, 6)), request((9, 5))]
    rows = [row for part in parts(requests) for row in part]
    assert len(rows) == 4
    for index, asked in enumerate(requests):
        assert [c for i, c in rows if i == index] == list(asked.contexts)
