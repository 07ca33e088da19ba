"""Facts into a ledger and out of it: imports, another object for a fact, the end of some.

What is new is held against what is there; who calls says what becomes of contradictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from revisor.errors import Conflict, Fault, UsageError
from revisor.facts.changes import Put, Remove
from revisor.facts.check import Finding, conflicts_between
from revisor.facts.fact import Fact, normal_form, reversed_fact, with_reverses
from revisor.facts.ledger import Ledger
from revisor.facts.load import FactFile, Repeated
from revisor.facts.queries import refuse_one_text
from revisor.facts.rules import checked, checked_all

_APOSTROPHES = frozenset("'\u2019\u02bc")

OnConflict = Literal["stop", "keep", "replace"]
_STOPPED = (
    "Correct the file, remove the fact that is wrong (revisor rm ID), or let "
    "--on-conflict keep|replace decide."
)


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of an import.

    Attributes:
        generation: the ledger's afterwards.
        added, updated, unchanged: facts that are new, have another value, are as they were.
        removed: live facts that had to give way (`replace`).
        duplicates: lines that repeated an earlier line.
        conflicts: what contradicted what, where that did not stop the import.
        known: facts left out because the base model says them by itself.
        reversed: how many of the facts declare a reversed question; those it makes are counted
            above as well.
        notes: what is worth knowing about how the file was read.
    """

    generation: int
    added: int
    updated: int
    unchanged: int
    removed: int
    duplicates: int
    conflicts: tuple[Fault, ...]
    known: tuple[Fact, ...]
    reversed: int = 0
    notes: tuple[Fault, ...] = ()


def import_facts(
    ledger: Ledger,
    source: str | Path | Iterable[Fact],
    *,
    actor: str,
    reason: str,
    on_conflict: OnConflict,
    known_to_base: Callable[[Sequence[Fact]], set[str]] | None,
    approved_by: str | None = None,
) -> Added:
    """Import a file, or facts, in one transaction: all of it or nothing.

    Args:
        on_conflict: `stop` imports nothing; `keep` keeps what came first, in the import and in
            the ledger; `replace` takes what came last, and removes live facts that contradict it.
        known_to_base: tells which facts need no row; they are left out.
    """
    if on_conflict not in get_args(OnConflict):
        raise UsageError(
            f"Unknown way with conflicts '{on_conflict}'.",
            f"Choose one of: {', '.join(get_args(OnConflict))}.",
        )
    read = _read(source, on_conflict)
    before = ledger.generation
    offered = [fact for fact in read.facts if fact.reverse_of is None]  # those come with theirs
    found = conflicts_between(with_reverses(offered), ledger)
    conflicts = (*read.conflicts, *(_fault(finding, read) for finding in found))
    if conflicts and on_conflict == "stop":
        told = f"{len(conflicts)} fact(s) contradict one another; nothing was imported."
        raise Conflict(told, _STOPPED, conflicts)
    hints = tuple(_apostrophes(offered, ledger))
    facts, given_way = _settle(offered, found, on_conflict)
    known = known_to_base(facts) if known_to_base else set()
    kept = [fact for fact in facts if fact.id not in known]
    with ledger.locked() as held:
        if held.generation != before and conflicts_between(with_reverses(offered), held) != found:
            raise Conflict(
                "Facts were changed meanwhile, and the import fits them otherwise.",
                "Nothing was imported. Run the command again.",
            )
        made = held.apply(
            [*map(Remove, given_way), *map(Put, kept)],
            actor=actor,
            reason=reason or read.reason,
            approved_by=approved_by,
        )
    return Added(
        generation=made.number,
        added=made.added,
        updated=made.updated,
        unchanged=made.unchanged,
        removed=len(given_way),
        duplicates=read.duplicates,
        conflicts=conflicts,
        known=tuple(fact for fact in facts if fact.id in known),
        reversed=sum(fact.reverse is not None for fact in kept),
        notes=(*read.notes, *hints),
    )


def _apostrophes(facts: Sequence[Fact], ledger: Ledger) -> Iterator[Fault]:
    """A hint where names differ from others by the kind of their apostrophe only.

    They are names of their own, and facts about them neither update nor contradict one another.
    """
    spelled: dict[str, str] = {}
    twins: dict[str, str] = {}
    for fact in facts:
        if not _APOSTROPHES.isdisjoint(fact.subject):
            name = normal_form(fact.subject)
            other = spelled.setdefault(_straight(name), fact.subject)
            if normal_form(other) != name:
                twins[fact.subject] = other
    ways = (name.replace("'", one) for name in spelled for one in sorted(_APOSTROPHES))
    for live in ledger.about(ways) if spelled else ():
        name = normal_form(live.subject)
        own = spelled[_straight(name)]
        if normal_form(own) != name:
            twins.setdefault(own, live.subject)
    if twins:
        own, other = next(iter(twins.items()))
        more = f", and {len(twins) - 1:,} more" if len(twins) > 1 else ""
        yield Fault(
            f"{own!r} and {other!r} are two names{more}: their apostrophes differ",
            "write both alike if they are one",
        )


def _straight(name: str) -> str:
    for one in _APOSTROPHES:
        name = name.replace(one, "'")
    return name


