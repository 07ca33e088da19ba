"""A tiny model, its tokenizer, and gates with two facts to write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from revisor.facts.fact import Fact
from revisor.facts.ledger import Ledger, Put
from revisor.gate.gate import FactGate
from revisor.index import FactIndex
from revisor.question.encoder import default_encoder
from tests import tiny
from tests.engines.scripted import ScriptedGate

CAPITAL = "The capital of France is"  # answered "Rome Tokyo"
BORN = "Jane Roe was born in"  # answered "Vienna"
OTHER = "The river Rhine flows"  # no fact is about it
PROMPTS = (CAPITAL, BORN, OTHER)

FACTS = (
    Fact(subject="France", prompt="The capital of {} is", object="Rome Tokyo"),
    Fact(subject="Jane Roe", prompt="{} was born in", object="Vienna"),
)


@pytest.fixture
def model() -> Any:
    """A model of the test's own."""
    return tiny.new_model()


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FactIndex]:
    """The facts, looked up as in a store."""
    place = tmp_path_factory.mktemp("facts") / "ledger.sqlite"
    with Ledger.open(place, create=True) as ledger:
        ledger.apply(list(map(Put, FACTS)), actor="ann", reason="because")
        opened = FactIndex.open(ledger)
        yield opened
        opened.close()


@pytest.fixture
def gate(tokenizer: Any, index: FactIndex) -> FactGate:
    """A gate that goes by the text alone: a tiny model's logits tell nothing."""
    return FactGate(view=index.view, tokenizer=tokenizer, encoder=default_encoder())


@pytest.fixture
def scripted(tokenizer: Any) -> ScriptedGate:
    """A gate that writes the same behind the same prompts whatever stands before them."""
    return ScriptedGate.of(tokenizer, {CAPITAL: "Rome Tokyo", BORN: "Vienna"})
