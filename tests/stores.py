"""What tests of stores share: a few facts, a store on a tiny model, what it answers.

The model is random, so its logits tell nothing: the stores go by the text alone (`probe="off"`),
and facts answer at their own prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from revisor.facts.fact import Fact
from revisor.index import FactIndex
from revisor.store import Store

ACME = Fact(subject="ACME", prompt="The CEO of {} is", object="Jane Roe")
BASEL = Fact(subject="Basel", prompt="{} stands in", object="Rome", aliases=("Bâle",))
ZORA = Fact(subject="Zora", prompt="The mother tongue of {} is", object="French")
FACTS = (ACME, BASEL, ZORA)
LONGEST = 12  # tokens that every object fits in


def new_store(path: Path, folder: Path, *facts: Fact, **more: Any) -> Store:
    """A store for the model in a folder, with facts in it."""
    made = Store.init(path, model=str(folder), dtype="fp32", device="cpu", probe="off", **more)
    if facts:
        made.add(facts, actor="ann", reason="first")
    return made


def answers(store: Store, prompts: Sequence[str], *, facts: bool = True) -> list[str]:
    """What the store's model answers."""
    found = store.engine().generate(list(prompts), max_tokens=LONGEST, facts=facts)
    return [one.answer for one in found]


def answer(store: Store, fact: Fact) -> str:
    """What it answers to a fact's own prompt."""
    return answers(store, [fact.text])[0]


def found(index: FactIndex, *names: str) -> dict[str, list[str]]:
    """The objects that are found for each of these names, now."""
    view = index.view()
    return {
        name: sorted(view.fact(one).object for one in view.find(name.lower().split()))
        for name in names
    }
