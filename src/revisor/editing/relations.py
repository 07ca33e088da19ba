"""What is asked, in whatever words: learnt once a model from the shipped relations.

What comes in: a model, one of its layers, whitened keys. What goes out: an encoder that also tells
relations apart (bank/encode.py), and which of the shipped relations a prompt asks for. What it does
not do: know any user's facts, or set thresholds (questions.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from revisor import data
from revisor.bank.encode import KeyEncoder, fit_asked
from revisor.editing.keys import compute_keys
from revisor.editing.request import Context, text_context
from revisor.facts.fact import Fact
from revisor.models.load import LoadedModel
from revisor.models.spec import Spec

SUBJECTS = 6  # subjects that each wording is asked of
SAME = 0.7  # cosine of w above which two prompts about one subject ask for the same
KNOWN = 0.85  # cosine of w with a relation's mean above which a prompt asks for it
FURTHER = 2  # wordings of a relation that a fact is written in as well


def knows_relations(
    loaded: LoadedModel, spec: Spec, layer: int, encoder: KeyEncoder
) -> tuple[KeyEncoder, torch.Tensor]:
    """The same encoder, able to compare what is asked.

    Every shipped wording of every relation is asked of some subjects, every other time behind a
    sentence; the keys where the questions end, labelled by relation, give the directions.

    Returns:
        The encoder, and the mean of each relation's entries (R, E + A), of length 1.
    """
    names = [record["subject"] for record in data.records("probe.jsonl")]
    prefixes = data.prefixes()
    contexts: list[Context] = []
    labels: list[int] = []
    for relation, wordings in enumerate(data.relations()):
        for wording in wordings:
            for _ in range(SUBJECTS):
                turn = len(contexts)
                before = f"{prefixes[turn % len(prefixes)]} " if turn % 2 else ""
                name = names[(7 * turn) % len(names)]
                contexts.append(asked_at_end(loaded, before + wording, name))
                labels.append(relation)
    keys_NF = compute_keys(loaded.model, spec, layer, contexts)
    label_N = torch.tensor(labels)
    knowing = fit_asked(encoder, keys_NF.float(), label_N)
    asked_NE = knowing.asked(keys_NF)
    total_RE = asked_NE.new_zeros(labels[-1] + 1, asked_NE.shape[1])
    return knowing, F.normalize(total_RE.index_add_(0, label_N, asked_NE), dim=-1)


def with_wordings(
    loaded: LoadedModel,
    spec: Spec,
    layer: int,
    encoder: KeyEncoder,
    relations_RE: torch.Tensor,
    facts: Sequence[Fact],
) -> list[Fact]:
    """The facts, each with further wordings behind its own if it asks for a shipped relation."""
    contexts = [asked_at_end(loaded, fact.prompt, fact.subject) for fact in facts]
    keys_NF = compute_keys(loaded.model, spec, layer, contexts)
    cosine_N, relation_N = (encoder.asked(keys_NF) @ relations_RE.T).max(1)
    shipped = data.relations()
    found = []
    for fact, cosine, relation in zip(facts, cosine_N.tolist(), relation_N.tolist(), strict=True):
        others = [
            wording
            for wording in shipped[relation]
            if not wording.endswith("?") and wording not in (fact.prompt, *fact.paraphrases)
        ]
        more = tuple(others[:FURTHER]) if cosine >= KNOWN else ()
        found.append(replace(fact, paraphrases=(*fact.paraphrases, *more)))
    return found


def asked_at_end(loaded: LoadedModel, template: str, name: str) -> Context:
    """A question about somebody, without an answer; its position is its last token."""
    context = text_context(loaded.tokenizer, template, name, "", "key")
    return Context(ids=context.ids, position=len(context.ids) - 1, target=(), kind="key")
