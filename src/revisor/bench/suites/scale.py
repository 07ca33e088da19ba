"""Facts by the thousand: what holds as their number grows, and what else moves.

Of a store as it is: the texts of `bench/scaling.py`, asked of the model.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from revisor.bench.asking import Bench, ask
from revisor.bench.cases import Case, Item, Keep, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.protocol import Editor, Gated
from revisor.bench.suites.base import Sizes, Suite, chosen, in_model, subjects
from revisor.bench.suites.facts import direct, keep_probes
from revisor.bench.suites.known import KnownFacts
from revisor.bench.suites.stored import Asked, asked_of, counted
from revisor.bench.suites.text import WIKITEXT, Gate, Perplexity, windows
from revisor.facts.fact import normal_form

DEFAULT_EDITS = 1_000
WINDOWS = 200  # of ordinary text, at most
FILES = ("entityquestions",)
SCORES = {
    "own": "efficacy",
    "wording": "generalization",
    "other_relation": "other_relations_kept",
    "stranger": "unedited_subjects_kept",
}


class Scale(Suite):
    """A store of many facts: its own, other wordings, what it has no fact of, and ordinary text."""

    name = "scale"
    block = 256

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        if source.store is not None and source.folder is not None:
            n = counted(source.store, sizes.n)
            texts = asked_of(source, source.store, n, sizes.seed)
            made = [_probe(one) for one in texts if one.kind in SCORES]
            made += windows(source, WIKITEXT, min(n, WINDOWS), tokenizer)
            return Plan(facts=source.built, probes=tuple(made), n=n)
        dropped: Counter[str] = Counter()
        if source.own:
            read, n, edits = chosen(source, "", sizes)
            edited, keeps = list(read.items[:edits]), list(read.keeps)
            dropped.update(read.dropped)
        else:
            known = KnownFacts(source, sizes.seed, FILES)
            have = sum(map(len, known.facts.values()))
            wanted = sizes.edits or min(have, max(sizes.n or 0, DEFAULT_EDITS))
            n, edits = replace(sizes, edits=wanted).counted(have, "entityquestions")
            edited, keeps = draw(known, edits, n)
        asked = random.Random(sizes.seed).sample(edited, n)
        facts = in_model(source, edited)
        probes = [probe for item in asked for probe in direct(item)]
        probes += keep_probes(keeps, subjects(facts))
        probes += windows(source, WIKITEXT, n, tokenizer)
        return Plan(
            facts=facts,
            probes=tuple(probes),
            n=n,
            dropped=dict(dropped),
        )

    def measure(
        self,
        bench: Bench,
        editor: Editor,
        probes: Sequence[Probe],
        base: Mapping[str, Case],
        on_done: Callable[[int], None] | None = None,
    ) -> list[Case]:
        asked = [probe for probe in probes if probe.kind != "text"]
        texts = [probe for probe in probes if probe.kind == "text"]
        cases = ask(bench, editor, asked, base, on_done=on_done) if asked else []
        if not texts:
            return cases
        read = Perplexity().measure(bench, editor, texts, base, on_done)
        if isinstance(editor, Gated):
            fires = Gate().measure(bench, editor, texts, base)
            read = [
                replace(case, values={**case.values, **fired.values})
                for case, fired in zip(read, fires, strict=True)
            ]
        return [*cases, *read]

    def finish(
        self, scores: dict[str, float], cases: Sequence[Case], unedited: Mapping[str, float]
    ) -> dict[str, float]:
        return Perplexity().finish(scores, cases, unedited) if "nll" in scores else {}


def _probe(asked: Asked) -> Probe:
    """A probe that wants an edited fact's object, or else what the model says without facts."""
    is_wanted = asked.kind in ("own", "wording") and asked.fact is not None
    return Probe(
        id=asked.name,
        case=asked.fact.id if asked.fact else asked.name,
        score=SCORES[asked.kind],
        prompt=asked.prompt,
        wanted=(asked.fact.object,) if asked.fact and is_wanted else (),
        other=asked.fact.object_before if asked.fact and is_wanted else None,
        fact=asked.fact,
        kind="says" if is_wanted else "keeps",
    )


def draw(known: KnownFacts, edits: int, keeps: int) -> tuple[list[Item], list[Keep]]:
    """The first facts in an order drawn by seed, and prompts about subjects that are not edited.

    A larger number of edits begins with the same facts, so that an editor can grow; the prompts are
    taken from the end, so that all sizes keep the same ones.
    """
    every = [fact for facts in known.facts.values() for fact in facts.values()]
    every.sort(key=lambda fact: known.order(f"{fact.subject}|{fact.relation}"))
    names = {normal_form(fact.subject) for fact in every[:edits]}
    others = (fact for fact in reversed(every[edits:]) if normal_form(fact.subject) not in names)
    return (
        [known.item(fact) for fact in every[:edits]],
        [known.keep(fact) for fact in islice(others, keeps)],
    )
