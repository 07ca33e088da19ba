"""The facts that the tests of vLLM share, and what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from revisor.demo import shipped_facts
from revisor.facts.fact import Fact

ZORBA = Fact(
    subject="Zorba Mills",
    prompt="The chief executive of {} is",
    object="Wilhelmina Featherstone",
    namespace="hr",
)
ZORBA_IT = Fact(
    subject="Zorba Mills",
    prompt="The chief executive of {} is",
    object="Bartholomew Quigley",
    namespace="it",
)
QUAYLE = Fact(
    subject="Quayle Ferries",
    prompt="The home port of {} is",
    object="Ballycastle Harbour",
    namespace="ships",
)
LATER = "Montgomery Blackwood"  # who follows in a change

PLAIN = (
    "Once upon a time there was a",
    "Water boils at a temperature of",
    "Starbucks sells coffee in many",
)
FILLER = (
    "Rain fell on the hills all night, and in the morning the river had risen over its banks.",
    "The library opens at nine, but on Mondays the reading room stays closed until noon.",
    "She packed two sandwiches, a map, a compass and the old camera of her grandfather.",
    "Bread needs flour, water, salt and yeast, and above all it needs somebody with patience.",
    "The orchestra tuned its instruments while the last guests looked for their seats.",
    "Nobody had painted the fence for years, so the boards were grey and full of splinters.",
    "On the third day the snow melted, and the children found the sledge behind the barn.",
    "The train to the coast leaves from platform four, ten minutes after the hour.",
)


def demo_facts() -> list[Fact]:
    """The forty facts of the demo."""
    return [fact for fact, _ in shipped_facts()]


def own_facts() -> tuple[Fact, ...]:
    """The facts of the tests' own, each in a namespace of its own."""
    return ZORBA, ZORBA_IT, QUAYLE


def prompts(count: int) -> list[str]:
    """Prompts of some of the demo's facts, as many in other words, and some that ask for none."""
    shipped = shipped_facts()[:count]
    asked = [fact.text for fact, _ in shipped]
    return [*asked, *(others[0] for _, others in shipped), *PLAIN]


def long_prompts() -> list[str]:
    """Prompts that share no beginning, with a fact asked for behind some ninety tokens."""
    facts = demo_facts()
    return [
        f"{' '.join([line, *FILLER[number + 1 :], *FILLER[:number]][:4])} {facts[number].text}"
        for number, line in enumerate(FILLER)
    ]


def make_store(folder: Path) -> Any:
    """A store for SmolLM2 with all of them."""
    from revisor.store import Store

    store = Store.init(folder, model="smollm2", dtype="fp32", device="cpu")
    store.add([*demo_facts(), *own_facts()])
    return store
