"""Every fact that a text might ask for, and why it is written or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from revisor.gate.choice import Candidate, Decision, chosen, needed
from revisor.gate.decide import Facts, candidates
from revisor.gate.scope import NORMAL
from revisor.gate.validity import ANOTHER_TIME, NOT_NOW
from revisor.language.names import Mention
from revisor.question.encoder import QuestionEncoder
from revisor.question.predicates import BESIDE, plain


def explained(
    text: str,
    mentions: Sequence[Mention],
    facts: Facts,
    encoder: QuestionEncoder,
    *,
    threshold: float = NORMAL,
) -> list[Candidate]:
    """Every candidate with the rule that silences it, the nearest first; of those about a described
    subject only the one that is written."""
    found = candidates(text, mentions, facts, encoder)
    decision = chosen(found, threshold)
    told = []
    for one in found:
        if one.via and (decision is None or decision.fact.handle != one.handle):
            continue
        timely = one.silenced in (None, ANOTHER_TIME, NOT_NOW)
        if timely and one.score < needed(one, threshold):
            one = replace(one, silenced="asks for something else")
        elif one.silenced is None and (decision is None or decision.fact.handle != one.handle):
            one = replace(one, silenced=_beaten(one, decision))
        told.append(one)

    def near(one: Candidate) -> tuple[bool, bool, float, int]:
        shared = len(set(plain(one.question)).intersection(plain(one.template)))
        return one.silenced is None, one.silenced in BESIDE, round(one.score, 2), shared

    return sorted(told, key=near, reverse=True)


def _beaten(one: Candidate, decision: Decision | None) -> str:
    if decision is None or (one.score, one.order) != (decision.fact.score, decision.fact.order):
        return "another fact is nearer"
    if one.namespace != decision.fact.namespace:
        return f"the namespace {decision.fact.namespace!r} answers, too"
    return f"the fact {decision.fact.id} answers, too"
