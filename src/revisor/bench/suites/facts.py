"""Suites that ask about edited facts directly: CounterFact, zsRE, a user's own file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from revisor.bench.cases import Item, Keep, Local, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.reference import references
from revisor.bench.suites.base import Sizes, Suite, chosen, measured, subjects
from revisor.facts.fact import normal_form, reversed_fact, with_reverses

NEIGHBORS = 10  # a fact, as in CounterFact
FREE = 100  # facts whose subjects are written about freely: a hundred tokens each


class FactSuite(Suite):
    """Facts of one file, each asked for in its own words, in others, and beside others.

    `average` is that of figure 1 of Fei et al. (2026); `average_strict` is over what is said: the
    fact, the fact in other words, and beside it what was said before.
    """

    averages: ClassVar = {
        "average": ("efficacy", "generalization", "specificity"),
        "average_strict": ("efficacy_strict", "generalization_strict", "specificity_kept_strict"),
    }

    def __init__(self, name: str, file: str = "") -> None:
        self.name, self.file = name, file

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        read, n, edits = chosen(source, self.file, sizes)
        edited = read.items[:edits]
        facts = source.built or tuple(with_reverses(item.fact for item in edited))
        names = subjects(facts)
        asked = measured(edited, n, sizes.seed)
        dropped = Counter(read.dropped)
        opened = [item for item in asked if item.open][:FREE]
        texts, idf = references(source, [item.fact.object for item in opened])
        probes: list[Probe] = []
        for item in asked:
            probes += direct(item)
            probes += turned_round(item)
            probes += beside(item, names, dropped)
        for item in opened:
            probes += free(item, texts)
        probes += keep_probes(read.keeps, names)
        return Plan(
            facts=facts,
            probes=tuple(probes),
            n=n,
            dropped=dict(dropped),
            idf=idf,
        )


def direct(item: Item, *, chat: bool = False) -> Iterator[Probe]:
    """The fact in its own words, and in all others."""
    fact = item.fact
    own: list[tuple[str, str]] = [("efficacy", fact.text)]
    own += [("generalization", text) for text in item.wordings]
    own += [("generalization_constructed", text) for text in item.constructed]
    own += [("given_wordings", text.replace("{}", fact.subject)) for text in fact.paraphrases]
    for place, (score, prompt) in enumerate(own):
        yield Probe(
            id=f"{fact.id}/{'chat/' if chat else ''}{score}/{place}",
            case=fact.id,
            score=score,
            prompt=prompt,
            wanted=(fact.object,),
            other=item.before,
            fact=fact,
            chat=chat,
        )


def turned_round(item: Item) -> Iterator[Probe]:
    """The reversed question that the fact declares."""
    turned = reversed_fact(item.fact)
    if turned is not None:
        yield Probe(
            id=f"{item.fact.id}/reverse",
            case=item.fact.id,
            score="reverse",
            prompt=turned.text,
            wanted=(turned.object,),
            fact=turned,
        )


def beside(
    item: Item,
    edited: Collection[str],
    dropped: Counter[str],
    *,
    chat: bool = False,
    most: int = NEIGHBORS,
) -> Iterator[Probe]:
    """Prompts beside the fact; those about a subject that is itself edited are dropped."""
    counts: Counter[str] = Counter()
    for place, local in enumerate(item.local):
        if counts[local.score] >= most:
            continue
        if local.subject is not None and normal_form(local.subject) in edited:
            dropped["neighbors whose subject is edited"] += 1
            continue
        counts[local.score] += 1
        yield _beside(item, local, place, chat)


def _beside(item: Item, local: Local, place: int, chat: bool) -> Probe:
    follows = local.score.startswith("portability_")
    return Probe(
        id=f"{item.fact.id}/{'chat/' if chat else ''}{local.score}/{place}",
        case=item.fact.id,
        score=local.score,
        prompt=local.prompt,
        wanted=local.answers,
        other=local.against,
        fact=item.fact,
        kind="says" if follows else "holds",
        chat=chat,
    )


def free(item: Item, texts: Mapping[str, str]) -> Iterator[Probe]:
    """One prompt about the subject to go on from freely."""
    if item.open:
        yield Probe(
            id=f"{item.fact.id}/open",
            case=item.fact.id,
            score="fluency",
            prompt=item.open[0],
            fact=item.fact,
            kind="open",
            extra={"reference": texts.get(item.fact.object, "")},
        )


def keep_probes(keeps: Sequence[Keep], edited: Collection[str]) -> Iterator[Probe]:
    """Prompts to keep: about other relations of edited subjects, and about anybody else."""
    for place, keep in enumerate(keeps):
        if keep.subject is not None:
            near = normal_form(keep.subject) in edited
        else:
            text = normal_form(keep.prompt)
            near = any(name in text for name in edited)
        score = "other_relations_kept" if near else "unedited_subjects_kept"
        yield Probe(
            id=f"keep/{place}",
            case=f"keep/{place}",
            score=score,
            prompt=keep.prompt,
            kind="keeps",
            extra={"also": "kept"},
        )
