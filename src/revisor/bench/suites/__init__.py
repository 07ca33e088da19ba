"""Every suite by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from revisor.bench.registry import Registry
from revisor.bench.suites.base import Suite
from revisor.bench.suites.facts import FactSuite
from revisor.bench.suites.general import General
from revisor.bench.suites.hops import MultiHop
from revisor.bench.suites.questions import Questions
from revisor.bench.suites.scale import Scale
from revisor.bench.suites.subjects import SameSubject
from revisor.bench.suites.text import Gate, Perplexity
from revisor.bench.suites.ways import Chat, Negation, Paraphrase, Preamble, TrueFalse
from revisor.errors import NotSupported

_OWN: Mapping[str, Callable[[], Suite]] = {
    "counterfact": lambda: FactSuite("counterfact", "counterfact/counterfact.jsonl.gz"),
    "zsre": lambda: FactSuite("zsre", "zsre/zsre.jsonl.gz"),
    "facts": lambda: FactSuite("facts"),
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


SUITES = Registry(kind="suite", group="revisor.suites", own=_OWN)


def make_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        NotFound: there is none.
        NotSupported: one of another package cannot be used.
    """
    found = SUITES.get(name)()
    if not isinstance(found, Suite):
        raise NotSupported(
            f"The entry point of the suite '{name}' makes {found!r}, not a Suite.",
            "Mend or uninstall the package that brings it; see docs/methods.md.",
        )
    return found
