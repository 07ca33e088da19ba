"""The gate over a paged cache decides as the gate over whole texts, however a text is cut up."""

from __future__ import annotations

import random

import pytest
import torch

from revisor.neuraldb.bank.bank import View
from revisor.neuraldb.bank.encode import KeyEncoder
from revisor.neuraldb.gate.module import MISS, gate
from revisor.neuraldb.gate.slots import Batch, SlotGate, SlotHit
from tests import hearing

BLOCK = 4
KEY, HIDDEN, ROWS = hearing.KEY, hearing.HIDDEN, 3
NAMES = [[12, 13], [9], [13], [9]]  # of which [12, 13] is longer than [13]
AFTER, ENTRIES = [False, True, False, True], [1, 3, 2, 2]


def a_view(*, named: bool) -> View:
    """Three rows of keys alone; or rows at their names and after, which ask for something."""
    generator = torch.Generator().manual_seed(0)
    if named:
        rows = [
            ([name], after, count) for name, after, count in zip(NAMES, AFTER, ENTRIES, strict=True)
        ]
        return hearing.view(rows, generator)
    keys = torch.nn.functional.normalize(torch.randn(ROWS, KEY, generator=generator), dim=1)
    return View(
        ids=("a", "b", "c"),
        keys_ME=keys,
        gamma_M=torch.full((ROWS,), 0.2),
        row_M=torch.arange(ROWS),
        R_ND=torch.randn(ROWS, HIDDEN, generator=generator),
        encoder=KeyEncoder(),
        generation=1,
    )


class Request:
    """A text that is read piece by piece into blocks of its own."""

    def __init__(self, number: int, seed: int, view: View | None) -> None:
        chance = random.Random(seed)
        length = chance.randint(5, 150)
        drawn = chance.choices(range(hearing.VOCABULARY), hearing.MIX.tolist(), k=length)
        self.ids = [chance.choice([9, 12, 13]) if chance.random() < 0.15 else i for i in drawn]
        self.keys = torch.randn(len(self.ids), KEY, generator=torch.Generator().manual_seed(seed))
        self.blocks = [number * 40 + block for block in chance.sample(range(40), 38)]
        self.view = view
        self.read = 0

    def slots(self, start: int, end: int) -> list[int]:
        return [self.blocks[p // BLOCK] * BLOCK + p % BLOCK for p in range(start, end)]


def a_batch(pieces: list[tuple[Request, int]]) -> Batch:
    starts, ids, slots = [0], [], []
    for request, new in pieces:
        ids += request.ids[request.read : request.read + new]
        slots += request.slots(request.read, request.read + new)
        starts.append(starts[-1] + new)
    return Batch(
        ids_T=torch.tensor(ids, dtype=torch.int32),
        slot_T=torch.tensor(slots),
        start_B=starts,
        length_B=[request.read + new for request, new in pieces],
        blocks_BW=torch.tensor([request.blocks for request, _ in pieces], dtype=torch.int32),
        views=[request.view for request, _ in pieces],
    )


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_mixed_batches_of_pieces_equal_each_text_read_whole(named: bool, seed: int) -> None:
    one, other = a_view(named=named), a_view(named=named)
    views = [one, None, other, one]
    requests = [Request(i, 10 * seed + i, view) for i, view in enumerate(views)]
    paged = SlotGate(slots=40 * 4 * BLOCK, block=BLOCK, device=torch.device("cpu"))
    got = [torch.zeros(len(request.ids), HIDDEN) for request in requests]
    hits: list[tuple[int, SlotHit]] = []
    chance = random.Random(seed)
    while left := [request for request in requests if request.read < len(request.ids)]:
        chance.shuffle(left)
        pieces = [
            (request, min(chance.choice([1, 1, 3, 20]), len(request.ids) - request.read))
            for request in left
        ]
        batch = a_batch(pieces)
        paged.begin(batch)
        padding = 2
        key = torch.cat([r.keys[r.read : r.read + new] for r, new in pieces])
        key = torch.cat([key, torch.randn(padding, KEY)])
        value = torch.zeros(len(key), HIDDEN)
        paged.edit(key, value)
        assert not value[-padding:].any()
        hits += [(requests.index(pieces[hit.request][0]), hit) for hit in paged.end()]
        for (request, new), start in zip(pieces, batch.start_B, strict=False):
            got[requests.index(request)][request.read : request.read + new] = value[
                start : start + new
            ]
            request.read += new
    fired = late = 0
    for number, request in enumerate(requests):
        if request.view is None:
            assert not got[number].any()
            continue
        delta, expected = gate(request.keys, request.view, torch.tensor([request.ids]))
        assert torch.equal(got[number], delta)
        told = {hit.position: hit.row_id for index, hit in hits if index == number}
        where = (expected.row_T != MISS).nonzero().squeeze(1).tolist()
        assert told == {place: request.view.ids[expected.row_T[place]] for place in where}
        fired += len(where)
        late += sum(AFTER[row] for row in expected.row_T[where].tolist()) if named else 0
    assert fired > 5
    assert late > 3 or not named


def test_a_text_that_comes_from_the_cache_is_read_from_its_slots() -> None:
    view = a_view(named=True)
    paged = SlotGate(slots=400, block=BLOCK, device=torch.device("cpu"))
    first, second = Request(0, 1, view), Request(0, 1, view)
    whole = len(first.ids) // BLOCK * BLOCK
    paged.begin(a_batch([(first, whole)]))
    paged.end()
    second.read = whole - 1  # the blocks of the first are its own
    paged.begin(a_batch([(second, 1)]))
    value = torch.zeros(1, HIDDEN)
    paged.edit(second.keys[whole - 1 : whole], value)
    delta, _ = gate(second.keys[:whole], view, torch.tensor([second.ids[:whole]]))
    assert torch.equal(value[0], delta[-1])


def test_what_fired_in_a_text_is_told_to_whoever_gets_its_slots_from_the_cache() -> None:
    view = a_view(named=False)
    paged = SlotGate(slots=400, block=BLOCK, device=torch.device("cpu"))
    first, second = Request(0, 1, view), Request(0, 1, view)
    whole = len(first.ids) // BLOCK * BLOCK
    paged.begin(a_batch([(first, whole)]))
    paged.edit(first.keys[:whole], torch.zeros(whole, HIDDEN))
    fired = {hit.position: hit for hit in paged.end() if hit.position < whole - 1}
    assert len(fired) > 2
    second.read = whole - 1
    batch = a_batch([(second, 1)])
    paged.begin(batch)
    told = paged.recall(batch, 0, whole - 1)
    paged.end()
    assert {hit.position: hit for hit in told} == fired
    # Another text in the same slots: what fired before is forgotten.
    other = Request(0, 1, None)
    batch = a_batch([(other, whole)])
    paged.begin(batch)
    assert paged.recall(batch, 0, whole) == []


def test_a_cache_that_is_laid_out_otherwise_is_refused() -> None:
    request = Request(0, 1, a_view(named=True))
    paged = SlotGate(slots=400, block=2, device=torch.device("cpu"))
    with pytest.raises(RuntimeError, match="laid out"):
        paged.begin(a_batch([(request, 5)]))


def test_without_a_pass_nothing_is_touched() -> None:
    paged = SlotGate(slots=4, block=BLOCK, device=torch.device("cpu"))
    value = torch.ones(2, HIDDEN)
    paged.edit(torch.ones(2, KEY), value)
    assert torch.equal(value, torch.ones(2, HIDDEN))
