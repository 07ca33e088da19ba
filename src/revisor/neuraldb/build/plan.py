"""What a build has to do: which facts to write anew, and which existing rows to ask again.

It reads only changes from the ledger, so that one changed fact among a million costs little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from revisor.facts.fact import Fact, normal_form
from revisor.facts.ledger import Ledger
from revisor.neuraldb.bank.bank import Bank

FEW = 50  # names that the database looks for; with more, all facts are read
_EDGES = ".,;:!?\"'"


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Facts to be written, in the ledger's order, and ids of facts that are gone."""

    facts: list[Fact]
    gone: set[str] = field(default_factory=set)


def changed_facts(
    ledger: Ledger, bank: Bank, failed: Collection[str], generation: int
) -> BuildPlan:
    """The facts that changed since the bank was built, and those `failed` with a subject that
    changed, whose key may have been in the way."""
    change = ledger.diff(bank.generation, generation)
    old = [*change.removed, *(before for before, _ in change.updated)]
    subjects = {normal_form(fact.subject) for fact in (*old, *change.put)}
    facts = {fact.id: fact for fact in change.put}
    for fact in ledger.known(failed, generation=generation).values():
        if normal_form(fact.subject) in subjects:
            facts.setdefault(fact.id, fact)
    return BuildPlan(facts=list(facts.values()), gone={fact.id for fact in change.removed})


def by_subject(facts: Iterable[Fact]) -> list[list[Fact]]:
    """The facts of each subject, in the order given."""
    groups: dict[str, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(normal_form(fact.subject), []).append(fact)
    return list(groups.values())


def rows_to_check(
    ledger: Ledger, bank: Bank, written: Sequence[Fact], made: Sequence[str], generation: int
) -> list[str]:
    """Existing rows whose prompts name a subject that was just written."""
    names = {normal_form(fact.subject) for fact in written}
    new = set(made)
    if not names or len(bank) == len(new):
        return []
    longest = max(len(name.split()) for name in names)
    found = {
        fact.id
        for fact in _candidates(ledger, names, generation)
        if any(span in names for span in _spans(fact.text, longest))
    }
    return [row_id for row_id in bank.present(found) if row_id not in new]


def _candidates(ledger: Ledger, names: set[str], generation: int) -> Iterator[Fact]:
    """Facts that include all whose text may have one of the names."""
    words = {max((part.strip(_EDGES) for part in name.split()), key=len) for name in names}
    if len(names) > FEW or "" in words:
        return ledger.facts(generation=generation)
    # A database folds the case of ASCII alone. Prompts are few, and are looked at here.
    prompts = [
        prompt
        for prompt in ledger.prompts(generation=generation)
        if any(word in normal_form(prompt) for word in words)
    ]
    return ledger.naming(words, prompts, generation=generation)


def _spans(text: str, longest: int) -> Iterator[str]:
    """Every run of up to `longest` words, without the punctuation around it."""
    words = normal_form(text).split()
    for count in range(1, longest + 1):
        for start in range(len(words) - count + 1):
            yield " ".join(words[start : start + count]).strip(_EDGES)
