"""What a store of many real facts is asked, the same texts whatever else it holds."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

from revisor.bench.datasets import Source, open_text
from revisor.bench.questions import content_words
from revisor.bench.suites.known import SLOT, wordings
from revisor.errors import UsageError
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.index import View
from revisor.language.spelling import name_words
from revisor.store import Store

FILES = ("entityquestions", "geonames", "fb13", "kamel")
STRANGERS = "facts/fb13.jsonl.gz"
PROSE = "corpus/wikitext2_raw_test.txt.gz"
DEFAULT_N = 1_000
WORDINGS = 2  # of a fact that are asked
SPARE = 4  # times as many strangers as are asked: some have facts
LEAST_WORDS = 8  # of ordinary text before the place where it is cut off


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A text that a store of real facts is asked: an `own` prompt or other `wording` of a fact; an
    `other_relation` of its subject, without a fact; a `stranger`, a subject without facts;
    `ordinary` text, cut off. `fact` is asked for, or its subject is."""

    kind: str
    name: str
    prompt: str
    fact: Fact | None = None


def counted(store: Store, n: int | None) -> int:
    """How many of a store's facts are asked for; UsageError if it has none, or fewer than `n`."""
    have = store.ledger.count()
    count = n or min(have, DEFAULT_N)
    if not 0 < count <= have:
        raise UsageError(f"The store has {have} facts, not {count}.", "Give a smaller --n.")
    return count


def asked_of(source: Source, store: Store, n: int, seed: int) -> Iterator[Asked]:
    """What a store is asked, alike for stores that begin with the same facts: of its first `n`
    facts, and as many strangers and ordinary texts."""
    forms, view = _forms(source), store.index.view()
    for fact in store.ledger.facts(limit=n):
        yield Asked(kind="own", name=f"own/{fact.id}", prompt=fact.text, fact=fact)
        known = [form for form in forms.get(fact.relation or "", ()) if _is_other(form, fact)]
        for place, form in enumerate(known[:WORDINGS]):
            text = form.replace(PLACEHOLDER, fact.subject)
            yield Asked(kind="wording", name=f"wording/{fact.id}/{place}", prompt=text, fact=fact)
        about = list(store.ledger.facts(subject=fact.subject))
        if (other := _another_relation(fact, about, forms, seed)) is not None:
            text = other.replace(PLACEHOLDER, fact.subject)
            yield Asked(kind="other_relation", name=f"other/{fact.id}", prompt=text, fact=fact)
    for place, text in enumerate(islice(_strangers(source, view, forms, SPARE * n), n)):
        yield Asked(kind="stranger", name=f"stranger/{place}", prompt=text)
    for place, text in enumerate(_prose(source, n, seed)):
        yield Asked(kind="ordinary", name=f"ordinary/{place}", prompt=text)


def _forms(source: Source) -> dict[str, tuple[str, ...]]:
    """The wordings of each relation, those of one file together."""
    templates = source.json("facts/relation_templates.json")
    found: dict[str, tuple[str, ...]] = {}
    for name in FILES:
        for relation, forms in templates.get(name, {}).items():
            told = tuple(one.replace(SLOT, PLACEHOLDER) for one in wordings(forms))
            if told:
                found.setdefault(relation, told)
    return found


def _is_other(form: str, fact: Fact) -> bool:
    """Whether a wording is none of the fact's own, with "Answer:" behind it or not."""
    return not any(own.startswith(form) for own in (fact.prompt, *fact.paraphrases))


def _another_relation(
    fact: Fact, about: Sequence[Fact], forms: Mapping[str, tuple[str, ...]], seed: int
) -> str | None:
    """A wording of a relation that the subject has no fact of, without a content word of its facts'
    prompts; of the same file if there is one."""
    taken = {one.relation for one in about}
    known = content_words(*(one.prompt for one in about))
    names = list(forms)
    random.Random(f"{seed}|{fact.id}").shuffle(names)
    kind = (fact.relation or "").partition(":")[0]
    names.sort(key=lambda name: name.partition(":")[0] != kind)
    for name in names:
        if name not in taken and known.isdisjoint(content_words(forms[name][0])):
            return forms[name][0]
    return None


def _strangers(
    source: Source, view: View, forms: Mapping[str, tuple[str, ...]], count: int
) -> Iterator[str]:
    """Questions about subjects without facts, the same at every number of facts: those that the
    sets of real facts take last."""
    last = heapq.nlargest(
        count,
        ((_digest(record), record["s"], record["r"]) for record in source.records(STRANGERS)),
    )
    seen = set()
    for _, subject, relation in last:
        if subject not in seen and relation in forms and not view.find(name_words(subject)):
            seen.add(subject)
            yield forms[relation][0].replace(PLACEHOLDER, subject)


def _digest(record: Mapping[str, Any]) -> str:
    return sha256(f"{record['s']}|{record['r']}".encode()).hexdigest()


def _prose(source: Source, count: int, seed: int) -> Iterator[str]:
    """Paragraphs cut off at some word."""
    with open_text(source.file(PROSE)) as stream:
        lines = [line.split() for line in stream]
    long = [line for line in lines if len(line) > 2 * LEAST_WORDS and line[0] != "="]
    drawn = random.Random(seed)
    for _ in range(count):
        line = drawn.choice(long)
        yield " ".join(line[: drawn.randint(LEAST_WORDS, len(line) - 1)])
