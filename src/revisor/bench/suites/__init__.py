"""Every suite by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from revisor.bench.methods.registry import did_you_mean
from revisor.bench.suites.base import Suite
from revisor.bench.suites.facts import FactSuite
from revisor.bench.suites.general import General
from revisor.bench.suites.hops import MultiHop
from revisor.bench.suites.questions import Questions
from revisor.bench.suites.scale import Scale
from revisor.bench.suites.subjects import SameSubject
from revisor.bench.suites.text import Gate, Perplexity
from revisor.bench.suites.ways import Chat, Negation, Paraphrase, Preamble, TrueFalse
from revisor.errors import NotFound

SUITES: Mapping[str, Callable[[], Suite]] = {
    "counterfact": lambda: FactSuite(
        "counterfact",
        "counterfact/counterfact.jsonl.gz",
        "CounterFact: each fact, other wordings, neighbors",
    ),
    "zsre": lambda: FactSuite(
        "zsre", "zsre/zsre.jsonl.gz", "zsRE: questions, and unrelated questions"
    ),
    "facts": lambda: FactSuite("facts", "", "your own facts: --data FILE or --store S"),
    "same-subject": SameSubject,
    "paraphrase": Paraphrase,
    "negation": Negation,
    "true-false": TrueFalse,
    "preamble": Preamble,
    "chat": Chat,
    "multi-hop": MultiHop,
    "general": General,
    "perplexity": Perplexity,
    "gate": Gate,
    "scale": Scale,
    "questions": Questions,
}


def make_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in SUITES:
        raise NotFound(f"There is no suite '{name}'.", did_you_mean(name, SUITES))
    return SUITES[name]()
