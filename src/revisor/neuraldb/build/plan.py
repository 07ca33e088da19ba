"""What a build has to do: which facts to write anew, and which standing rows to ask again.

What comes in: a ledger, the bank that stands, the generation to build. What goes out: facts and
row ids. What it does not do: write or ask anything. It reads of the ledger what changed, not all
of it, so that one changed fact among a million costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from revisor.neuraldb.bank.bank import Bank
from revisor.neuraldb.editing.build import row_facts
from revisor.facts.fact import Fact, normal_form
from revisor.facts.ledger import Ledger

FEW = 50  # names that the database looks for; with more, all facts are read
_EDGES = ".,;:!?\"'"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a build has to write.

    Attributes:
        facts: to be written, in the ledger's order.
        gone: ids of facts that hold no longer.
    """

    facts: list[Fact]
    gone: set[str] = field(default_factory=set)


def changed_facts(
    ledger: Ledger, bank: Bank, failed: Iterable[str], generation: int, *, complete: bool
) -> Wanted:
    """The facts of every subject that changed since the bank was built.

    Facts that the bank should have a row for and has none are wanted too: a row that several
    facts shared is gone when one of them was purged.

    Args:
        failed: ids of facts that were tried and have no row.
        complete: every fact of the bank's generation is known to have a row, or to have failed.
    """
    change = ledger.diff(bank.generation, generation)
    touched = [*change.put, *change.removed, *(old for old, _ in change.updated)]
    gone = {fact.id for fact in change.removed}
    facts = list(ledger.about({fact.subject for fact in touched}, generation=generation))
    if not complete:
        rowed = {i for row_id in bank.ids for i in row_facts(row_id)} | set(failed)
        rowed |= {fact.id for fact in facts}
        live = ledger.live_ids(generation)
        gone |= rowed - live
        if lost := live - rowed:
            subjects = {fact.subject for fact in ledger.known(lost, generation=generation).values()}
            others = ledger.about(subjects, generation=generation)
            facts = list({fact.id: fact for fact in [*facts, *others]}.values())
    return Wanted(facts=facts, gone=gone)


def rows_to_check(
    ledger: Ledger, bank: Bank, written: Sequence[Fact], made: Sequence[str], generation: int
) -> list[str]:
    """Standing rows whose prompts name a subject that was just written."""
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
    return [row_id for row_id in bank.holding(found) if row_id not in new]


def _candidates(ledger: Ledger, names: set[str], generation: int) -> Iterator[Fact]:
    """Facts among which are all whose text may hold one of the names."""
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
