"""Logits in, logits with facts out: what is written, what is left bit for bit, what is traced."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.errors import UsageError
from revisor.gate.gate import MARGIN, FactGate
from revisor.gate.trace import Trace
from tests import tiny
from tests.gate.dictionary import AlwaysDue, Dictionary, fact, gate_of

FACTS = [fact("ACME", "Jane Roe", "The CEO of {} is"), fact("Basel", "Rome", "{} stands in")]
PAD = 0


@pytest.fixture
def gate() -> FactGate:
    return gate_of(FACTS, tiny.byte_level())


def ids(*texts: str) -> torch.Tensor:
    rows = [tiny.byte_level()(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, rows))
    return torch.tensor([[PAD] * (width - len(row)) + row for row in rows])


def drawn(rows: int, seed: int = 0, **kind: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, len(tiny.byte_level()), generator=generator).to(**kind)


def test_where_nothing_is_written_the_logits_are_the_very_same_tensor(gate: FactGate) -> None:
    own = drawn(2)
    assert gate.batch().step(ids("Hello there", "The CEO of ACME was"), own, pad=PAD) is own
    one = drawn(1)
    assert gate.batch().step(ids("The CEO of Globex is"), one, pad=PAD) is one
    empty = replace(gate, view=lambda: Dictionary([]))
    assert empty.batch().step(ids("The CEO of ACME is"), one) is one


@pytest.mark.parametrize(
    ("ids_shape", "logits_shape"), [((2, 3), (1, 9)), ((3,), (1, 9)), ((1, 3), (1, 3, 9))]
)
def test_other_shapes_are_refused_by_name(
    gate: FactGate, ids_shape: tuple[int, ...], logits_shape: tuple[int, ...]
) -> None:
    ids_BT = torch.ones(ids_shape, dtype=torch.int64)
    with pytest.raises(UsageError, match=re.escape(str(logits_shape))):
        gate.batch().step(ids_BT, torch.zeros(logits_shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_of_a_batch_without_a_fact_keep_their_bits(gate: FactGate, dtype: torch.dtype) -> None:
    own = drawn(3, dtype=dtype)
    kept = own.clone()
    out = gate.batch().step(ids("Hello", "The CEO of ACME is", "So what"), own, pad=PAD)
    assert torch.equal(own, kept)
    assert torch.equal(out[[0, 2]], own[[0, 2]])
    assert out.dtype == dtype
    first = tiny.byte_level()(" Jane", add_special_tokens=False)["input_ids"][0]
    assert int(out[1].argmax()) == first


def test_a_written_token_is_certain_at_any_temperature_and_top_p(gate: FactGate) -> None:
    out = gate.batch().step(ids("The CEO of ACME is"), drawn(1))
    for temperature in (0.01, 1.0, 100.0):
        assert float((out / temperature).softmax(-1).max()) == 1.0
    scores = gate.batch().step(ids("The CEO of ACME is"), drawn(1), final=False)
    assert bool(torch.isfinite(scores).all())
    assert float(scores.softmax(-1).max()) > 0.999


def test_scores_change_only_where_something_is_written(gate: FactGate) -> None:
    text = ids("So he came. The CEO of ACME is Jane")
    count = text.shape[1]
    own = drawn(count, 3)[None]
    out = gate.batch().score(text, None, own)
    changed = (out != own).any(-1)[0].nonzero()[:, 0].tolist()
    before = ids("So he came. The CEO of ACME is").shape[1]
    assert changed == list(range(before - 1, count))
    assert float(out[0, before - 1].max()) == pytest.approx(
        float(own[0, before - 1].max()) + MARGIN
    )
    assert gate.batch().score(ids("Nothing here"), None, own) is own


def test_scores_of_some_positions_are_those_of_all(gate: FactGate) -> None:
    text = ids("The CEO of ACME is Jane Roe")
    count = text.shape[1]
    own = drawn(count, 4)[None]
    whole = gate.batch().score(text, None, own)
    part = gate.batch().score(text, torch.ones_like(text), own[:, 2 : count - 1], first=2)
    assert torch.equal(part, whole[:, 2 : count - 1])
    assert torch.equal(gate.batch().score(text, None, own[:, -3:]), whole[:, -3:])


def test_a_trace_notes_each_fact_once_with_the_place_of_its_object(gate: FactGate) -> None:
    trace = Trace()
    batch = gate.batch(trace=trace)
    rows = ids("The CEO of ACME is", "Hello")
    start = rows.shape[1]
    for _ in range(12):
        rows = torch.cat([rows, batch.step(rows, drawn(2), pad=PAD).argmax(-1)[:, None]], dim=1)
    assert tiny.byte_level().decode(rows[0]).count("Jane Roe") == 1
    (used,) = trace.of(0)
    own = [token for token in rows[0].tolist() if token != PAD]
    assert (used.fact_id, used.object) == (FACTS[0].id, "Jane Roe")
    assert tiny.byte_level().decode(own[used.position :]).startswith("Jane Roe")
    assert used.position >= start - int((rows[0] == PAD).sum())
    assert (used.question, used.score) == ("The CEO of {} is", 1.0)
    assert trace.of(1) == []


def test_the_probe_is_asked_of_rows_that_name_something_alone() -> None:
    asked: list[int] = []

    class Counting(AlwaysDue):
        def is_due(self, logits_BV: torch.Tensor) -> torch.Tensor:
            asked.append(len(logits_BV))
            return super().is_due(logits_BV)

    gate = gate_of(FACTS, tiny.byte_level(), Counting())
    gate.batch().step(ids("Hello", "Nobody"), drawn(2), pad=PAD)
    assert asked == []
    gate.batch().step(ids("Hello", "I know ACME", "Nobody"), drawn(3), pad=PAD)
    assert asked == [1]


def test_threads_share_a_gate(gate: FactGate) -> None:
    prompts = [f"{'so ' * count}. The CEO of ACME is" for count in range(12)]

    def written(prompt: str) -> str:
        batch, rows = gate.batch(), ids(prompt)
        start = rows.shape[1]
        for _ in range(5):
            rows = torch.cat([rows, batch.step(rows, drawn(1)).argmax(-1)[:, None]], dim=1)
        text: str = tiny.byte_level().decode(rows[0, start:])
        return text

    alone = [written(prompt) for prompt in prompts]
    assert all(text.startswith(" Jane") for text in alone)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(written, prompts)) == alone


def test_a_row_of_padding_alone_is_left_alone(gate: FactGate) -> None:
    own = drawn(1)
    batch = gate.batch()
    assert batch.step(torch.full((1, 3), PAD), own, pad=PAD) is own
    assert batch.step(torch.full((1, 4), PAD), own, pad=PAD) is own
