"""A gate's time beside a model's, on a tiny one."""

from __future__ import annotations

import pytest

from revisor.gate.measure import decode_overhead, lookup_us, prefill_overhead
from revisor.models.load import LoadedModel
from tests import tiny
from tests.gate.dictionary import AlwaysDue, Dictionary, fact, gate_of

FACTS = [fact("ACME", "Jane Roe", "The CEO of {} is"), fact("Basel", "Rome", "{} stands in")]
NAMES = ["ACME", "Basel"]


@pytest.mark.parametrize("batch", [1, 3])
def test_the_gates_time_is_told_as_a_share_of_the_models(batch: int) -> None:
    loaded = LoadedModel(name="tiny", model=tiny.model(), tokenizer=tiny.byte_level())
    gate = gate_of(FACTS, loaded.tokenizer, AlwaysDue())
    for cost in (
        decode_overhead(loaded, gate, NAMES, batch=batch, steps=3),
        prefill_overhead(loaded, gate, NAMES, batch=batch, length=40, times=2),
    ):
        assert cost.batch == batch
        assert cost.gate_us > 0
        assert cost.model_us > 0
        assert 0 < cost.overhead < 1000


def test_a_look_up_takes_some_microseconds() -> None:
    assert 0 < lookup_us(Dictionary(FACTS), NAMES) < 10_000
    assert lookup_us(Dictionary(FACTS), []) == 0.0
