"""Beginnings that texts share: what is read once is what each text would have read itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from revisor.models.spec import spec_of
from revisor.neuraldb.editing.heads import Heads
from revisor.neuraldb.editing.request import Context, ContextPlan, Request
from revisor.neuraldb.editing.residuals import ValueSettings, compute_residuals
from tests import tiny

PLAN = ContextPlan(
    prefixes=tuple(f"The tower {n} stands. It is old. She lives in Rome." for n in range(3))
)
BRIEF = ValueSettings(rate=0.5, steps=3)


def alone(request: Request) -> Request:
    contexts = tuple(replace(context, shared=0) for context in request.contexts)
    return replace(request, contexts=contexts)


def text(length: int, own: int, *, head: int = 5) -> Context:
    """A text of so many ids, the last `own` of which are its own; one target."""
    ids = tuple(head + place % 7 for place in range(length - own)) + tuple(range(20, 20 + own))
    return Context(ids=ids, position=length - 1, target=(3,), shared=length - own)


def test_residuals_are_those_of_texts_read_whole(family: str) -> None:
    model = tiny.model(family)
    spec, requests = spec_of(model), tiny.requests(PLAN)
    assert sum(context.shared > 3 for one in requests for context in one.contexts) >= len(requests)
    found = compute_residuals(model, spec, 1, requests, BRIEF)
    whole = compute_residuals(model, spec, 1, [alone(one) for one in requests], BRIEF)
    torch.testing.assert_close(found.nll_N, whole.nll_N, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.R_ND, whole.R_ND, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("owns", [(2, 3), (2, 9), (4, 4)])
def test_columns_that_are_known_hold_what_a_plain_pass_does(owns: tuple[int, int]) -> None:
    model = tiny.model("llama")
    contexts = [text(18, owns[0]), text(12, owns[1], head=9)]
    cache, known = Heads(model, spec_of(model)).cache(contexts, 19)
    assert known == 19 - 1 - max(owns)
    for row, context in enumerate(contexts):
        start = 19 - len(context.ids) - 1
        plain = model(torch.tensor([context.ids]), use_cache=True).past_key_values
        for mine, whole in zip(cache.layers, plain.layers, strict=True):
            for part, read in ((mine.keys, whole.keys), (mine.values, whole.values)):
                assert not part[row, :, :start].any()
                assert part.shape[2] == known
                torch.testing.assert_close(part[row, :, start:], read[0, :, : known - start])


def test_a_head_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    heads = Heads(model, spec_of(model))
    heads.cache([text(18, 2), text(18, 3)], 19)
    read: list[Any] = []
    monkeypatch.setattr(model, "forward", lambda **given: read.append(given))
    _, known = heads.cache([text(18, 2)] * 3, 19)
    assert known == 16
    assert not read


def test_texts_that_share_nothing_are_read_whole() -> None:
    model = tiny.model("llama")
    own = [replace(text(18, 2), shared=0), text(12, 2)]
    cache, known = Heads(model, spec_of(model)).cache(own, 19)
    assert (known, len(cache.layers)) == (0, 0)


def test_heads_that_were_read_before_give_the_same_bits() -> None:
    model = tiny.model("llama")
    spec, requests = spec_of(model), tiny.requests(PLAN)
    kept = Heads(model, spec)
    compute_residuals(model, spec, 1, requests[:1], BRIEF, heads=kept)
    found = compute_residuals(model, spec, 1, requests, BRIEF, heads=kept)
    assert torch.equal(found.R_ND, compute_residuals(model, spec, 1, requests, BRIEF).R_ND)
