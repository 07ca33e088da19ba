"""A suite of one's own in `revisor eval`: is the fact said where somebody greets first?

A package that holds this file names it in its pyproject.toml; then
`revisor eval greetings --data facts.jsonl --methods revisor,icl` measures it of any method:

    [project.entry-points."revisor.suites"]
    greetings = "own_suite:Greetings"
"""

from typing import Any

from revisor.bench.cases import Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.suites.base import Sizes, Suite, chosen, in_model, measured


class Greetings(Suite):
    """See revisor.bench.suites.base.Suite. What `--data` or `--store` names is edited and asked."""

    name = "greetings"

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        read, n, edits = chosen(source, "", sizes)
        edited = read.items[:edits]
        probes = [
            Probe(
                id=item.fact.id,
                case=item.fact.id,
                score="greeted",
                prompt=f"Hello! {item.fact.text}",
                wanted=(item.fact.object,),
                fact=item.fact,
                budget=len(tokenizer(item.fact.object)["input_ids"]) + 3,
            )
            for item in measured(edited, n, sizes.seed)
        ]
        return Plan(facts=in_model(source, edited), probes=tuple(probes), n=n)
