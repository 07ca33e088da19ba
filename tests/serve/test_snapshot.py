"""One generation of a store: what each caller may use of it."""

from __future__ import annotations

import torch

from revisor.neuraldb.editing.keys import ffn_inputs
from revisor.neuraldb.gate.module import MISS, match
from revisor.serve.snapshot import open_snapshot
from revisor.store import Store
from tests.serve.conftest import ACME, BASEL


def test_the_rows_of_a_namespace_fire_where_their_subject_is_named_and_nowhere_else(
    store: Store,
) -> None:
    snapshot = open_snapshot(store, 1)
    part = snapshot.view_for(frozenset({BASEL.namespace}))
    assert part.ids == (BASEL.id,)
    assert part is snapshot.view_for(frozenset({BASEL.namespace}))
    row = store.bank().get(BASEL.id)
    assert torch.equal(part.keys_ME[:], row.keys_CE)
    assert torch.equal(part.R_ND[0], row.r_D)
    for fact, hit in ((BASEL, 0), (ACME, MISS)):
        ids = store.loaded.tokenizer(fact.text)["input_ids"]
        keys = ffn_inputs(store.loaded.model, store.spec, store.settings.layer, [ids])[0]
        assert int(match(keys, part, torch.tensor([ids])).row_T[-1]) == hit
