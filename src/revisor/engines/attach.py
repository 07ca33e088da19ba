"""Facts in a transformers model without a store: in memory, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisor.engines.processors import check_tokenizer
from revisor.engines.transformers import Attached, attached, causal_model
from revisor.errors import Conflict, Fault, NotSupported, UsageError
from revisor.facts.check import conflicts_between
from revisor.facts.fact import Fact, with_reverses
from revisor.facts.following import Row
from revisor.facts.load import load_facts
from revisor.facts.rules import checked_all
from revisor.facts.schema import row_from
from revisor.gate.gate import FactGate
from revisor.gate.probe import Probe, load_probe
from revisor.gate.scope import THRESHOLDS
from revisor.index import View
from revisor.index.build import build
from revisor.models.load import left_as_it_was, wrap_model
from revisor.question.encoder import default_encoder

if TYPE_CHECKING:
    from revisor.gate.trace import Trace

PROBES = ("auto", "off")


@contextmanager
def attach(
    model: Any,
    tokenizer: Any,
    facts: str | Path | Iterable[Fact],
    *,
    probe: str = "auto",
    strictness: str = "normal",
    trace: Trace | None = None,
) -> Iterator[Attached]:
    """Give a model some facts for the length of a block, without a store.

    The facts are the same throughout the block; facts that change, and their history, are what a
    `Store` is for. The model has them in all threads, and in blocks within the block too: where
    both would write, the inner one does; of blocks in several threads that is the one entered
    last. After the block, also if an exception ends it, the model is as it was.

    Args:
        model: a causal model of transformers, or a PEFT, compiled or `DistributedDataParallel`
            model around one.
        tokenizer: the model's; a fast one.
        facts: the facts, or a file that `revisor add` reads.
        probe: `auto`: the model's logits tell where an answer is due. The first time a model is
            used that takes minutes on a CPU; the result is kept in `REVISOR_CACHE`. `off`: facts
            answer at the ends of their own prompts, and where a turn or a label opens an answer.
        strictness: how surely a fact has to be asked for: `low`, `normal` or `high`, a score of
            0.25, 0.5 or 0.8.
        trace: collects the facts used.

    Raises:
        BadInput: facts that may not be kept, or lines that cannot be read, all listed.
        Conflict: facts that contradict one another, all listed.
        NotSupported: the model's logits do not tell where an answer is due, or it is no model
            that continues its prompt.
        UsageError: no causal model of transformers, no tokenizer, or a value of `probe` or
            `strictness` that is not known.
    """
    for what, value, known in (
        ("probe", probe, PROBES),
        ("strictness", strictness, tuple(THRESHOLDS)),
    ):
        if value not in known:
            hint = f"Choose one of: {', '.join(known)}."
            raise UsageError(f"There is no {what} '{value}'.", hint)
    causal_model(model)
    check_tokenizer(tokenizer)
    view = _view(facts)
    gate = FactGate(
        view=lambda: view,
        tokenizer=tokenizer,
        encoder=default_encoder(),
        probe=_probe(model, tokenizer) if probe == "auto" else None,
        threshold=THRESHOLDS[strictness],
    )
    with attached(model, tokenizer, gate, trace=trace) as block:
        yield block


def _view(source: str | Path | Iterable[Fact]) -> View:
    """What facts are looked up in; whether they hold goes by the clock."""
    read = load_facts(source) if isinstance(source, str | Path) else checked_all(source)
    facts = list(with_reverses(read))
    found = conflicts_between(facts)
    if found:
        raise Conflict(
            f"{len(found)} fact(s) contradict one another.",
            "Leave out those that are wrong, or tell them apart by 'qualifier'.",
            [Fault(line=0, fault=str(one)) for one in found],
        )
    rows = [row_from(fact) for fact in {fact.id: fact for fact in facts}.values()]
    fields = [{name: row[name] for name in Row._fields[1:]} for row in rows]
    numbered = (Row(key=key, **one) for key, one in enumerate(fields, start=1))
    return View.of(build(numbered, generation=1))


def _probe(model: Any, tokenizer: Any) -> Probe:
    """The probe of a model; NotSupported if it does not tell where an answer is due."""
    name = type(model).__name__
    with left_as_it_was(model):
        found = load_probe(wrap_model(name, model, tokenizer))
    if not found.figures.ok:
        raise NotSupported(
            f"The logits of {name} do not tell where an answer is due: {found.figures.why_not}.",
            "Use another model, or pass probe='off': facts then answer at the ends of their own "
            "prompts, and where a turn or a label opens an answer.",
        )
    return found
