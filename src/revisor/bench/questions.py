"""The texts of the suite `questions`, each with the fact that it asks for, or none.

They ship with revisor, are those of benchmarks whose files are at hand, or ask for a user's own
facts. Facts of one source are asked for among themselves: each source is a namespace.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from revisor import data
from revisor.bench.cases import Item, Plan, Probe
from revisor.bench.datasets import Source, read_items
from revisor.bench.mquake import mquake_items
from revisor.errors import NotFound
from revisor.facts.fact import PLACEHOLDER, Fact, normal_form
from revisor.facts.forms import fact_from
from revisor.language.lexicon import lexicon
from revisor.language.words import words

Message = Mapping[str, str]
Render = Callable[[Sequence[Message]], str | None]
"""A chat as a text that ends where the answer begins; None where there is no form for it."""
Record = Mapping[str, Any]
Part = tuple[list[Fact], list[Probe]]

SHIPPED, NATURAL, MQUAKE, OWN = "shipped", "natural", "mquake", "own"
SETS: Mapping[str, str] = {
    "counterfact": "counterfact/counterfact.jsonl.gz",
    "zsre": "zsre/zsre.jsonl.gz",
    "wikibigedit": "robustness/wikibigedit_3k.jsonl.gz",
    "qaedit": "robustness/qaedit_1k.jsonl.gz",
    MQUAKE: "robustness/mquake_edit_questions.jsonl.gz",
}
FRAMES: Mapping[str, str] = {
    "bare": "{}",
    "qa": "Q: {}\nA:",
    "few_shot": "Q: How many legs does a spider have?\nA: eight\n\n"
    "Q: What is the opposite of up?\nA: down\n\nQ: {}\nA:",
    "chat": "",
}
DEFAULT_N = 100  # facts of a data set
WORDINGS = 2  # of a fact that are asked
TRIES = 50  # facts among which a question for something else is looked for
STEM = 5  # letters by which words are compared


def chatml(messages: Sequence[Message]) -> str:
    """A chat in ChatML, as most templates have it: for where no model is at hand."""
    turns = (f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def plan_questions(
    source: Source,
    render: Render,
    *,
    n: int | None = None,
    edits: int | None = None,
    seed: int = 0,
    own: Sequence[Item] | None = None,
) -> Plan:
    """All texts, and the facts that they are about.

    Args:
        n: facts of each data set that are asked for, and shipped cases of each kind; by default
            100 facts, all of one's own, and all cases.
        edits: facts of each data set that are there; by default those that are asked for.
        own: a user's facts, instead of all other sources.

    Raises:
        BadInput: a file that is at hand is damaged.
    """
    make = _Maker(render, n, edits, seed)
    if own is not None:
        items = [one if one.wordings else replace(one, wordings=(one.fact.text,)) for one in own]
        parts = [make.data_set(OWN, items, len(items), kept=bool(source.built))]
    else:
        parts = [make.cases(SHIPPED, shipped_facts(), data.records("questions/cases.jsonl"))]
        if all(_has(source, name) for name in _NATURAL_FILES):
            parts.append(make.cases(NATURAL, *_natural(source)))
        parts += [make.data_set(name, make.items(name, source), DEFAULT_N) for name in SETS]
    return Plan(
        facts=source.built or tuple(fact for facts, _ in parts for fact in facts),
        probes=(probes := tuple(probe for _, some in parts for probe in some)),
        n=len(probes),
        dropped=dict(make.dropped),
    )


def shipped_facts() -> list[Fact]:
    """The made-up facts that the shipped cases are about."""
    return [_stated(record, SHIPPED) for record in data.records("questions/facts.jsonl")]


@dataclass
class _Maker:
    """Makes the parts of a plan; see `plan_questions`."""

    render: Render
    n: int | None
    edits: int | None
    seed: int
    dropped: Counter[str] = field(default_factory=Counter)

    def cases(self, name: str, facts: list[Fact], records: Sequence[Record]) -> Part:
        """Texts with a `group` and a `kind`: some of each kind."""
        by_id = {fact.id: fact for fact in facts}
        kinds: dict[tuple[str, bool], dict[str, list[int]]] = {}
        for place, record in enumerate(records):
            side = kinds.setdefault((record["group"], record["fact"] is not None), {})
            side.setdefault(record["kind"], []).append(place)
        drawn = random.Random(f"{self.seed}/{name}")
        probes = []
        for (group, asks), side in kinds.items():
            for kind, places in side.items():
                count = len(places) if self.n is None else min(self.n, len(places))
                for place in sorted(drawn.sample(places, count)):
                    record = records[place]
                    frame = "chat" if "messages" in record else "completion"
                    parts = [group, f"{group}_{kind}"] if len(side) > 1 else [group]
                    parts += [f"{group}_{frame}"] if group == "questions" else []
                    scores = parts if asks else [f"{part}_fires" for part in parts]
                    text = record.get("prompt") or self.render(record["messages"])
                    about = by_id[record["fact"] or record["about"]]
                    probes += self.probe(f"{name}/{place}", text, about, asks, scores, facts)
        return facts, probes

    def items(self, name: str, source: Source) -> list[Item]:
        """The facts of a data set; none where its file is not at hand."""
        if not _has(source, SETS[name]):
            return []
        if name != MQUAKE:
            return list(read_items(source.file(SETS[name]), lenient=True).items)
        items, left = mquake_items(source.records(SETS[name]))
        self.dropped["MQuAKE statements that are not told apart, or repeat a fact"] += left
        return items

    def data_set(
        self, name: str, items: Sequence[Item], default: int, *, kept: bool = False
    ) -> Part:
        """Some facts in other words, in all frames, and for each subject another relation; `kept`
        facts are in a store, as they are."""
        usable = [one for one in map(self._naming, items) if one.wordings]
        order = random.Random(f"{self.seed}/{name}").sample(usable, len(usable))
        n = min(self.n or default, len(order))
        order = order[: max(n, self.edits or 0)]
        if not kept:
            order = [replace(one, fact=replace(one.fact, namespace=name, id="")) for one in order]
        about: dict[str, list[Item]] = {}
        for item in order:
            about.setdefault(normal_form(item.fact.subject), []).append(item)
        probes = []
        for at, item in enumerate(order[:n]):
            own = about[normal_form(item.fact.subject)]
            facts = [one.fact for one in own]
            case = f"{name}/{item.fact.id}"
            for frame in FRAMES:
                for place, wording in enumerate(item.wordings[:WORDINGS]):
                    text, scores = self.framed(wording, frame), [name, f"{name}_{frame}"]
                    each = f"{case}/{frame}/{place}"
                    probes += self.probe(each, text, item.fact, True, scores, facts, case)
            other = _something_else(own, order, at)
            if other is not None:
                text = self.framed(other, tuple(FRAMES)[at % len(FRAMES)])
                scores = [f"{name}_other_fires"]
                probes += self.probe(f"{case}/other", text, item.fact, False, scores, facts, case)
        if kept:
            probes = [replace(one, extra={**one.extra, "within": None}) for one in probes]
        return [item.fact for item in order], probes

    def framed(self, text: str, frame: str) -> str | None:
        """A question, or a sentence to be completed, in one of the `FRAMES`."""
        if frame == "chat":
            return self.render([{"role": "user", "content": text}])
        return FRAMES[frame].replace(PLACEHOLDER, text)

    def probe(
        self,
        name: str,
        text: str | None,
        about: Fact,
        asks: bool,
        scores: Sequence[str],
        facts: Iterable[Fact],
        case: str | None = None,
    ) -> list[Probe]:
        """A text that asks for a fact, or is about it and asks for none; nothing without a text.

        Its `extra` has the `wanted` object, the `others` that are not to be said (none that is in
        the text), and the scores of saying the one (`right`) and the others (`wrong`).
        """
        if text is None:
            self.dropped["chats that the model's template has no form for"] += 1
            return []
        said, wanted = normal_form(text), about.object if asks else None
        others = {
            one.object
            for one in facts
            if one.object != wanted and normal_form(one.object) not in said
            if one.subject == about.subject
            or any(normal_form(known) in said for known in (one.subject, *one.aliases))
        }
        source = scores[0].removesuffix("_fires")
        extra = {
            "wanted": wanted,
            "others": tuple(sorted(others)),
            "right": tuple(scores) if asks else (),
            "wrong": (f"{source}_wrong",) if asks else tuple(scores),
            "within": about.namespace,
        }
        return [
            Probe(
                id=name,
                case=case or name,
                score=scores[0],
                prompt=text,
                fact=about,
                kind="asked",
                extra=extra,
            )
        ]

    def _naming(self, item: Item) -> Item:
        """An item without the wordings that do not name the subject."""
        name = normal_form(item.fact.subject)
        naming = tuple(one for one in item.wordings if name in normal_form(one))
        self.dropped["wordings that do not name the subject"] += len(item.wordings) - len(naming)
        return replace(item, wordings=naming)


_NATURAL_FILES = tuple(
    f"questions/{name}.jsonl" for name in ("natural_facts", "natural_questions", "near_misses")
)


def _natural(source: Source) -> tuple[list[Fact], list[Record]]:
    """Facts about made-up companies, and what people type about them, as shipped cases are."""
    stated, asked, near = (list(source.records(name)) for name in _NATURAL_FILES)
    facts = [_stated(record, NATURAL) for record in stated]
    by_object = {fact.object: fact.id for fact in facts}
    records: list[Record] = []
    for one in (*asked, *near):
        kind, prompt = one.get("kind", "odd"), str(one["prompt"])
        text = {"messages": [{"role": "user", "content": prompt}]} if kind == "chat" else one
        about = next((fact.id for fact in facts if fact.subject in prompt), facts[0].id)
        fact = by_object.get(one.get("object") or "")
        records.append({**text, "group": NATURAL, "kind": kind, "fact": fact, "about": about})
    return facts, records


def _stated(record: Record, namespace: str) -> Fact:
    fact = fact_from(record)
    assert isinstance(fact, Fact), fact  # noqa: S101
    return replace(fact, namespace=namespace)


def _has(source: Source, name: str) -> bool:
    try:
        return bool(source.file(name))
    except NotFound:
        return False


def _something_else(own: Sequence[Item], order: Sequence[Item], at: int) -> str | None:
    """A wording of another relation for the subject of `own`, all of its facts; None if there is
    none.

    Not every record names its relation, so the wording must share no content word with those of
    `own` either.
    """
    relations = {one.fact.relation or one.fact.prompt for one in own}
    known = frozenset[str]().union(*(content_words(_cut(one), one.fact.prompt) for one in own))
    for step in range(1, min(TRIES, len(order))):
        other = order[(at + step) % len(order)]
        template = _cut(other)
        if (
            PLACEHOLDER in template
            and (other.fact.relation or other.fact.prompt) not in relations
            and known.isdisjoint(content_words(template))
        ):
            return template.replace(PLACEHOLDER, own[0].fact.subject)
    return None


def _cut(item: Item) -> str:
    return item.wordings[0].replace(item.fact.subject, PLACEHOLDER)


def content_words(*texts: str) -> frozenset[str]:
    """The content words of texts, cut to their first `STEM` letters."""
    rules = lexicon(" ".join(texts))
    plain = rules.function_words | rules.question_words
    found = (word.text for text in texts for word in words(text))
    return frozenset(word[:STEM] for word in found if word not in plain)
