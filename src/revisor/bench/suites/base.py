"""What a suite is, and how its facts and measured items are chosen."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from revisor.bench.asking import Bench, ask
from revisor.bench.cases import Case, Item, Plan, Probe
from revisor.bench.datasets import Read, Source, held_back, read_items
from revisor.bench.protocol import Editor
from revisor.errors import UsageError
from revisor.facts.fact import PLACEHOLDER, Fact, normal_form

DEFAULT_N = 100


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured: `n` facts (questions a task, windows of text) of `edits` in the model,
    None where the user did not say; `seed` is that of every draw."""

    n: int | None = None
    edits: int | None = None
    seed: int = 0

    def counted(self, have: int, what: str, *, all_of_it: bool = False) -> tuple[int, int]:
        """(measured, edited) of `have` facts, with `all_of_it` all by default; UsageError if more
        is asked for than there is, or than is edited."""
        wanted = have if all_of_it else min(have, DEFAULT_N)
        edits = self.edits or self.n or wanted
        n = self.n or min(edits, wanted)
        if edits > have:
            raise UsageError(
                f"{what} has {have} facts that can be edited, not {edits}.",
                "Ask for fewer with --edits or --n, or name a larger file with --data.",
            )
        if n > edits:
            raise UsageError(
                f"{n} facts cannot be measured when {edits} are in the model.",
                "Give --edits at least as many as --n.",
            )
        return n, edits


class Suite(ABC):
    """A set of questions; subclasses say which, and may measure in a way of their own.

    Attributes:
        name: on the command line.
        block: number of probes that are asked and kept together.
        averages: scores that are means of other scores, with the names of those.
    """

    name = ""
    block = 512
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        """The facts to edit and the probes to ask.

        Raises:
            NotFound: a file that the suite needs is missing.
            UsageError: the sizes cannot be had.
        """

    def blocks(self, probes: Sequence[Probe]) -> Iterator[Sequence[Probe]]:
        """Probes that are asked and kept together: the most that a kill may cost."""
        for start in range(0, len(probes), self.block):
            yield probes[start : start + self.block]

    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        """The cases of some probes; the editor is attached."""
        return ask(bench, editor, probes, base, on_done=on_done)

    def finish(
        self, scores: dict[str, float], cases: Sequence[Case], unedited: Mapping[str, float]
    ) -> dict[str, float]:
        """Scores that follow from other scores, or from several cases together."""
        return {}

    def tell(
        self,
        plan: Plan,
        cases: Mapping[str, Sequence[Case]],
        options: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """What a result says besides scores; `cases` and `options` are by method."""
        return {}


def chosen(source: Source, name: str, sizes: Sizes) -> tuple[Read, int, int]:
    """The facts of a suite's file, of the user's own, or of a store: (read, measured, edited).

    Where a bank is in the model already, only the file's facts that are in it; without the suite's
    file, or if it has none of them, the store's.

    Raises:
        UsageError: no facts are named, or fewer are there than `sizes` asks for.
    """
    own = Read(items=tuple(held_back(fact) for fact in source.facts))
    if source.data is not None:
        source.note(source.data, source.data.name)
        read, what = read_items(source.data), source.data.name
    elif source.facts and not (source.built and name and source.folder):
        read, what = own, "The store"
    elif name:
        path = source.file(name)
        limit = None if source.built else max(sizes.edits or 0, sizes.n or 0, DEFAULT_N)
        read, what = read_items(path, limit), path.name
    else:
        raise UsageError(
            "No facts are named.", "Give --data FILE, or --store S for the facts of a store."
        )
    if source.built:
        there = _there(read, source) or (_there(own, source) if source.data is None else None)
        if there is None:
            raise UsageError(
                f"The bank has none of the facts of {what}, with their objects.",
                "Leave --data out to measure the store's facts, or add these: revisor add FILE",
            )
        edits = len(there.items)
        if sizes.n is not None and sizes.n > edits:
            raise UsageError(
                f"The bank has {edits} of the facts of {what}, and {sizes.n} are to be measured.",
                f"Give --n {edits} or less.",
            )
        return there, sizes.n or min(DEFAULT_N, edits), edits
    return read, *sizes.counted(len(read.items), what, all_of_it=source.own)


def _there(read: Read, source: Source) -> Read | None:
    """The items whose facts a built bank has, without wordings that it was built with, if any."""
    have = {fact.id: fact for fact in source.facts}
    items = []
    for item in read.items:
        fact = have.get(item.fact.id)
        if fact is not None and fact.object == item.fact.object:
            items.append(
                replace(
                    item,
                    fact=fact,
                    wordings=_not_given(item.wordings, fact),
                    constructed=_not_given(item.constructed, fact),
                )
            )
    left = len(read.items) - len(items)
    dropped = {**read.dropped, "facts that are not in the bank": left}
    return replace(read, items=tuple(items), dropped=dropped) if items else None


def _not_given(texts: Sequence[str], fact: Fact) -> tuple[str, ...]:
    """The texts that the fact was not built with."""
    given = {normal_form(text.replace(PLACEHOLDER, fact.subject)) for text in fact.paraphrases}
    return tuple(text for text in texts if normal_form(text) not in given)


def in_model(source: Source, edited: Sequence[Item]) -> tuple[Fact, ...]:
    """The facts that are in the model while it is measured."""
    return source.built or tuple(item.fact for item in edited)


def measured(items: Sequence[Item], n: int, seed: int) -> list[Item]:
    """`n` of the edited items: drawn by seed, those that have other wordings first."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda item: not item.wordings)[:n]


def subjects(facts: Iterable[Fact]) -> frozenset[str]:
    """Normal forms of the subjects that are edited."""
    return frozenset(normal_form(fact.subject) for fact in facts)
