"""Finding a fact by its question: entries of what it asks for.

What comes in: facts. What goes out: for each its entries, each with a threshold. What it does not
do: the residual (values.py), or facts that are found at their subject's name (build.py).

A key at the subject cannot see which of its facts is asked for; the words around the name can
(bank/asked.py). The prompt and every paraphrase have an entry each, and so have the shipped
relations that the prompt is near to, which are heard in whatever words. Those weigh a little less:
of two facts about a subject that are near to one relation, the one with the words at hand answers.
Each entry is turned aside from the relations that it does not ask for.

Shapes: C entries of a fact, W width of an entry.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from revisor.facts.fact import PLACEHOLDER, Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec
from revisor.neuraldb.editing.calibration import Calibration
from revisor.neuraldb.editing.keys import compute_keys
from revisor.neuraldb.editing.relations import (
    goes_on_as_name,
    nearest,
    turned_aside,
    what_is_asked,
)
from revisor.neuraldb.editing.request import (
    Context,
    ContextPlan,
    Request,
    choose_prefixes,
    text_context,
)

HEARD = 0.5  # the share of an entry's own cosine above which a question is what it asks for
ALONE = 0.35  # the same of a subject's only fact that waits for its answer: no other could be meant
AKIN = 0.9  # weight of a shipped relation that a prompt is near to, against its own words
CEILING = 0.9995  # no threshold is higher: an entry is to match the very text it was taken from
FURTHER = 2  # shipped wordings that a fact is written in as well
ROUND_ABOUT = 12  # of the nearest wordings, from which they are chosen
FAR = 12  # sentences before the prompt in a text that the fact is written in
TEXTS = 2  # such texts, where one sentence would stand before it in one
BEHIND = 4  # prefixed texts in which an answer must be due as well as in the prompt


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How one fact is found.

    Attributes:
        keys_CW: entries.
        gamma_C: their thresholds.
        wordings: of shipped relations, near to its own: to be written in as well.
    """

    keys_CW: torch.Tensor
    gamma_C: torch.Tensor
    wordings: tuple[str, ...]


def at_end(request: Request) -> Request:
    """The same request with its contexts' positions at the last token of what is asked."""
    contexts = tuple(replace(c, position=len(c.ids) - 1) for c in request.contexts)
    return Request(fact=request.fact, contexts=contexts)


def asked_entries(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    calibration: Calibration,
    facts: Sequence[Fact],
    plan: ContextPlan,
    several: Collection[str] = (),
) -> list[Asked]:
    """The entries of facts that are found where their questions end.

    Args:
        several: ids of those whose subjects have further facts.

    Raises:
        ValueError: a calibration of raw keys.
    """
    encoder, kind_V, relations = calibration.encoder, calibration.kind_V, calibration.relations
    if encoder.words_VA is None or kind_V is None or relations is None:
        raise ValueError("a calibration of raw keys hears nothing")
    waits = _answers_are_due(loaded, spec, layer, calibration, facts, plan)
    own = [
        [
            (text, fact.subject)
            for text in (fact.prompt, *fact.paraphrases[: plan.wordings])
            if PLACEHOLDER in text or fact.subject in text
        ]
        for fact in facts
    ]
    flat, sizes = [one for texts in own for one in texts], [len(texts) for texts in own]
    every_QA = what_is_asked(loaded.tokenizer, flat, kind_V, encoder.words_VA)
    goes_on_Q = goes_on_as_name(loaded.tokenizer, flat, kind_V)
    found = []
    for fact, question_CA, goes_on_C, waiting in zip(
        facts, torch.split(every_QA, sizes), torch.split(goes_on_Q, sizes), waits, strict=True
    ):
        near = nearest(relations, question_CA[0])
        weight_C = torch.ones(len(question_CA) + len(near.akin_KA))
        weight_C[len(question_CA) :] = AKIN
        entry_CA, cosine_C = turned_aside(
            relations, torch.cat([question_CA, near.akin_KA]), near.akin_K
        )
        found.append(
            Asked(
                keys_CW=encoder.asking(
                    weight_C[:, None] * entry_CA,
                    waiting,
                    spec.key_width,
                    F.pad(goes_on_C, (0, len(near.akin_KA))),
                ),
                gamma_C=(ALONE if waiting and fact.id not in several else HEARD)
                * weight_C
                * cosine_C,
                wordings=_further(fact, near.statements),
            )
        )
    return found


def _further(fact: Fact, statements: Sequence[str]) -> tuple[str, ...]:
    """Near wordings that end in other words than the prompt and than each other, if there are any:
    where an answer begins, a model looks most at the word before."""
    others = [text for text in statements if text not in (fact.prompt, *fact.paraphrases)]
    ends = {fact.prompt.split()[-1]}
    found = []
    for text in others[:ROUND_ABOUT]:
        if text.split()[-1] not in ends:
            ends.add(text.split()[-1])
            found.append(text)
    found += [text for text in others[:FURTHER] if text not in found]
    return tuple(found[:FURTHER])


def _answers_are_due(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    calibration: Calibration,
    facts: Sequence[Fact],
    plan: ContextPlan,
) -> list[bool]:
    """Of each fact whether its prompt ends where an answer is due, alone and behind sentences."""
    contexts: list[Context] = []
    for fact in facts:
        before = choose_prefixes(fact, plan.prefixes, BEHIND)
        for text in (fact.prompt, *(f"{prefix} {fact.prompt}" for prefix in before)):
            context = text_context(loaded.tokenizer, text, fact.subject, "", "key")
            contexts.append(replace(context, position=len(context.ids) - 1))
    if not contexts:
        return []
    keys_NF = compute_keys(loaded.model, spec, layer, contexts)
    due_N = calibration.encoder.due(keys_NF)
    return due_N.view(len(facts), -1).all(1).tolist()
