"""How an explanation of a decision is shown: `revisor explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from revisor.commands.common import output, plural, say, table
from revisor.errors import NotFound
from revisor.gate.choice import needed
from revisor.operations.explain import Explanation, Named, as_json
from revisor.operations.why import longer, nearest, what_helps, why_not, with_wording

if TYPE_CHECKING:
    from revisor.store import Store

SHOWN = 12  # candidates
_HOW = {
    "exact": "",
    "folded": ", written otherwise than '{name}'",
    "form": ", as '{name}' with a company's form",
    "near": ", a near spelling of '{name}'",
}
_KINDS = {
    "completion": "a sentence to be completed",
    "question": "a question that was put",
    "statement": "a statement, which asks only in a fact's own words",
    "pronoun": "a sentence with another word for the name",
    "ellipsis": "a question that goes on with an earlier one",
    "record": "a field of a record",
}


def explanation_json(found: Explanation, store: Store) -> dict[str, Any]:
    """An explanation as JSON, with the line of a fact file that helps, if one does."""
    return as_json(found) | {"line": _line(found, store)}


def say_explanation(found: Explanation, store: Store) -> None:
    """An explanation for people: first what is written, or why nothing is and what helps."""
    if found.written is not None:
        say(f"written: {found.written}", style="bold")
    else:
        say(why_not(found) or "", style="bold")
        if helps := what_helps(found):
            say(helps)
        if line := _line(found, store):
            say(f"  {json.dumps(line, ensure_ascii=False)}", style="dim")
    for name in found.names:
        for told in _of_name(name):
            say(told)
    for question in found.questions:
        kind = _KINDS.get(question.kind, question.kind)
        say(f"question: {question.text!r} of {found.shown(question.mention)!r}: {kind}")
    _say_candidates(found)
    if found.due_by_text:
        say("An answer is due: the text says so.")
    elif found.is_due is not None:
        due = "due" if found.is_due else "not due"
        say(f"The model's logits say that an answer is {due} here.")


def _line(found: Explanation, store: Store) -> dict[str, Any] | None:
    """The line of a fact file with which the nearest fact would be written; None if none helps."""
    best = nearest(found)
    try:
        return None if best is None else with_wording(found, store.ledger.get(best.id))
    except NotFound:  # an older generation is live, and the fact was removed since
        return None


def _of_name(name: Named) -> Iterator[str]:
    if name.within is not None:
        yield f"no name: {name.text!r}: {longer(name.within)}"
    else:
        yield (
            f"name: {name.text!r}: {plural(name.facts, 'fact')}"
            + _HOW[name.how].format(name=name.name)
        )
    for one in name.inner:
        yield f"no name: {one!r}, part of {name.text!r}"


def _say_candidates(found: Explanation) -> None:
    if not found.candidates:
        return
    columns = ("fact", "id", "question", "nearest wording", "score", "needed", "decision")
    listing = table(*columns, right=["score", "needed"])
    runner_up = found.decision.runner_up if found.decision else None
    several = len({one.namespace for one in found.candidates}) > 1
    for one in found.candidates[:SHOWN]:
        by = f", whom {', '.join(one.via)} tells" if one.via else ""
        verdict = one.silenced or f"asked for{by}"
        if runner_up is not None and one.id == runner_up.id:
            verdict += " (runner-up)"
        bar = f"{needed(one, found.threshold):.2f}"
        fact = f"{one.subject}: {one.object}" + f" ({one.namespace})" * several
        listing.add_row(fact, one.id, one.question, one.template, f"{one.score:.2f}", bar, verdict)
    output().print(listing)
    if len(found.candidates) > SHOWN:
        say(f"... and {plural(len(found.candidates) - SHOWN, 'fact')} more; --json lists all")
