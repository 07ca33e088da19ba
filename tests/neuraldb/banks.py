"""What the tests of banks share: facts, workspaces on a tiny model, what is looked at of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from revisor.facts.changes import Put, Remove
from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger
from revisor.models.load import load_model
from revisor.neuraldb.bank.bank import Bank, Row, View
from revisor.neuraldb.method import NeuralDBSettings, Workspace, engine, open_bank, valid_rows
from tests import tiny

ACME = Fact(subject="ACME", prompt="The capital of {} is", object="Vienna")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome")
ZORA = Fact(subject="Zora", prompt="The mother tongue of {} is", object="French")
FACTS = (ACME, BASEL, ZORA)
GAMMA = 0.9  # the tiny model's raw keys are all alike


def workspace(path: Path, folder: Path, *, ledger: Ledger | None = None, **more: Any) -> Workspace:
    """One of a model in a folder; its ledger is made if there is none."""
    path.mkdir(exist_ok=True)
    settings = NeuralDBSettings(
        model=str(folder), dtype="fp32", device="cpu", layer=1, **{"gamma": GAMMA, **more}
    )
    return Workspace(
        path=path,
        settings=settings,
        ledger=ledger or Ledger.open(path / "ledger.sqlite", create=True),
        open_model=lambda: load_model(str(folder), dtype="fp32", device="cpu"),
    )


def put(ws: Workspace, *facts: Fact) -> None:
    ws.ledger.apply([Put(fact) for fact in facts], actor="ann", reason="")


def change(ws: Workspace, fact: Fact, obj: str) -> None:
    put(ws, replace(fact, object=obj))


def remove(ws: Workspace, *facts: Fact) -> None:
    ws.ledger.apply([Remove(fact.id) for fact in facts], actor="ann", reason="")


def bank_of(ws: Workspace) -> Bank:
    bank, lease = open_bank(ws)
    lease.close()
    return bank


def view_of(ws: Workspace) -> View:
    return valid_rows(ws, bank_of(ws)).view()


def logits(model: Any, fact: Fact) -> torch.Tensor:
    ids = torch.tensor([tiny.byte_level()(fact.text)["input_ids"]])
    found = model(ids).logits
    assert isinstance(found, torch.Tensor)
    return found


def answers(ws: Workspace, facts: Sequence[Fact]) -> list[str]:
    made, lease = engine(ws)
    with closing(lease):
        return [one.answer for one in made.generate([f.text for f in facts], max_tokens=8)]


def answer(ws: Workspace, fact: Fact) -> str:
    return answers(ws, [fact])[0]


def on_disk(row: Row) -> tuple[bytes, bytes]:
    """What a file of rows holds of one's residual and of its first key."""
    return row.r_D.numpy().tobytes(), row.keys_CE[0].numpy().tobytes()


def holders(folder: Path, *needles: bytes) -> list[str]:
    """The files under a folder that hold any of the needles."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {needle[:24]!r}" for needle in needles if needle in content]
    return found


def same_bank(one: Workspace, other: Workspace) -> bool:
    """Whether the newest banks have the same rows in the same order, bit for bit."""
    a, b = bank_of(one).view(), bank_of(other).view()
    names = ("keys_ME", "gamma_M", "row_M", "R_ND")
    return a.ids == b.ids and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)
