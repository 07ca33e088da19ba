"""The suite `scale` by the text alone: what a store of many facts decides, without a model."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from revisor.bench.cases import Probe
from revisor.bench.datasets import Source, open_text
from revisor.bench.deciding import TEXT, decided
from revisor.bench.questions import content_words
from revisor.bench.suites.known import SLOT, wordings
from revisor.bench.summary import entry, means
from revisor.config import StoreSettings
from revisor.errors import NotSupported, UsageError
from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.gate.decide import THRESHOLDS
from revisor.index import FactIndex, View
from revisor.language.spelling import name_words
from revisor.question.encoder import QuestionEncoder
from revisor.store import Store

FILES = ("entityquestions", "geonames", "fb13", "kamel")
STRANGERS = "facts/fb13.jsonl.gz"
PROSE = "corpus/wikitext2_raw_test.txt.gz"
DEFAULT_N = 1_000
WORDINGS = 2  # of a fact that are asked
SPARE = 4  # times as many strangers as are asked: some have facts
LEAST_WORDS = 8  # of ordinary text before the place where it is cut off
MB = 1 << 20


def scale_by_text(
    source: Source,
    store: Store,
    encoder: QuestionEncoder,
    *,
    n: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What is decided of a store's facts, and where nothing is to be decided.

    Args:
        source: of the wordings of relations, of subjects without facts, of ordinary text.
        store: of the method `revisor`; its first `n` facts are asked for, among all of them.

    Returns:
        As `runner.evaluate`, with `store`: MB of its files; seconds until its index is open, the
        first time (when its file may have to be made) and again.
        Scores are `own` prompts and other wordings (`wording`) answered with the fact's object,
        either of them with another (`own_wrong`, `wording_wrong`), and texts that ask for no fact
        and are given one: `other_relation_fires` of the same subject, `stranger_fires` of a
        subject without facts, `ordinary_fires` of prose cut off at some word.

    Raises:
        NotFound: a file is missing.
        NotSupported: the store's method is another.
        UsageError: it has no facts, or too few.
    """
    settings: StoreSettings = store.settings
    if settings.method != "revisor":
        raise NotSupported(
            f"What a store of the method {settings.method} answers is not told by the text alone.",
            "Leave --text-only out.",
        )
    have = store.ledger.count()
    count = n or min(have, DEFAULT_N)
    if not 0 < count <= have:
        raise UsageError(f"The store has {have} facts, not {count}.", "Give a smaller --n.")
    times = list(_openings(store))
    view = store.index.view()
    probes = list(_probes(source, store, view, count, seed))
    threshold = THRESHOLDS[settings.strictness]
    index: FactIndex = store.index
    cases = [decided(probe, index, encoder, threshold) for probe in probes]
    return {
        "suite": "scale",
        "n": count,
        "edits": have,
        "model": "the text alone",
        "seed": seed,
        "dropped": {},
        "methods": {TEXT: entry(means(cases, {}, seed=seed), {})},
        "store": {
            "ledger_mb": _megabytes(store.workspace.path, "ledger.sqlite*"),
            "index_mb": _megabytes(store.workspace.index, "*"),
            "index_first_seconds": times[0],
            "index_open_seconds": times[1],
        },
    }


def _openings(store: Store) -> Iterator[float]:
    """Seconds until the store's index is open for the first time, and for the second."""
    for _ in range(2):
        begun = time.perf_counter()
        with FactIndex.open(store.ledger, store.workspace.index) as index:
            index.view()
        yield round(time.perf_counter() - begun, 3)


def _probes(source: Source, store: Store, view: View, n: int, seed: int) -> Iterator[Probe]:
    forms = _forms(source)
    for fact in store.ledger.facts(limit=n):
        about = list(store.ledger.facts(subject=fact.subject))
        yield _probe(f"own/{fact.id}", fact.text, "own", fact.object)
        known = [form for form in forms.get(fact.relation or "", ()) if _is_other(form, fact)]
        for place, form in enumerate(known[:WORDINGS]):
            text = form.replace(PLACEHOLDER, fact.subject)
            yield _probe(f"wording/{fact.id}/{place}", text, "wording", fact.object)
        if (other := _another_relation(fact, about, forms, seed)) is not None:
            text = other.replace(PLACEHOLDER, fact.subject)
            yield _probe(f"other/{fact.id}", text, "other_relation_fires", None)
    for place, text in enumerate(islice(_strangers(source, view, forms, SPARE * n), n)):
        yield _probe(f"stranger/{place}", text, "stranger_fires", None)
    for place, text in enumerate(_prose(source, n, seed)):
        yield _probe(f"ordinary/{place}", text, "ordinary_fires", None)


def _probe(name: str, text: str, score: str, wanted: str | None) -> Probe:
    extra = {
        "wanted": wanted,
        "right": () if wanted is None else (score,),
        "wrong": (score,) if wanted is None else (f"{score}_wrong",),
        "within": None,
    }
    return Probe(id=name, case=name, score=score, prompt=text, kind="asked", extra=extra)


def _forms(source: Source) -> dict[str, tuple[str, ...]]:
    """The wordings of each relation, those of one file beside one another."""
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
    """A wording of a relation that the subject has no fact of, with no word of content in common
    with what its facts say; of a relation of the same file where there is one."""
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
    """What is asked of people without facts, the same ones at every number of facts: those of
    whom the sets of real facts take the last."""
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


def _megabytes(folder: Path, pattern: str) -> float:
    return round(sum(one.stat().st_size for one in folder.glob(pattern)) / MB, 1)
