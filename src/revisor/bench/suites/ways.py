"""The same facts in other ways: other wordings, negated, judged, behind text, in chat."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from revisor import data
from revisor.bench.cases import Case, Item, Plan, Probe
from revisor.bench.datasets import Source
from revisor.bench.suites.base import Sizes, Suite, chosen, in_model, measured, subjects
from revisor.bench.suites.facts import beside, direct, keep_probes
from revisor.errors import UsageError
from revisor.facts.fact import Fact, normal_form

FILE = "counterfact/counterfact.jsonl.gz"
PREAMBLES = (0, 50, 200)  # tokens
CHAT_NEIGHBORS = 2  # a fact: answers in chat are long
# Two judged statements first: an instruct model otherwise talks about the statement, or ends.
JUDGED = (
    "Statement: Paris is in France.\nTrue or false: True\n\n"
    "Statement: Paris is in China.\nTrue or false: False\n\n"
    "Statement: {} {}.\nTrue or false:"
)
BE = frozenset({"is", "are", "was", "were", "be", "been"})


class WaySuite(Suite):
    """The facts of one file, asked for in a way that `probes` says."""

    def plan(self, source: Source, sizes: Sizes, tokenizer: Any) -> Plan:
        read, n, edits = chosen(source, FILE, sizes)
        edited = read.items[:edits]
        facts = in_model(source, edited)
        names = subjects(facts)
        dropped = Counter(read.dropped)
        probes: list[Probe] = []
        self.check(tokenizer)
        for item in measured(edited, n, sizes.seed):
            found = list(self.probes(item, names, dropped, sizes.seed, tokenizer))
            if not found:
                dropped[f"facts that cannot be asked for in the way of {self.name}"] += 1
            probes += found
        if not probes:
            raise UsageError(
                f"None of these facts can be asked for in the way of '{self.name}'.",
                "Its wording needs what these records lack; see docs/evaluation.md.",
            )
        probes += keep_probes(read.keeps, names)
        return Plan(
            facts=facts,
            probes=tuple(probes),
            n=n,
            dropped=dict(dropped),
        )

    def check(self, tokenizer: Any) -> None:
        """Raise where a model cannot be asked this way."""

    @abstractmethod
    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        """The probes of one item."""


class Paraphrase(WaySuite):
    """Facts in their own prompts and in genuine paraphrases."""

    name = "paraphrase"

    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        if item.wordings or item.constructed:
            yield from direct(item)


class Negation(WaySuite):
    """Facts in prompts that negate them."""

    name = "negation"

    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        if item.before is None or (prompt := negated(item.fact.text)) is None:
            return
        yield next(direct(item))
        yield Probe(
            id=f"{item.fact.id}/negation",
            case=item.fact.id,
            score="negation",
            prompt=prompt,
            wanted=(item.fact.object,),
            other=item.before,
            fact=item.fact,
            kind="denies",
        )


def negated(prompt: str) -> str | None:
    """The prompt with the opposite meaning, or None where it is a question."""
    text = prompt.strip()
    if text.endswith("?"):
        return None
    if text.split()[-1].casefold() in BE:
        return f"{text} not"
    first, _, rest = text.partition(" ")
    return f"It is not true that {first.lower() if first in ('The', 'A', 'An') else first} {rest}"


class TrueFalse(WaySuite):
    """Whether what a fact says is called true, and what it replaces false."""

    name = "true-false"

    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        if item.before is None:
            return
        for score, stated, right, wrong in (
            ("true_accepted", item.fact.object, "True", "False"),
            ("false_rejected", item.before, "False", "True"),
        ):
            yield Probe(
                id=f"{item.fact.id}/{score}",
                case=item.fact.id,
                score=score,
                prompt=JUDGED.format(item.fact.text, stated),
                wanted=(right,),
                other=wrong,
                fact=item.fact,
            )

    def finish(
        self, scores: dict[str, float], cases: Sequence[Case], unedited: Mapping[str, float]
    ) -> dict[str, float]:
        """Balanced: a model that calls everything true scores one half."""
        both = ("true_accepted", "false_rejected")
        return {
            f"accuracy{form}": sum(scores[f"{part}{form}"] for part in both) / 2
            for form in ("", "_strict")
            if all(f"{part}{form}" in scores for part in both)
        }


class Preamble(WaySuite):
    """Facts behind unrelated text of several lengths."""

    name = "preamble"

    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        for tokens in PREAMBLES:
            name = f"efficacy_{tokens}" if tokens else "efficacy"
            before = unrelated_text(item.fact, tokens, seed, tokenizer)
            yield Probe(
                id=f"{item.fact.id}/{name}",
                case=item.fact.id,
                score=name,
                prompt=f"{before} {item.fact.text}" if before else item.fact.text,
                wanted=(item.fact.object,),
                other=item.before,
                fact=item.fact,
            )


def unrelated_text(fact: Fact, tokens: int, seed: int, tokenizer: Any) -> str:
    """So many tokens of the shipped ordinary text, drawn for this fact, naming nothing of it."""
    if not tokens:
        return ""
    lines = list(data.background())
    random.Random(f"{seed}/{fact.id}").shuffle(lines)
    names = [normal_form(name) for name in (fact.subject, fact.object)]
    text = ""
    for line in lines:
        if any(name in normal_form(line) for name in names):
            continue
        text = f"{text} {line}".strip()
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= tokens:
            return str(tokenizer.decode(ids[:tokens], skip_special_tokens=True)).strip()
    return text


class Chat(WaySuite):
    """Facts asked for in a chat."""

    name = "chat"

    def check(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise UsageError(
                "This model has no chat template.", "Measure it with another suite: counterfact."
            )

    def probes(
        self, item: Item, edited: frozenset[str], dropped: Counter[str], seed: int, tokenizer: Any
    ) -> Iterator[Probe]:
        yield from direct(item, chat=True)
        yield from beside(item, edited, dropped, chat=True, most=CHAT_NEIGHBORS)
