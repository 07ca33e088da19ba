"""Several facts about one subject: do all answer, and does the rest of the subject stay?"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from revisor.bench.cases import Case, Item, Keep, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.metrics import case_means
from revisor.bench.suites.base import DEFAULT_N, Sizes, Suite, chosen, in_model, subjects
from revisor.bench.suites.facts import beside, direct, keep_probes
from revisor.bench.suites.known import KnownFacts
from revisor.errors import UsageError
from revisor.facts.fact import Fact, normal_form

EDITED = 3  # facts of a subject that are edited, at most; at least one relation is left alone
LEAST = 3  # facts that a subject must have


class SameSubject(Suite):
    """Several facts about each subject, and what else there is to ask about it."""

    name = "same-subject"

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        if source.own:
            return self._own(source, sizes)
        edits = sizes.edits or sizes.n or DEFAULT_N
        items, keeps = draw(source, edits, sizes.seed)
        n, edits = sizes.counted(len(items), "entityquestions + kamel")
        edited = items[:edits]
        return _plan(edited, in_model(source, edited), keeps, n, sizes.seed, Counter())

    def _own(self, source: Source, sizes: Sizes) -> Plan:
        read, n, edits = chosen(source, "", sizes)
        edited, dropped = read.items[:edits], Counter(read.dropped)
        return _plan(edited, in_model(source, edited), read.keeps, n, sizes.seed, dropped)

    def finish(
        self, scores: dict[str, float], cases: Sequence[Case], unedited: Mapping[str, float]
    ) -> dict[str, float]:
        """Adds the share of subjects all of whose measured facts answer their own prompt."""
        found = {}
        for form in ("", "_strict"):
            values = [
                (case.case, value)
                for case in cases
                if (value := case.values.get(f"efficacy{form}")) is not None
            ]
            if values:
                means = case_means(values)
                found[f"subjects_complete{form}"] = float((means > 1 - 1e-9).mean())
        return found


def _plan(
    edited: Sequence[Item],
    facts: tuple[Fact, ...],
    keeps: Sequence[Keep],
    n: int,
    seed: int,
    dropped: Counter[str],
) -> Plan:
    """Measure whole subjects: the facts of drawn subjects until there are `n`."""
    names = subjects(facts)
    by_subject: dict[str, list[Item]] = defaultdict(list)
    for item in edited:
        by_subject[normal_form(item.fact.subject)].append(item)
    order = list(by_subject)
    random.Random(seed).shuffle(order)
    asked = [item for name in order for item in by_subject[name]][:n]
    kept = {normal_form(item.fact.subject) for item in asked}
    probes: list[Probe] = []
    for item in asked:
        case = normal_form(item.fact.subject)
        probes += [_of_case(probe, case) for probe in direct(item)]
        probes += [_of_case(probe, case) for probe in beside(item, names, dropped)]
    near = [k for k in keeps if k.subject is None or normal_form(k.subject) in kept]
    far = [k for k in keeps if k.subject is not None and normal_form(k.subject) not in names]
    probes += keep_probes([*near, *far], names)
    return Plan(
        facts=facts,
        probes=tuple(probes),
        n=len(asked),
        dropped=dict(dropped),
    )


def _of_case(probe: Probe, case: str) -> Probe:
    """The probe, counted with all others of its subject."""
    return replace(probe, case=case)


def draw(source: Source, edits: int, seed: int) -> tuple[list[Item], list[Keep]]:
    """At least `edits` items, several a subject, and prompts that must stay: one for each relation
    of theirs that is not edited, and as many about other subjects.

    Raises:
        NotFound: a file is missing.
        UsageError: there are not so many.
    """
    collection = KnownFacts(source, seed)
    known = collection.facts
    several = sorted((s for s in known if len(known[s]) >= LEAST), key=collection.order)
    items: list[Item] = []
    keeps: list[Keep] = []
    used = 0
    for subject in several:
        if len(items) >= edits:
            break
        used += 1
        facts = list(known[subject].values())
        random.Random(f"{seed}|{subject}").shuffle(facts)
        count = min(EDITED, len(facts) - 1)
        items += [collection.item(fact) for fact in facts[:count]]
        keeps += [collection.keep(fact) for fact in facts[count:]]
    if len(items) < edits:
        raise UsageError(
            f"There are {len(items)} facts of subjects with {LEAST} or more, not {edits}.",
            "Ask for fewer with --edits.",
        )
    others = several[used : used + used]
    keeps += [collection.keep(next(iter(known[subject].values()))) for subject in others]
    return items, keeps