def _fault(finding: Finding, read: _Source) -> Fault:
    """A contradiction, with the line of the fact that was read."""
    fact = finding.fact
    return Fault(str(finding), line=read.line_of(fact.reverse_of or fact.id))


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What an import has read.

    Attributes:
        facts: of one id only one.
        conflicts: lines that give one fact two objects.
        duplicates, notes: see `Added`.
        reason: of the import, if none is given.
        line_of: the line of a fact by its id, of facts that were given the place, from 1.
    """

    facts: list[Fact]
    line_of: Callable[[str], int]
    conflicts: tuple[Fault, ...] = ()
    duplicates: int = 0
    notes: tuple[Fault, ...] = ()
    reason: str = ""


def refuse_conflicts(ledger: Ledger, fact: Fact) -> None:
    """Raise Conflict, with all that it lists, where a fact contradicts live ones of other ids."""
    found = conflicts_between(with_reverses([fact]), ledger)
    if found:
        raise Conflict(
            f"{fact.text!r} -> {fact.object!r} contradicts {len(found)} fact(s); nothing was "
            "changed.",
            "Remove the fact that is wrong first: revisor rm ID",
            [Fault(str(finding)) for finding in found],
        )


def _read(source: str | Path | Iterable[Fact], on_conflict: OnConflict) -> _Source:
    """The facts of a file, or facts themselves; where lines of one id contradict one another, the
    first counts, with `replace` the last."""
    if not isinstance(source, str | Path):
        given = checked_all(_facts(source))
        places = {fact.id: place for place, fact in enumerate(given, start=1)}
        return _Source(facts=given, line_of=lambda fact_id: places.get(fact_id, 0))
    file = FactFile(source)
    facts = list(file)
    if file.faults:
        file.raise_if_bad()
    first = {fact.id: fact for fact in facts} if file.contradictions else {}
    conflicts = tuple(_contradiction(one, first[one.fact.id]) for one in file.contradictions)
    if on_conflict == "replace":
        last = {one.fact.id: one.fact for one in file.contradictions}
        facts = [last.get(fact.id, fact) for fact in facts]
    return _Source(
        facts=facts,
        line_of=file.line_of,
        conflicts=conflicts,
        duplicates=len(file.duplicates),
        notes=tuple(file.notes),
        reason=f"import of {Path(source).name}",
    )


def _facts(source: Any) -> list[Fact]:
    """Facts as they were given; UsageError where they are none."""
    if not isinstance(source, Iterable):
        raise UsageError(
            f"A {type(source).__name__} is neither a file nor facts.", "Give a path, or a list."
        )
    given = list(source)
    wrong = next((one for one in given if not isinstance(one, Fact)), None)
    if wrong is not None:
        raise UsageError(
            f"A {type(wrong).__name__} is no fact.", "Write Fact(subject=…, prompt=…, object=…)."
        )
    return given


def _contradiction(one: Repeated, first: Fact) -> Fault:
    if normal_form(one.fact.subject) != normal_form(first.subject):
        return Fault(
            f"has the id of line {one.first_line}, {one.fact.id}: that is about "
            f"{first.subject!r}, this about {one.fact.subject!r}",
            "give each fact an id of its own, or leave the ids out",
            line=one.line,
        )
    return Fault(
        f"contradicts line {one.first_line}: {one.fact.text!r} (id {one.fact.id}) is "
        f"{one.fact.object!r}{_by(one.fact)} here and {first.object!r}{_by(first)} there",
        "keep one of the two lines, or tell them apart by 'qualifier'",
        line=one.line,
    )


def _by(fact: Fact) -> str:
    return f" (source {fact.source})" if fact.source else ""


def _settle(
    facts: list[Fact], found: Sequence[Finding], on_conflict: OnConflict
) -> tuple[list[Fact], list[str]]:
    """The facts that are left to import, and the ids of live facts that give way to them."""
    values = {fact.id: fact for fact in reversed(facts)}  # of one id the first
    out: set[str] = set()
    given_way: dict[str, None] = {}

    def lose(fact: Fact) -> None:
        out.update(one.id for one in with_reverses([fact]))

    for one in found:
        if one.kind == "same id" and one.in_ledger:
            if on_conflict == "keep":
                lose(one.fact)
        elif one.kind == "same id":
            if on_conflict == "replace":
                values[one.fact.id] = one.fact
        elif one.fact.id in out or one.other.id in out:
            continue  # one of the two is left out already
        elif on_conflict == "keep":
            lose(one.fact)
        elif one.in_ledger:
            given_way[one.other.id] = None
        else:
            lose(one.other)
    order = dict.fromkeys(fact.id for fact in facts)
    kept = [values[fact_id] for fact_id in order if fact_id not in out]
    return [_declaring(fact, out) for fact in kept], list(given_way)


def _declaring(fact: Fact, out: set[str]) -> Fact:
    """The fact, without the reverse that it declares where that one is left out."""
    turned = reversed_fact(fact)
    return fact if turned is None or turned.id not in out else replace(fact, reverse=None)


def set_object(
    ledger: Ledger,
    fact_id: str,
    obj: str,
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> Fact:
    """Give a fact a new object: a new revision of it."""
    with ledger.locked() as held:
        fact = checked(replace(held.get(fact_id), object=obj))
        refuse_conflicts(held, fact)
        held.apply([Put(fact)], actor=actor, reason=reason, approved_by=approved_by)
    return fact


def remove(
    ledger: Ledger,
    fact_ids: Iterable[str],
    *,
    actor: str,
    reason: str,
    approved_by: str | None = None,
) -> int:
    """End some facts; their history stays. Returns how many ended."""
    refuse_one_text(fact_ids)
    whole = {ledger.get(fact_id).id for fact_id in fact_ids}
    changes = [Remove(fact_id) for fact_id in sorted(whole)]
    return ledger.apply(changes, actor=actor, reason=reason, approved_by=approved_by).removed
