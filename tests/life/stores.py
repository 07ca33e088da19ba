"""What the tests of a store's life share: its facts, how a store is made, what is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from revisor.facts.fact import Fact
from revisor.neuraldb.bank.bank import Row
from revisor.neuraldb.bank.vectors import Packed, stored
from revisor.store import Store
from tests import tiny

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome")
ZORA = Fact(subject="Zora", prompt="The mother tongue of {} is", object="French")
FACTS = (ACME, BASEL, ZORA)


def new_store(path: Path, folder: Path, **more: Any) -> Store:
    return Store.init(path, model=str(folder), dtype="fp32", device="cpu", layer=1, **more)


def logits(model: Any, fact: Fact) -> torch.Tensor:
    ids = torch.tensor([tiny.byte_level()(fact.text)["input_ids"]])
    found = model(ids).logits
    assert isinstance(found, torch.Tensor)
    return found


def said(store: Store, fact: Fact) -> str:
    return store.engine().generate([fact.text], max_tokens=8)[0].answer


def on_disk(store: Store, row: Row) -> tuple[bytes, bytes]:
    """What a file of a store's rows holds of one's residual and of its first key."""
    kept = (stored(vector[None], store.settings.bits) for vector in (row.r_D, row.keys_CE[0]))
    codes = [one.codes_NB if isinstance(one, Packed) else one for one in kept]
    return codes[0].numpy().tobytes(), codes[1].numpy().tobytes()


def same_bank(one: Store, other: Store) -> bool:
    """Whether the newest banks have the same rows in the same order, bit for bit."""
    a, b = one.bank().view(), other.bank().view()
    names = ("keys_ME", "gamma_M", "row_M", "R_ND")
    return a.ids == b.ids and all(torch.equal(getattr(a, n)[:], getattr(b, n)[:]) for n in names)
