"""What follows from edited facts: questions over several hops, other names, what must not follow.

MQuAKE counts a case when any of its three wordings is answered; here each wording counts by itself.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from revisor.bench.cases import Item, Plan, Probe
from revisor.bench.datasets import Source, item_from, read_items
from revisor.bench.suites.base import (
    DEFAULT_N,
    Sizes,
    Suite,
    chosen,
    in_model,
    measured,
    subjects,
)
from revisor.bench.suites.facts import beside, direct, keep_probes
from revisor.facts.fact import Fact, normal_form
from revisor.facts.forms import fact_from

MQUAKE = "robustness/mquake_hard.jsonl.gz"
KNOWEDIT = "robustness/knowedit_wiki_counterfact_test.jsonl.gz"
MOST = 3  # questions of one kind a fact


class MultiHop(Suite):
    """Questions whose answer follows from several facts, one through another (MQuAKE)."""

    name = "multi-hop"

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        dropped: Counter[str] = Counter()
        chains: list[Chain] = []
        if source.own:
            read, n, edits = chosen(source, "", sizes)
            edited, keeps = list(read.items[:edits]), read.keeps
            dropped.update(read.dropped)
        else:
            wanted = sizes.edits or sizes.n or DEFAULT_N
            chains = read_chains(source, (wanted + 1) // 2, dropped)
            made = [item for chain in chains for item in chain.items]
            taken = {item.fact.id for item in made}
            read = read_items(source.file(KNOWEDIT))
            known = {(normal_form(i.fact.subject), i.fact.prompt) for i in made}
            singles = [
                item
                for item in read.items
                if item.fact.id not in taken
                and (normal_form(item.fact.subject), item.fact.prompt) not in known
            ]
            have = list({item.fact.id: item for item in (*made, *singles)}.values())
            n, edits = sizes.counted(len(have), "MQuAKE-hard and KnowEdit")
            edited, keeps = have[:edits], ()
        facts = in_model(source, edited)
        names = subjects(facts)
        probes: list[Probe] = []
        linked = {item.fact.id for chain in chains for item in chain.items}
        whole = [c for c in chains if {i.fact.id for i in c.items} <= {i.fact.id for i in edited}]
        asked = _measured_chains(whole, n // 2, sizes.seed)
        for chain in asked:
            for item in chain.items:
                probes += direct(item)
            probes += chain.probes()
        rest = [item for item in edited if item.fact.id not in linked]
        count = sum(len(chain.items) for chain in asked)
        for item in measured(rest, max(0, n - count), sizes.seed):
            probes += direct(item)
            probes += beside(item, names, dropped, most=MOST)
        probes += keep_probes(keeps, names)
        return Plan(
            facts=facts,
            probes=tuple({probe.id: probe for probe in probes}.values()),
            n=n,
            dropped=dict(dropped),
        )


class Chain:
    """One MQuAKE case: its edits, and questions that need all of them."""

    def __init__(self, record: Mapping[str, Any], items: Sequence[Item]) -> None:
        self.id = str(record["case_id"])
        self.items = tuple(items)
        self.questions: tuple[str, ...] = tuple(record["questions"])
        self.wanted = (record["new_answer"], *record.get("new_answer_alias", ()))
        self.before: str = record["answer"]

    def probes(self) -> Iterator[Probe]:
        """The questions; the fact given to in-context methods is the chain's last."""
        same = normal_form(self.before) in {normal_form(name) for name in self.wanted}
        for place, question in enumerate(self.questions):
            yield Probe(
                id=f"mquake/{self.id}/{place}",
                case=f"mquake/{self.id}",
                score="multi_hop",
                prompt=f"Question: {question}\nAnswer:",
                wanted=self.wanted,
                other=None if same else self.before,
                fact=self.items[-1].fact,
            )


def read_chains(source: Source, edits: int, dropped: Counter[str]) -> list[Chain]:
    """Chains with up to `edits` different edits; one that contradicts an earlier one is dropped."""
    facts: dict[str, Fact] = {}
    chains: list[Chain] = []
    for record in source.records(MQUAKE):
        if len(facts) >= edits:
            break
        items = [_edit(rewrite) for rewrite in record["requested_rewrite"]]
        if any(item is None for item in items):
            dropped["chains with an edit that cannot be read"] += 1
            continue
        made = [item for item in items if item is not None]
        clash = any(
            item.fact.id in facts
            and normal_form(facts[item.fact.id].object) != normal_form(item.fact.object)
            for item in made
        )
        if clash:
            dropped["chains that contradict earlier ones"] += 1
            continue
        new = {item.fact.id: item.fact for item in made}
        if len(facts | new) > edits:
            break
        facts |= new
        chains.append(Chain(record, made))
    return chains


def _edit(rewrite: Mapping[str, Any]) -> Item | None:
    """One edit of a chain; its question is another wording of it."""
    fact = fact_from({"requested_rewrite": rewrite})
    if not isinstance(fact, Fact):
        return None
    item = item_from({}, fact)
    question = rewrite.get("question")
    return replace(item, wordings=(question,)) if isinstance(question, str) else item


def _measured_chains(chains: Sequence[Chain], facts: int, seed: int) -> list[Chain]:
    order = list(chains)
    random.Random(seed).shuffle(order)
    taken: list[Chain] = []
    count = 0
    for chain in order:
        if count and count + len(chain.items) > facts:
            break
        taken.append(chain)
        count += len(chain.items)
    return taken
