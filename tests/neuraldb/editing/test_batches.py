"""How rows are put into batches: grouped, and cut where that saves padding."""

from __future__ import annotations

from revisor.facts.fact import Fact
from revisor.models.spec import spec_of
from revisor.neuraldb.editing.pacing import BEGUN, MORE, Pace, grouped, pace, parts
from revisor.neuraldb.editing.request import Context, Request
from tests import tiny
from tests.elsewhere import elsewhere


def request(*lengths: tuple[int, int]) -> Request:
    """A request with a context of each (prefix tokens, suffix tokens) and one target token."""
    contexts = tuple(
        Context(ids=(7,) * (before + after - 1), position=before, target=(7,))
        for before, after in lengths
    )
    return Request(fact=Fact(subject="A", prompt="{} is", object="b"), contexts=contexts)


CPU = Pace(tokens=1536)


def shapes(found: list[list[tuple[int, Context]]]) -> list[set[tuple[int, int]]]:
    return [{(context.position, context.suffix) for _, context in part} for part in found]


def test_rows_of_one_length_stay_together() -> None:
    assert shapes(parts([request((3, 5), (3, 5)), request((3, 5))], CPU)) == [{(3, 5)}]


def test_long_suffixes_are_run_apart() -> None:
    assert shapes(parts([request((3, 5), (3, 40)), request((3, 5), (3, 41))], CPU)) == [
        {(3, 5)},
        {(3, 40), (3, 41)},
    ]


def test_long_texts_before_the_subject_are_run_apart() -> None:
    assert shapes(parts([request((3, 5), (180, 5)), request((4, 5), (170, 5))], CPU)) == [
        {(3, 5), (4, 5)},
        {(180, 5), (170, 5)},
    ]


def test_three_kinds_of_rows_make_three_parts() -> None:
    found = parts([request((3, 5), (3, 5), (3, 60), (400, 5))], CPU)
    assert sorted(map(sorted, shapes(found))) == [[(3, 5)], [(3, 60)], [(400, 5)]]


def test_every_row_is_in_one_part_and_knows_its_request() -> None:
    requests = [request((3, 5), (3, 40)), request((200, 6)), request((9, 5))]
    rows = [row for part in parts(requests, CPU) for row in part]
    assert len(rows) == 4
    for index, asked in enumerate(requests):
        assert [c for i, c in rows if i == index] == list(asked.contexts)


def test_rows_share_a_pass_whose_launch_costs_more_than_their_padding() -> None:
    rows = [request((3, 5), (3, 5), (3, 60), (400, 5))]
    assert len(parts(rows, Pace(tokens=1536, launch=60.0))) == 2
    assert len(parts(rows, Pace(tokens=1536, launch=1000.0))) == 1


def test_a_batch_holds_so_many_tokens_and_columns() -> None:
    requests = [request((10, 5)) for _ in range(8)]  # 15 columns each, 5 of them suffix
    sizes = [len(batch) for batch in grouped(requests, Pace(tokens=20))]
    assert sizes == [4, 4]
    sizes = [len(batch) for batch in grouped(requests, Pace(tokens=20, columns=45))]
    assert sizes == [3, 3, 2]


def test_what_is_larger_than_a_batch_has_one_of_its_own() -> None:
    requests = [request((500, 50)), request((3, 5)), request((3, 6))]
    assert [len(batch) for batch in grouped(requests, Pace(tokens=20, columns=100))] == [2, 1]


def test_a_large_model_fills_a_device_and_a_small_one_waits_for_launches() -> None:
    small, large = (tiny.new_model(hidden_size=width) for width in (16, 64))
    assert pace(small, spec_of(small), 1, 100) == Pace(tokens=100, launch=BEGUN)
    with elsewhere(small), elsewhere(large):
        one, other = (pace(model, spec_of(model), 1, 100) for model in (small, large))
    assert one.tokens == other.tokens == MORE * 100
    assert one.launch > other.launch > 0
    assert one.columns > other.columns > 0
