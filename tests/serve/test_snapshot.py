"""One generation of a store: what each caller may use of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from revisor.bank.encode import KeyEncoder
from revisor.bank.names import windows
from revisor.gate.module import MISS, match
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
    assert torch.equal(part.keys_ME, row.keys_CE)
    assert torch.equal(part.R_ND[0], row.r_D)
    raw = replace(part, encoder=KeyEncoder())
    for fact, hit in ((BASEL, 0), (ACME, MISS)):
        ids = torch.tensor([store.loaded.tokenizer(fact.subject)["input_ids"]])
        assert match(row.keys_CE[:1], raw, windows(ids, 1)).row_T.tolist() == [hit]
