"""Every suite by its name.

What comes in: a name. What goes out: a `Suite`. A new suite is one entry here and one class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from revisor.baselines.registry import did_you_mean
from revisor.errors import NotFound
from revisor.evaluate.suites.base import Suite
from revisor.evaluate.suites.facts import FactSuite
from revisor.evaluate.suites.general import General
from revisor.evaluate.suites.hops import MultiHop
from revisor.evaluate.suites.scale import Scale
from revisor.evaluate.suites.subjects import SameSubject
from revisor.evaluate.suites.text import Gate, Perplexity
from revisor.evaluate.suites.ways import Chat, Negation, Paraphrase, Preamble, TrueFalse

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
}


def make_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in SUITES:
        raise NotFound(f"There is no suite '{name}'.", did_you_mean(name, SUITES))
    return SUITES[name]()
