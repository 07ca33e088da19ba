"""Facts asked their own wordings through the gate: does each of them answer?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.gate.choice import Candidate
from revisor.gate.decide import Facts, decide
from revisor.gate.explained import explained
from revisor.gate.gate import FactGate
from revisor.gate.tokens import Tokens
from revisor.language.names import mentions
from revisor.progress import Progress


@dataclass(frozen=True, kw_only=True)
class AskedFacts:
    """What facts answered.

    Attributes:
        asked: prompts, paraphrases among them.
        said: those that are answered with the fact's object.
        failed: the others: {id, prompt, reason}.
    """

    asked: int
    said: int
    failed: list[dict[str, str]]


def ask_facts(gate: FactGate, facts: Iterable[Fact], *, quiet: bool = False) -> AskedFacts:
    """Ask each fact its own prompt and its paraphrases.

    What is written does not depend on the model, so none is run: the decision is the gate's, and
    the object's tokens are read back.

    Args:
        quiet: report no progress.
    """
    view, tokens = gate.view(), Tokens.of(gate.tokenizer)
    asked, failed = 0, []
    with nullcontext() if quiet else Progress("Asking facts", unit="prompts") as progress:
        for fact in facts:
            for prompt in _wordings(fact):
                asked += 1
                reason = _fault(gate, view, tokens, fact, prompt)
                if reason is not None:
                    failed.append({"id": fact.id, "prompt": prompt, "reason": reason})
                if progress is not None:
                    progress.advance(1)
    return AskedFacts(asked=asked, said=asked - len(failed), failed=failed)


def _wordings(fact: Fact) -> Iterator[str]:
    for wording in (fact.prompt, *fact.paraphrases):
        yield wording.replace(PLACEHOLDER, fact.subject)


def _fault(gate: FactGate, view: Facts, tokens: Tokens, fact: Fact, prompt: str) -> str | None:
    """Why a prompt is not answered with a fact's object; None if it is."""
    named = mentions(prompt, view)
    decision = decide(prompt, named, view, gate.encoder, threshold=gate.threshold)
    if decision is None:
        found = explained(prompt, named, view, gate.encoder, threshold=gate.threshold)
        own = next((one for one in found if one.id == fact.id), None)
        return _reason(own)
    if decision.fact.object != fact.object:
        return f"the fact {decision.fact.id} answers: {decision.fact.object!r}"
    if not decision.fact.is_due and gate.probe is None and decision.fact.score < 1:
        return "it is answered only where the model's logits say that an answer is due"
    ids: list[int] = gate.tokenizer(prompt)["input_ids"]
    spelled = tokens.spell(fact.object, prompt, ids, begins=True)
    read = tokens.decode([*ids[-4:], *spelled])
    if not read.endswith(fact.object):
        return f"the model's tokenizer cannot spell the object: it reads {read!r}"
    return None


def _reason(own: Candidate | None) -> str:
    if own is None:
        return "the prompt does not name the subject as it is written in the fact"
    detail = f" ({own.question!r} at {own.score:.2f})" if own.question else ""
    return f"{own.silenced or 'it is not answered'}{detail}"
